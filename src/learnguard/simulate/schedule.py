"""When people learn: blocks of study placed on the calendar, one after the other for each person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from learnguard.simulate.randomness import stream
from learnguard.simulate.study import Study

TIMEZONE: Final = "Asia/Shanghai"  # no summer time: every day has 24 hours
DAY_S: Final = 86_400
#: Local hour at which the courses of a training room begin, and how long a group's day may last at most.
ROOM_HOUR, ROOM_HOURS = 9.0, 5.0
#: Nothing is studied in the last minutes before the last delivery.
LAST_MINUTES_S: Final = 2_400


@dataclass(frozen=True, slots=True)
class Calendar:
    """The delivered days: ``days`` local days from ``start`` on."""

    start: date
    days: int

    @property
    def midnight_ms(self) -> int:
        """The first day's local midnight, in milliseconds since 1970 UTC."""
        return int(datetime.combine(self.start, time(), ZoneInfo(TIMEZONE)).timestamp() * 1000)

    def day(self, index: int) -> date:
        """The date of day ``index`` (0: the first)."""
        return self.start + timedelta(days=index)

    def at_ms(self, index: int, hour: float) -> int:
        """Milliseconds since 1970 UTC at local ``hour`` of day ``index``."""
        return self.midnight_ms + int((index * 24 + hour) * 3_600_000)


def block_lengths(learned: Study) -> pl.DataFrame:
    """Wall seconds of each block: block, ``wall_s`` and its first ``task``."""
    ends = pl.concat(
        [
            learned.stretches.select("block", "task", end_s=pl.col("start_s") + pl.col("wall_s")),
            learned.marks.select("block", "task", end_s="at_s"),
        ]
    )
    return ends.group_by("block").agg(wall_s=pl.col("end_s").max(), task=pl.col("task").min()).sort("block")


def _study_days(seed: int, people: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """The days on which each person studies: person, ``nth`` (0, 1, …), day, ``day_start_s`` after its midnight."""
    rng = stream(seed, "days")
    n = people.height
    studies = rng.random((n, calendar.days)) < 0.72
    by_room = rng.random((16, calendar.days)) < 0.85
    room = people["room"].to_numpy()
    in_room = people["room"].is_not_null().to_numpy()
    studies[in_room] = by_room[room[in_room].astype(np.int64) % 16]
    if calendar.days > 1:
        # Whoever learns late at night leaves the last day alone, or the log would end before the study does.
        studies[people["ends_early"].to_numpy() | (people["start_hour"].to_numpy() >= 20.5), -1] = False
    fallback = rng.integers(0, max(calendar.days - 1, 1), n)
    empty = ~studies.any(axis=1)
    studies[np.flatnonzero(empty), fallback[empty]] = True
    who, day = np.nonzero(studies)
    hour = people["start_hour"].to_numpy()[who]
    start = np.clip(hour * 3600 + rng.normal(0, 1500, who.size), 0, DAY_S - 600)
    start = np.where(in_room[who], ROOM_HOUR * 3600 + rng.uniform(20, 400, who.size), start)
    return pl.DataFrame(
        {"person": people["person"].to_numpy()[who], "day": day.astype(np.int64), "day_start_s": start}
    ).with_columns(nth=pl.int_range(pl.len()).over("person").cast(pl.Int64))


def place(seed: int, blocks: pl.DataFrame, people: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Adds ``day`` and ``at_ms`` to ``blocks`` (block, task, person, order, wall_s); nobody does two blocks at once.

    ``people`` needs person, start_hour, daily_s, room and ends_early.
    """
    rng = stream(seed, "schedule")
    n = blocks.height
    gap = np.select(
        [(u := rng.random(n)) < 0.6, u < 0.9],
        [rng.uniform(4, 40, n), rng.uniform(60, 480, n)],
        default=rng.uniform(600, 2400, n),
    )
    days = _study_days(seed, people, calendar)
    per_person = days.group_by("person", maintain_order=True).agg(n_days=pl.len().cast(pl.Int64))
    placed = (
        blocks.sort("person", "order", "block")
        .with_columns(spent_s=pl.col("wall_s") + pl.Series(gap))
        .join(people.select("person", "daily_s"), on="person", how="left", maintain_order="left")
        .join(per_person, on="person", how="left", maintain_order="left")
        .with_columns(
            before_s=(pl.col("spent_s").cum_sum() - pl.col("spent_s")).over("person"),
            total_s=pl.col("spent_s").sum().over("person"),
        )
        # As much a day as its person gives to it, more where the days would not suffice.
        .with_columns(daily_s=pl.max_horizontal("daily_s", 1.02 * pl.col("total_s") / pl.col("n_days")))
        .with_columns(
            nth=pl.min_horizontal((pl.col("before_s") / pl.col("daily_s")).floor().cast(pl.Int64), pl.col("n_days") - 1)
        )
        .join(days, on=["person", "nth"], how="left", maintain_order="left")
        .with_columns(within_s=pl.col("before_s") - pl.col("before_s").min().over("person", "nth"))
    )
    end_s = (pl.col("day_start_s") + pl.col("within_s") + pl.col("wall_s")).max().over("person", "nth")
    too_late = pl.max_horizontal(end_s - (DAY_S - LAST_MINUTES_S), 0.0)
    shift = pl.when(pl.col("day") == calendar.days - 1).then(too_late).otherwise(0.0)
    at_s = pl.col("day") * DAY_S + pl.max_horizontal(pl.col("day_start_s") - shift, 0.0) + pl.col("within_s")
    return placed.with_columns(at_ms=calendar.midnight_ms + (at_s * 1000).round().cast(pl.Int64)).select(
        "block", "task", "person", "order", "wall_s", "day", "at_ms"
    )
