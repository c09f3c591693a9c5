"""Units of condensing: which days are condensed when, from which files, and that days fit together."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from learnguard.condense import OUTPUTS, CondenseRules, units
from learnguard.condense.units import Unit, condense_units, plan_units
from learnguard.schema import lake_columns

MONDAY = dt.date(2026, 3, 2)
ZONE = "Asia/Shanghai"
RULES = CondenseRules()
KINDS = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_()}
Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    path: Path
    date: dt.date | None
    platform_id: str | None
    delivery_id: str
    seq: int
    rows: int


def local(day: dt.date, seconds: float) -> datetime:
    return datetime.combine(day, dt.time(), tzinfo=ZoneInfo(ZONE)).astimezone(UTC) + timedelta(seconds=seconds)


def part(
    folder: Path, name: str, table: str, rows: list[Row], *, day: dt.date = MONDAY, seq: int = 1, platform: str = "p"
) -> Part:
    """A lake file of the store's shape."""
    columns = [(c.name, KINDS.get(c.sql_type, pa.timestamp("us", tz="UTC"))) for c in lake_columns(table)]
    given = [{**r, "platform_id": platform, "delivery_id": f"d{seq}"} for r in rows]
    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(given, schema=pa.schema([*columns, ("delivery_id", pa.string())])), path)
    return Part(path, day, platform, f"d{seq}", seq, len(rows))


def beats(begin: datetime, seconds: int, *, account: str = "a", start: float | None = 0, **more: Any) -> list[Row]:
    return [
        {
            "account_id": account, "device_id": "d", "page_id": f"page-{account}", "lesson_id": "l", "course_id": "c",
            "terminal": "pc", "verb": "heartbeat", "ts": begin + timedelta(seconds=t),
            "position_s": None if start is None else start + t, **more,
        }
        for t in range(0, seconds + 1, 30)
    ]  # fmt: skip


def plan(
    events: list[Part], sessions: list[Part] | None = None, cutoffs: dict[Path, datetime] | None = None
) -> list[Unit]:
    zones = {p.delivery_id: ZONE for p in [*events, *(sessions or [])]}
    return plan_units(events, sessions or [], timezones=zones, cutoffs=cutoffs or {}, rules=RULES)


def condense(planned: list[Unit], root: Path, workers: int = 2) -> int:
    con = duckdb.connect(config={"threads": 1})
    try:
        return condense_units(con, planned, root, rules=RULES, workers=workers)
    finally:
        con.close()


def read(planned: list[Unit], root: Path, columns: str, output: str = "segments") -> list[tuple[Any, ...]]:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    files = [str(u.file(root, output)) for u in planned]
    rows = con.execute(f"SELECT {columns} FROM read_parquet($files) ORDER BY ALL", {"files": files}).fetchall()
    con.close()
    return rows


@pytest.mark.parametrize("start", [0, None], ids=["with positions", "without"])
@pytest.mark.parametrize("shift", [0, 7, 13])
def test_two_days_share_a_stretch_across_midnight_without_loss_or_double(
    tmp_path: Path, start: float | None, shift: int
) -> None:
    whole = beats(local(MONDAY, 86_400 - 3600 + shift), 7200, start=start)
    night = local(MONDAY, 86_400)
    events = [
        part(tmp_path, "mon", "events", [r for r in whole if r["ts"] < night]),
        part(tmp_path, "tue", "events", [r for r in whole if r["ts"] >= night], day=MONDAY + timedelta(days=1)),
    ]
    planned = plan(events)
    assert condense(planned, tmp_path) == 2
    (one, two) = read(planned, tmp_path, "started_at, ended_at, active_s, day")
    assert one[1] == two[0], "the second day goes on where the first one stopped"
    assert one[2] + two[2] == 7200
    assert [r[3] for r in (one, two)] == [MONDAY, MONDAY + timedelta(days=1)]


def test_a_unit_is_condensed_once_and_again_only_when_something_arrived(tmp_path: Path) -> None:
    one = part(tmp_path, "one", "events", beats(local(MONDAY, 36_000), 600))
    planned = plan([one])
    assert [condense(planned, tmp_path) for _ in range(2)] == [1, 0]
    late = part(tmp_path, "late", "events", beats(local(MONDAY, 36_630), 570, start=630), seq=2)
    again = plan([one, late])
    assert again[0].fingerprint != planned[0].fingerprint
    assert condense(again, tmp_path) == 1
    assert read(again, tmp_path, "active_s") == [(1200,)]
    assert read(planned, tmp_path, "active_s") == [(600,)], "what a published run had read stays as it was"


def test_the_same_rows_delivered_in_two_files_change_no_segment(tmp_path: Path) -> None:
    rows = beats(local(MONDAY, 36_000), 600) + [
        {**beats(local(MONDAY, 36_100), 0)[0], "verb": v} for v in ("interaction", "hidden")
    ]
    one = part(tmp_path, "one", "events", rows)
    two = part(tmp_path, "two", "events", list(reversed(rows)), seq=2)
    columns = "started_at, ended_at, active_s, media_from_s, media_to_s, is_hidden, n_interactions, n_events"
    alone, both = plan([one]), plan([one, two])
    condense(alone, tmp_path)
    condense(both, tmp_path)
    assert read(alone, tmp_path, columns) == read(both, tmp_path, columns)


def test_rows_that_had_not_arrived_yet_are_left_out(tmp_path: Path) -> None:
    begin = local(MONDAY, 36_000)
    rows = [
        *beats(begin, 300, received_at=begin),
        *beats(begin + timedelta(seconds=330), 270, start=330, received_at=begin + timedelta(days=2)),
    ]
    one = part(tmp_path, "one", "events", rows)
    early, late = plan([one], cutoffs={one.path: begin + timedelta(days=1)}), plan([one])
    condense([*early, *late], tmp_path)
    assert (read(early, tmp_path, "active_s"), read(late, tmp_path, "active_s")) == ([(300,)], [(600,)])


def test_a_day_of_events_makes_no_segments_of_its_sessions(tmp_path: Path) -> None:
    tuesday = MONDAY + timedelta(days=1)
    told = {"session_id": "s", "account_id": "a", "course_id": "c", "lesson_id": "l"}
    monday, later = (
        part(
            tmp_path,
            f"s{n}",
            "sessions",
            [{**told, "started_at": local(d, 40_000), "ended_at": local(d, 40_600)}],
            day=d,
        )
        for n, d in enumerate((MONDAY, tuesday))
    )
    other = part(
        tmp_path,
        "s9",
        "sessions",
        [{**told, "started_at": local(MONDAY, 0), "ended_at": local(MONDAY, 9)}],
        platform="q",
    )
    planned = plan([part(tmp_path, "e", "events", beats(local(MONDAY, 36_000), 600))], [monday, later, other])
    assert [(u.platform_id, u.day, u.kind) for u in planned] == [
        ("p", MONDAY, "events"), ("q", MONDAY, "sessions"), ("p", tuesday, "sessions"),
    ]  # fmt: skip
    condense(planned, tmp_path)
    assert read(planned, tmp_path, "source, active_s") == [("events", 600), ("sessions", 9), ("sessions", 600)]


def test_the_later_delivery_of_a_session_counts_whatever_the_names_of_the_files(tmp_path: Path) -> None:
    told = {"session_id": "s", "account_id": "a", "course_id": "c", "lesson_id": "l", "started_at": local(MONDAY, 0)}
    first = part(tmp_path, "z", "sessions", [{**told, "ended_at": local(MONDAY, 900)}], seq=3)
    second = part(tmp_path, "a", "sessions", [{**told, "ended_at": local(MONDAY, 600)}], seq=12)
    planned = plan([], [second, first])
    condense(planned, tmp_path)
    assert read(planned, tmp_path, "active_s") == [(600,)]


def test_many_may_condense_the_same_units_at_once(tmp_path: Path) -> None:
    events = [
        part(
            tmp_path,
            f"e{n}",
            "events",
            beats(local(MONDAY + timedelta(days=n), 36_000), 600 + 30 * n),
            day=MONDAY + timedelta(days=n),
        )
        for n in range(3)
    ]
    planned = plan(events)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: condense(planned, tmp_path), range(4)))
    assert read(planned, tmp_path, "active_s") == [(600,), (630,), (660,)]
    assert sorted(p.name for o in OUTPUTS for p in (tmp_path / o).rglob("*") if p.is_file()) == sorted(
        u.file(tmp_path, o).name for o in OUTPUTS for u in planned
    ), "nothing half written is left"


def test_other_sql_gives_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = part(tmp_path, "one", "events", beats(local(MONDAY, 36_000), 60))
    before = plan([one])[0].fingerprint
    monkeypatch.setattr(units, "_method", lambda: "other")
    assert plan([one])[0].fingerprint != before


def test_a_part_without_a_day_is_no_log(tmp_path: Path) -> None:
    one = part(tmp_path, "one", "events", [])
    with pytest.raises(ValueError, match=r"one.parquet is no log"):
        plan([Part(one.path, None, "p", "d1", 1, 0)])
