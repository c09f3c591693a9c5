"""Fill the rows of a case: only the columns that matter are written down, the rest gets plain honest values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any, Final

import duckdb

from learnguard.detection.model import offered
from learnguard.errors import PackError
from learnguard.schema import CONDENSED, create_sql

#: A time of day alone stands for this day, in UTC.
DAY: Final = datetime(2026, 3, 1, tzinfo=UTC)
#: What a client logs unless the case says otherwise.
EVERYTHING: Final = (
    "events", "device_id", "page_id", "session_id", "ip", "position_s", "rate", "client_ts", "visible", "prompt",
    "prompt_answer", "face_check", "interaction", "complete", "heartbeat", "terminal",
    "clock_order",
)  # fmt: skip
_ZONE: Final = "Asia/Shanghai"

# Columns left out of a case, in SQL over the columns given before them.
_DEFAULTS: Final[Mapping[str, Mapping[str, str]]] = {
    "segments": {
        "platform_id": "'p'",
        "account_id": "'a'",
        "learner_id": "account_id",
        "course_id": "'c'",
        "record_id": "account_id || '/' || course_id",
        "lesson_id": "'l'",
        "device_id": "'d'",
        "page_id": "device_id",
        "session_id": "page_id",
        "terminal": "'pc'",
        "ip": "'192.0.2.1'",
        "source": "'events'",
        "active_s": "epoch(ended_at) - epoch(started_at)",
        "cadence_s": "CASE WHEN source = 'events' THEN 30 END",
        "gap_s": "CASE WHEN source = 'events' THEN 105 END",
        "n_events": "CASE WHEN source = 'events' THEN 1 + floor(active_s / 30) ELSE 1 END",
        "is_hidden": "FALSE",
        "hidden_s": "CASE WHEN is_hidden THEN active_s ELSE 0 END",
        **dict.fromkeys(("n_interactions", "n_passed", "n_missed", "n_faces_passed", "n_faces_failed"), "0"),
        "is_late_upload": "FALSE",
        "is_clock_suspect": "FALSE",
        "day": f"CAST(started_at AT TIME ZONE '{_ZONE}' AS DATE)",
    },
    "checks": {
        "platform_id": "'p'",
        "account_id": "'a'",
        "learner_id": "account_id",
        "course_id": "'c'",
        "record_id": "account_id || '/' || course_id",
        "lesson_id": "'l'",
        "device_id": "'d'",
        "page_id": "device_id",
        "session_id": "page_id",
        "kind": "'prompt'",
    },
    "completions": {
        "platform_id": "'p'",
        "account_id": "'a'",
        "learner_id": "account_id",
        "course_id": "'c'",
        "record_id": "account_id || '/' || course_id",
        "lesson_id": "'l'",
        "completed_at": "TIMESTAMPTZ '2026-03-01 12:00:00+00'",
        "source": "'complete'",
    },
    "claims": {
        "platform_id": "'p'",
        "account_id": "'a'",
        "course_id": "'c'",
        "record_id": "account_id || '/' || course_id",
        "learner_id": "account_id",
        "institution_id": "'i'",
        "claimed_s": "36000",
        "completed_at": "TIMESTAMPTZ '2026-03-10 00:00:00+00'",
        "has_begun_before": "FALSE",
    },
    "lessons": {
        "platform_id": "'p'",
        "course_id": "'c'",
        "lesson_id": "'l'",
        "kind": "'video'",
        "duration_s": "3600",
        "title": "lesson_id",
        "is_audio": "kind = 'audio'",
    },
    "capabilities": {"platform_id": "'p'", "terminal": "'pc'", "n": "1"},
}  # fmt: skip


def fill(
    con: duckdb.DuckDBPyConnection,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    logs: Sequence[str] | None,
    shown: str,
) -> None:
    """Make on ``con`` the condensed tables and ``lessons`` from ``rows``, and each other table that is given.

    A claim is made for each (account, course) and a lesson for each lesson seen, unless the case gives those tables;
    capabilities say that every client seen logs ``logs`` (default: everything). Raises PackError naming ``shown``.
    """
    for table in (*CONDENSED, "lessons"):
        _fill_table(con, table, rows.get(table, []), shown)
    for table in rows:
        if table not in CONDENSED and table != "lessons":
            _fill_table(con, table, rows[table], shown)
    if "lessons" not in rows:
        _derive(con, "lessons", ("platform_id", "course_id", "lesson_id"), "lesson_id IS NOT NULL")
    if "claims" not in rows:
        _derive(con, "claims", ("platform_id", "account_id", "course_id", "record_id", "learner_id"), "TRUE")
    con.execute(
        "UPDATE completions AS c SET counted_s = l.duration_s FROM lessons AS l WHERE c.counted_s IS NULL "
        "AND l.platform_id = c.platform_id AND l.course_id = c.course_id AND l.lesson_id = c.lesson_id"
    )
    if "capabilities" not in rows:
        con.execute(
            'INSERT INTO capabilities BY NAME SELECT platform_id, terminal, unnest($logs) AS "column", 1 AS n '
            "FROM (SELECT DISTINCT platform_id, terminal FROM segments "
            "UNION SELECT DISTINCT platform_id, 'pc' FROM claims)",
            {"logs": _logged(logs)},
        )


def _logged(logs: Sequence[str] | None) -> list[str]:
    """What the clients of a case log: everything, or ``logs`` and clocks in order; ``-clock_order`` takes that away."""
    if logs is None:
        return list(EVERYTHING)
    taken = {name.removeprefix("-") for name in logs if name.startswith("-")}
    named = [name for name in logs if not name.startswith("-")]
    return [name for name in dict.fromkeys([*named, "clock_order"]) if name not in taken]


def _fill_table(con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]], shown: str) -> None:
    spec = offered(table)
    columns = {c.name: c for c in spec.columns}
    con.execute(create_sql(spec))
    for row in rows:
        if unknown := sorted(set(row) - set(columns)):
            raise PackError(f"{shown}: {table} has no column {', '.join(unknown)}", hint="Correct the case.")
        values = {name: _value(v) for name, v in row.items()}
        given = ", ".join(f'CAST(${n} AS {columns[n].sql_type}) AS "{n}"' for n in values)
        _insert(con, table, f"SELECT {given or '0 AS nothing'}", values, values)


def _insert(
    con: duckdb.DuckDBPyConnection, table: str, given: str, names: Collection[str], values: Mapping[str, Any]
) -> None:
    """Insert the rows of the SELECT ``given`` (columns ``names``), each default computed from the columns before it."""
    sql = given
    for name, default in _DEFAULTS.get(table, {}).items():
        if name not in names:
            sql = f'SELECT *, {default} AS "{name}" FROM ({sql}) AS t'
    drop = "" if names else " EXCLUDE (nothing)"
    con.execute(f'INSERT INTO "{table}" BY NAME SELECT *{drop} FROM ({sql}) AS t', dict(values))


def _derive(con: duckdb.DuckDBPyConnection, table: str, names: Sequence[str], condition: str) -> None:
    """One row of ``table`` for each distinct ``names`` seen in the logs."""
    seen = " UNION ".join(
        f"SELECT {', '.join(names)} FROM {t} WHERE {condition}" for t in ("segments", "checks", "completions")
    )
    _insert(con, table, seen, names, {})


def _value(value: Any) -> Any:
    if isinstance(value, time):
        return datetime.combine(DAY.date(), value, tzinfo=UTC)
    if isinstance(value, datetime) and value.tzinfo is None:
        raise PackError("a case's date and time needs an offset (Z)", hint="Write 2026-03-01T09:00:00Z.")
    return None if value == "null" else value
