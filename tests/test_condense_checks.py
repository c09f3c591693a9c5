"""Presence checks, completions, sessions and what a client is seen to log."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from learnguard.condense import CondenseRules, condense_events, condense_sessions
from learnguard.schema import CONDENSED, lake_columns

DAY = date(2026, 3, 2)
DAY_FROM = datetime(2026, 3, 1, 16, tzinfo=UTC)
NINE = DAY_FROM + timedelta(hours=9)
KINDS = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_()}
Row = dict[str, Any]


def table(con: duckdb.DuckDBPyConnection, name: str, rows: list[Row], extra: tuple[str, pa.DataType]) -> None:
    columns = [(c.name, KINDS.get(c.sql_type, pa.timestamp("us", tz="UTC"))) for c in lake_columns(name)]
    con.register("given", pa.Table.from_pylist(rows, schema=pa.schema([*columns, extra])))
    con.execute(f"CREATE TABLE day_{name} AS SELECT * FROM given")


def connection() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(config={"threads": 1})
    con.execute("SET TimeZone = 'UTC'")
    return con


def row(verb: str, at: float, **columns: Any) -> Row:
    plain = {"account_id": "a", "device_id": "d", "page_id": "p", "lesson_id": "l", "course_id": "c", "terminal": "pc"}
    return {**plain, "verb": verb, "ts": NINE + timedelta(seconds=at), "is_tail": at < -9 * 3600, **columns}


def condense(rows: list[Row]) -> duckdb.DuckDBPyConnection:
    con = connection()
    table(con, "events", rows, ("is_tail", pa.bool_()))
    condense_events(con, platform_id="p", day=DAY, day_from=DAY_FROM, rows=len(rows), rules=CondenseRules())
    return con


def playing(first: int = 0, last: int = 600, *, since: int = 0) -> list[Row]:
    """Beats of a page whose media stands at 0 at ``since``."""
    return [row("heartbeat", t, position_s=float(t - since)) for t in range(first, last + 1, 30)]


def checks(con: duckdb.DuckDBPyConnection, account: str = "a") -> list[tuple[float, str, str, float | None]]:
    found = con.execute(
        "SELECT checked_at, kind, result, value FROM unit_checks WHERE account_id = $account ORDER BY 1, 2, 3",
        {"account": account},
    ).fetchall()
    return [((at - NINE).total_seconds(), kind, result, value) for at, kind, result, value in found]


def counted(con: duckdb.DuckDBPyConnection, account: str = "a") -> tuple[int, ...]:
    found = con.execute(
        "SELECT sum(n_passed), sum(n_missed), sum(n_faces_passed), sum(n_faces_failed), sum(n_interactions) "
        "FROM unit_segments WHERE account_id = $account",
        {"account": account},
    ).fetchone()
    assert found is not None
    return tuple(int(n) for n in found)


#: Somebody whose client logs an answer.
ANSWERS = row("prompt_answer", 1, result="pass", account_id="other", page_id="other", device_id="other")


def test_answers_and_faces_are_checks_and_count_on_their_segment() -> None:
    rows = [
        *playing(), row("prompt", 100), row("prompt_answer", 104, result=" Pass ", value=4.0), row("prompt", 300),
        row("prompt_answer", 360, result="timeout"), row("face_check", 400, result="pass", value=0.9),
        row("face_check", 500, result="no_face", value=0.1),
    ]  # fmt: skip
    con = condense(rows)
    assert checks(con) == [
        (104, "prompt", "pass", 4.0), (360, "prompt", "timeout", None),
        (400, "face", "pass", 0.9), (500, "face", "no_face", 0.1),
    ]  # fmt: skip
    assert counted(con) == (1, 1, 1, 1, 0)
    twice = condense([r for r in rows for _ in range(2)])
    assert (checks(twice), counted(twice)) == (checks(con), counted(con)), "a row delivered twice counts once"


def test_a_prompt_that_nothing_answered_is_missed_where_the_page_played_on() -> None:
    con = condense([*playing(), row("prompt", 100), ANSWERS])
    assert checks(con) == [(100, "prompt", "timeout", None)]
    assert counted(con) == (0, 1, 0, 0, 0)


def test_it_is_missed_too_where_the_page_went_on_in_another_stretch() -> None:
    con = condense([*playing(), row("prompt", 100), row("hidden", 110), ANSWERS])
    assert checks(con) == [(100, "prompt", "timeout", None)]


@pytest.mark.parametrize(
    "rows",
    [
        [*playing(0, 150), row("prompt", 100), ANSWERS],  # closed within the minute
        [
            *playing(0, 90),
            row("prompt", 100),
            row("pause", 100, position_s=100.0),
            row("play", 900),
            *playing(930, 1200, since=830),
            ANSWERS,
        ],
        [*playing(), row("prompt", 100)],  # nobody's answers are logged
        [*playing(), row("prompt", 100), {**ANSWERS, "terminal": "app"}],  # not by this client
        [row("prompt", 100), ANSWERS],  # no page at all
    ],
    ids=["closed", "paused", "no answers", "another client's answers", "no page"],
)
def test_it_is_not_missed_otherwise(rows: list[Row]) -> None:
    assert checks(condense(rows)) == []


def test_a_prompt_that_says_its_own_result_stands_alone() -> None:
    assert checks(condense([*playing(), row("prompt", 100, result="fail")])) == [(100, "prompt", "fail", None)]


def test_a_prompt_before_midnight_answered_after_it_is_one_check() -> None:
    midnight = -9 * 3600
    asked = [row("prompt", midnight - 5), row("prompt_answer", midnight + 5, result="pass")]
    con = condense([*playing(midnight - 300, midnight + 300, since=midnight - 300), *asked])
    assert checks(con) == [(midnight + 5, "prompt", "pass", None)]
    assert counted(con)[:2] == (1, 0)


def test_touches_of_no_lesson_become_checks() -> None:
    con = condense([*playing(), row("interaction", 50, lesson_id=None, page_id=None), row("interaction", 60)])
    assert checks(con) == [(50, "interaction", "pass", None)]
    assert counted(con)[-1] == 1


def test_a_lesson_is_completed_once() -> None:
    con = condense(
        [
            *playing(),
            row("complete", 600),
            row("complete", 650),
            row("complete", 700, lesson_id="m"),
            row("complete", 9, lesson_id=None),
        ]
    )
    found = con.execute("SELECT lesson_id, completed_at, counted_s, source FROM unit_completions ORDER BY 1").fetchall()
    assert found == [(x, NINE + timedelta(seconds=s), None, "complete") for x, s in (("l", 600), ("m", 700))]


def test_capabilities_are_what_each_client_was_seen_to_log() -> None:
    rows = [
        *playing(),
        row("hidden", 100),
        row("prompt_answer", 5, terminal="app", device_id=None),
        row("login", -9 * 3600 - 1, ip="x"),
    ]
    found = dict(
        condense(rows)
        .execute('SELECT terminal, list_sort(list("column")) FROM unit_capabilities GROUP BY 1')
        .fetchall()
    )
    assert found == {
        "pc": ["device_id", "events", "heartbeat", "page_id", "position_s", "terminal", "visible"],
        "app": ["events", "page_id", "prompt", "prompt_answer", "terminal"],
    }, "the day before says nothing about today"


@pytest.mark.parametrize("kind", ["events", "sessions"])
def test_what_is_put_out_has_the_contracts_columns_and_types(kind: str) -> None:
    con = condense([*playing(), row("complete", 600)]) if kind == "events" else sessions([session()])
    for name, spec in CONDENSED.items():
        if name != "claims":
            made = con.sql(f"SELECT * FROM unit_{name}")
            assert made.columns == list(spec.names), name
            types = {"BIGINT": {"BIGINT", "INTEGER", "HUGEINT"}, "TIMESTAMPTZ": {"TIMESTAMP WITH TIME ZONE"}}
            for column, found in zip(spec.columns, made.types, strict=True):
                assert str(found) in types.get(column.sql_type, {column.sql_type}), f"{name}.{column.name}"


# ------------------------------------------------------------------------------------------------------------ sessions


def session(session_id: str = "s", begin: float = 0, end: float = 600, *, seq: int = 1, **columns: Any) -> Row:
    return {
        "session_id": session_id, "account_id": "a", "course_id": "c", "lesson_id": "l", "seq": seq,
        "started_at": NINE + timedelta(seconds=begin), "ended_at": NINE + timedelta(seconds=end), **columns,
    }  # fmt: skip


def sessions(rows: list[Row]) -> duckdb.DuckDBPyConnection:
    con = connection()
    table(con, "sessions", rows, ("seq", pa.int64()))
    condense_sessions(con, platform_id="p", day=DAY)
    return con


def test_a_session_is_a_segment_that_earns_what_was_counted_within_its_time() -> None:
    con = sessions(
        [session("s1", learned_s=400.0), session("s2", 1000, 1600, learned_s=9000.0), session("s3", 2000, 2600)]
    )
    assert con.execute("SELECT active_s FROM unit_segments ORDER BY started_at").fetchall() == [(400,), (600,), (600,)]
    assert con.execute("SELECT counted_s, completed_at, source FROM unit_completions").fetchall() == [
        (10_000, NINE + timedelta(seconds=2600), "sessions")
    ], "what the platform counts, also where no time is behind it"


def test_the_latest_delivery_of_a_session_is_the_valid_one() -> None:
    early, late = session(end=300, learned_s=300.0), session(end=900, learned_s=700.0, seq=2)
    for rows in ([early, late], [late, early, late]):
        con = sessions(rows)
        assert con.execute("SELECT active_s, n_events FROM unit_segments").fetchall() == [(700, 1)]
        assert con.execute("SELECT counted_s FROM unit_completions").fetchall() == [(700,)]


def test_one_login_may_hold_several_lessons_and_a_login_alone_is_no_segment() -> None:
    con = sessions([session(), session(lesson_id="m"), session(course_id=None, lesson_id=None)])
    assert con.execute("SELECT lesson_id FROM unit_segments ORDER BY 1").fetchall() == [("l",), ("m",)]


@pytest.mark.parametrize(
    ("foreground", "hidden"), [(None, (None, None)), (600.0, (False, 0)), (200.0, (True, 400)), (350.0, (False, 250))]
)
def test_foreground_tells_whether_a_session_was_hidden(
    foreground: float | None, hidden: tuple[bool | None, float | None]
) -> None:
    con = sessions([session(foreground_s=foreground)])
    assert con.execute("SELECT is_hidden, hidden_s FROM unit_segments").fetchall() == [hidden]
