"""Condense one day of one platform: raw rows in, segments, checks, completions and capabilities out.

The SQL files beside this one do the work, over a view ``day_events`` (or ``day_sessions``) that the caller
names; :func:`condense_events` and :func:`condense_sessions` leave the temp tables ``unit_segments``,
``unit_checks``, ``unit_completions`` and ``unit_capabilities`` on the connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from learnguard.sql import run_file

if TYPE_CHECKING:
    import duckdb

#: What condensing puts out; the temp tables are called ``unit_<name>``.
OUTPUTS: Final = ("segments", "checks", "completions", "capabilities")


@dataclass(frozen=True, slots=True)
class CondenseRules:
    """The numbers of condensing. None of them is a rule about people: they say how logs are read.

    ``gap_beats`` lost beats in a row are still one stretch (two may get lost, the third may be late by
    ``gap_extra_s``); a platform that sends no beats is given ``silent_gap_s`` of silence (the usual session gap).
    ``restart_s``: a page that plays anew after a longer silence was not playing before.
    ``line_tolerance_s``: positions are logged in whole seconds and a little late.
    ``fastest_rate``: no player plays faster, so a faster advance is a jump.
    ``carried_share``: of a silence that another page of the account played through, so much means that the media was
    carried on there.
    ``is_every_page_walked``: walk the pages, too, that aggregates could do (slower, the same segments: for checking).
    """

    version: int = 1
    gap_beats: float = 3.0
    gap_extra_s: float = 15.0
    silent_gap_s: float = 3600.0
    restart_s: float = 120.0
    longest_beat_s: float = 900.0
    fewest_beats: int = 5
    beat_sample: int = 200_000
    line_tolerance_s: float = 10.0
    line_share: float = 0.1
    carried_share: float = 0.5
    still_share: float = 0.1
    moving_share: float = 0.5
    fastest_rate: float = 16.0
    slack_beats: float = 2.0
    jump_s: float = 60.0
    backward_s: float = 10.0
    suspect_least: int = 3
    suspect_share: float = 0.1
    suspect_page_share: float = 0.25
    answer_window_s: int = 60
    tail_s: int = 7200
    is_every_page_walked: bool = False


_RATE_SCALE: Final = 100
_NO_RATE: Final = 16383
#: Bits below the row number: for small values, and for media places in hundredths of a second.
_PACK: Final = 1 << 14
_PLACE_PACK: Final = 1 << 34
#: Bits below the number of a page: for microseconds of the longest day and its tail (3 days).
_PAGE_BITS: Final = 38
_WALK_STEPS: Final = ("cadence.sql", "pages.sql", "stretches.sql", "carried.sql")
_LAY_STEPS: Final = ("capabilities.sql", "checks.sql", "segments.sql")
#: All SQL of condensing, in the order in which it runs.
SQL_FILES: Final = (*_WALK_STEPS, *_LAY_STEPS, "sessions.sql")


def condense_events(
    con: duckdb.DuckDBPyConnection,
    *,
    platform_id: str,
    day: date,
    day_from: datetime,
    rows: int,
    rules: CondenseRules,
) -> None:
    """Condense the view ``day_events`` (lake columns of events plus ``is_tail``) of one platform and day.

    ``day_from`` is the day's first instant (aware); rows before it carry ``is_tail`` and only give the first rows
    of the day their past. ``rows`` is the view's rough row count and sizes the sample the beat is learned from.
    """
    values: dict[str, object] = {
        name: getattr(rules, name) for name in CondenseRules.__dataclass_fields__ if name not in {"version", "tail_s"}
    }
    values |= {
        "platform_id": platform_id,
        "day": day,
        "day_from": day_from,
        "rate_scale": _RATE_SCALE,
        "no_rate": _NO_RATE,
        "pack": _PACK,
        "low": _PACK - 1,
        "place_pack": _PLACE_PACK,
        "low_place": _PLACE_PACK - 1,
        "page_bits": _PAGE_BITS,
        "from_us": int(day_from.timestamp() - 86_400) * 1_000_000,
        "one_in": max(1, rows // rules.beat_sample),
    }
    for step in _WALK_STEPS:
        run_file(con, __package__, step, values)
    carried = con.execute("SELECT count(*) FROM walked_pages").fetchone()
    if carried and carried[0]:
        run_file(con, __package__, "stretches.sql", values)
        con.execute("INSERT INTO first_walk BY NAME SELECT * FROM stretches")
    con.execute("CREATE OR REPLACE TEMP TABLE stretches AS SELECT * FROM first_walk")
    for step in _LAY_STEPS:
        run_file(con, __package__, step, values)


def condense_sessions(con: duckdb.DuckDBPyConnection, *, platform_id: str, day: date) -> None:
    """Condense the view ``day_sessions`` (lake columns of sessions plus ``seq``, the delivery's number)."""
    run_file(con, __package__, "sessions.sql", {"platform_id": platform_id, "day": day})
