"""Lessons counted as learned whose media was not played."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from learnguard.simulate import study
from learnguard.simulate.behaviours.variant import Variant
from learnguard.simulate.randomness import positions_within
from learnguard.simulate.study import Study


def _unplayed(tasks: pl.DataFrame, seconds: pl.Expr) -> pl.DataFrame:
    """Media seconds of a lesson that are counted and were not played."""
    return study.strikes(tasks.select("block", "task", seconds=seconds))


def _seek_to_end(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """Plays a little, seeks to the last seconds, and is done."""
    opening = pl.Series(rng.uniform(20, 60, tasks.height))
    last = pl.Series(rng.uniform(15, 40, tasks.height))
    target = pl.col("duration_s") - last
    first = tasks.with_columns(start_s=pl.lit(0.0), wall_s=opening, begin=pl.lit("play"), rate=pl.lit(1.0))
    second = tasks.with_columns(
        start_s=opening, wall_s=last, media_from_s=target, begin=pl.lit("seek"), seek_from_s=opening,
        end=pl.lit("pause"), rate=pl.lit(1.0),
    )  # fmt: skip
    done = study.completions(tasks, pl.lit(opening + last + 0.4), pl.col("duration_s"))
    rows = pl.concat([study.stretches(first), study.stretches(second)])
    return Study(rows, done, _unplayed(tasks, target - opening))


def _complete_calls(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """A script calls "complete" for one lesson after the other; nothing plays."""
    number = pl.col("place") - pl.col("place").min().over("block")
    at = number * 2.5 + pl.Series(rng.uniform(0.5, 1.5, tasks.height))
    done = study.completions(tasks, at, pl.col("duration_s"))
    return Study(marks=done, strikes=_unplayed(tasks, pl.col("duration_s")))


def _fast(tasks: pl.DataFrame, rng: np.random.Generator, *, says: float | None) -> Study:
    """Plays at four or eight times the speed; ``says`` is what the player claims its rate to be (None: the truth)."""
    rate = pl.Series(rng.choice([4.0, 8.0], size=tasks.height))
    rows = tasks.with_columns(
        start_s=pl.lit(0.0), wall_s=pl.col("duration_s") / rate, rate=rate, begin=pl.lit("play"),
        end=pl.lit("pause"), has_prompts=pl.lit(value=False),
        logged_rate=rate if says is None else pl.lit(says),
    )  # fmt: skip
    done = study.completions(rows, pl.col("wall_s") + 0.4, pl.col("duration_s"))
    return Study(study.stretches(rows), done, _unplayed(tasks, pl.col("duration_s")))


def _fast_rate(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    return _fast(tasks, rng, says=None)


def _forged_positions(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    return _fast(tasks, rng, says=1.0)


def _jumps(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """Positions leap ahead by minutes with no seek logged; between the leaps the player runs a minute or two."""
    total = tasks["duration_s"].to_numpy().astype(np.float64)
    run = rng.uniform(65, 130, tasks.height)
    step = run + rng.uniform(240, 500, tasks.height)
    counts = np.ceil(total / step).astype(np.int64)
    row = np.repeat(np.arange(tasks.height), counts)
    number = positions_within(counts)
    media = number * step[row]
    wall = np.minimum(run[row], total[row] - media)
    is_last = number == counts[row] - 1
    rows = tasks[row].with_columns(
        start_s=pl.Series(number * run[row]), wall_s=pl.Series(wall), media_from_s=pl.Series(media), rate=pl.lit(1.0),
        begin=pl.Series(np.where(number == 0, "play", "")).replace("", None),
        end=pl.Series(np.where(is_last, "pause", "")).replace("", None),
    )  # fmt: skip
    end_s = pl.Series((counts - 1) * run + wall[is_last])
    played = pl.Series(np.bincount(row, wall, tasks.height))
    done = study.completions(tasks, pl.lit(end_s + 0.4), pl.col("duration_s"))
    return Study(study.stretches(rows), done, _unplayed(tasks, pl.col("duration_s") - played))


_BOTH: Final = ("muke", "zhangxue")
_ALSO: Final = ("anomalous_completion_time",)
VARIANTS: Final = (
    Variant("course_skipping", "seek_to_end", _BOTH, _BOTH, "any", _seek_to_end, also=_ALSO),
    Variant(
        "course_skipping", "complete_calls", _BOTH, _BOTH, "run", _complete_calls, also=(*_ALSO, "record_fabrication")
    ),
    Variant("course_skipping", "fast_rate", ("muke",), ("muke",), "any", _fast_rate, also=_ALSO),
    Variant("course_skipping", "forged_positions", _BOTH, _BOTH, "any", _forged_positions, also=_ALSO),
    Variant("course_skipping", "jumps", _BOTH, _BOTH, "any", _jumps, also=_ALSO),
)
