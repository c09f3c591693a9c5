"""Which days of which platforms need condensing, and the doing of it: each unit once, kept as Parquet.

A unit is one platform's logs of one calendar day. Its result is named by a fingerprint of its input files, of the
rules and of the SQL, so a unit is condensed again only when something arrived for it: cost follows the day, not the
history.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo

from learnguard.condense import OUTPUTS, SQL_FILES, CondenseRules, condense_events, condense_sessions
from learnguard.sql import statements

if TYPE_CHECKING:
    import duckdb

_ORDER = {
    "segments": "account_id, started_at, ended_at, device_id, page_id, lesson_id, media_from_s",
    "checks": "account_id, checked_at, kind, result, page_id, lesson_id",
    "completions": "account_id, course_id, lesson_id",
    "capabilities": 'terminal, "column"',
}


class LogPart(Protocol):
    """One immutable Parquet file of the lake, as the store describes it."""

    @property
    def path(self) -> Path: ...  # noqa: D102 - as the store's Part
    @property
    def date(self) -> dt.date | None: ...  # noqa: D102
    @property
    def platform_id(self) -> str | None: ...  # noqa: D102
    @property
    def delivery_id(self) -> str: ...  # noqa: D102
    @property
    def seq(self) -> int: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Unit:
    """One platform's logs of one day. ``kind`` is events or sessions; ``tail`` are the day before's files;
    ``cutoff``: rows received at or after this instant had not arrived yet (None: all had)."""

    platform_id: str
    day: dt.date
    timezone: str
    kind: str
    parts: tuple[LogPart, ...]
    tail: tuple[LogPart, ...]
    cutoff: datetime | None
    fingerprint: str

    def file(self, root: Path, output: str) -> Path:
        """Where this unit's ``output`` is kept under ``root``."""
        slug = hashlib.sha256(self.platform_id.encode()).hexdigest()[:8]
        return root / output / f"date={self.day.isoformat()}" / f"{slug}-{self.fingerprint}.parquet"

    @property
    def rows(self) -> int:
        """Rows of the day itself."""
        return sum(p.rows for p in self.parts)


def plan_units(
    events: Iterable[LogPart],
    sessions: Iterable[LogPart],
    *,
    timezones: Mapping[str, str],
    cutoffs: Mapping[Path, datetime],
    rules: CondenseRules,
) -> list[Unit]:
    """The units that these parts make, in order of day and platform.

    ``timezones``: delivery id → zone name; ``cutoffs``: parts of which some rows had not arrived yet.
    On a day on which a platform logs events, its sessions are a summary of them and make no unit of their own.
    """
    by_day: dict[tuple[str, dt.date], list[LogPart]] = {}
    for part in events:
        by_day.setdefault(_place(part), []).append(part)
    summaries: dict[tuple[str, dt.date], list[LogPart]] = {}
    for part in sessions:
        summaries.setdefault(_place(part), []).append(part)
    units = []
    for (platform, day), parts in sorted(by_day.items()):
        tail = by_day.get((platform, day - timedelta(days=1)), [])
        units.append(_unit(platform, day, "events", parts, tail, timezones, cutoffs, rules))
    for (platform, day), parts in sorted(summaries.items()):
        if (platform, day) not in by_day:
            units.append(_unit(platform, day, "sessions", parts, [], timezones, cutoffs, rules))
    return sorted(units, key=lambda u: (u.day, u.platform_id))


def _place(part: LogPart) -> tuple[str, dt.date]:
    if part.date is None or part.platform_id is None:
        raise ValueError(f"{part.path.name} is no log: it has no day or no platform")
    return part.platform_id, part.date


def _unit(
    platform: str,
    day: dt.date,
    kind: str,
    parts: Sequence[LogPart],
    tail: Sequence[LogPart],
    timezones: Mapping[str, str],
    cutoffs: Mapping[Path, datetime],
    rules: CondenseRules,
) -> Unit:
    parts, tail = (tuple(sorted(p, key=lambda x: (x.seq, x.path.name))) for p in (parts, tail))
    cutoff = max((cutoffs[p.path] for p in (*parts, *tail) if p.path in cutoffs), default=None)
    names = [*(p.path.name for p in parts), "", *(p.path.name for p in tail)]
    text = "\n".join([_method(), repr(rules), platform, kind, str(cutoff), *names])
    return Unit(
        platform_id=platform,
        day=day,
        timezone=timezones[parts[-1].delivery_id],
        kind=kind,
        parts=parts,
        tail=tail,
        cutoff=cutoff,
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16],
    )


@functools.cache
def _method() -> str:
    """A fingerprint of the SQL: results of other SQL are other results."""
    text = "\0".join(statement for name in SQL_FILES for statement in statements("learnguard.condense", name))
    return hashlib.sha256(text.encode()).hexdigest()


def condense_units(
    con: duckdb.DuckDBPyConnection,
    units: Sequence[Unit],
    root: Path,
    *,
    rules: CondenseRules,
    workers: int,
    done: Callable[[Unit], None] = lambda _: None,
) -> int:
    """Condense the units whose results are not under ``root`` yet; returns how many were.

    Results are written under temporary names and renamed when whole, so that any number of processes may condense
    the same unit at once: each writes the whole of it. ``con`` is only used through cursors, one per thread.
    """
    todo = [u for u in units if not all(u.file(root, o).exists() for o in OUTPUTS)]
    todo.sort(key=lambda u: -u.rows)

    def one(unit: Unit) -> None:
        cursor = con.cursor()
        try:
            cursor.execute("SET TimeZone = 'UTC'")
            _condense(cursor, unit, rules)
            for output in OUTPUTS:
                _keep(cursor, unit, output, root)
        finally:
            cursor.close()
        done(unit)

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for _ in pool.map(one, todo):
            pass
    return len(todo)


def _condense(cursor: duckdb.DuckDBPyConnection, unit: Unit, rules: CondenseRules) -> None:
    day_from = datetime.combine(unit.day, datetime.min.time(), tzinfo=ZoneInfo(unit.timezone))
    if unit.kind == "sessions":
        _view(cursor, "day_sessions", unit.parts, "seq")
        condense_sessions(cursor, platform_id=unit.platform_id, day=unit.day)
        return
    _view(cursor, "lake_events", unit.parts, "FALSE AS is_tail")
    sources = ["SELECT * FROM lake_events"]
    if unit.tail:
        # The last hours of the day before give stretches that cross midnight their past.
        _view(cursor, "lake_tail", unit.tail, "TRUE AS is_tail")
        cursor.execute(
            "CREATE OR REPLACE TEMP TABLE tail_events AS SELECT * FROM lake_tail "
            "WHERE ts >= $tail_from AND account_id IN (SELECT account_id FROM lake_events WHERE ts < $tail_to)",
            {
                "tail_from": day_from - timedelta(seconds=rules.tail_s),
                "tail_to": day_from + timedelta(seconds=rules.tail_s),
            },
        )
        if (cursor.execute("SELECT count(*) FROM tail_events").fetchone() or (0,))[0]:
            sources.append("SELECT * FROM tail_events")
    arrived = f" WHERE coalesce(received_at, ts) < TIMESTAMPTZ '{unit.cutoff.isoformat()}'" if unit.cutoff else ""
    cursor.execute(
        f"CREATE OR REPLACE TEMP VIEW day_events AS SELECT * FROM ({' UNION ALL BY NAME '.join(sources)}){arrived}"
    )
    condense_events(cursor, platform_id=unit.platform_id, day=unit.day, day_from=day_from, rows=unit.rows, rules=rules)


def _view(cursor: duckdb.DuckDBPyConnection, name: str, parts: Sequence[LogPart], extra: str) -> None:
    """A temp view over lake files; ``extra`` is one more column, or ``seq`` for the delivery's number."""
    if extra != "seq":
        files = ", ".join(_literal(p.path) for p in parts)
        cursor.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT *, {extra} FROM read_parquet([{files}])")
        return
    reads = " UNION ALL BY NAME ".join(
        f"SELECT *, {p.seq}::BIGINT AS seq FROM read_parquet({_literal(p.path)})" for p in parts
    )
    cursor.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {reads}")


def _literal(path: Path) -> str:
    """A path as an SQL string: views cannot bind parameters, and the store names these files itself."""
    return "'" + str(path).replace("'", "''") + "'"


def _keep(cursor: duckdb.DuckDBPyConnection, unit: Unit, output: str, root: Path) -> None:
    final = unit.file(root, output)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.{threading.get_ident()}")
    cursor.execute(
        f"COPY (SELECT * FROM unit_{output} ORDER BY {_ORDER[output]}) TO {_literal(temporary)} "
        "(FORMAT parquet, COMPRESSION zstd)"
    )
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(final)
