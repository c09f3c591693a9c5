"""Study sessions that count more than the clock permits."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from learnguard.simulate import study
from learnguard.simulate.behaviours.variant import Variant
from learnguard.simulate.study import Study


def _beyond_clock(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """A session of some minutes that counts the whole lesson."""
    share = pl.Series(rng.uniform(0.06, 0.35, tasks.height))
    rows = tasks.with_columns(
        start_s=pl.lit(0.0),
        wall_s=pl.col("duration_s") * share,
        rate=1.0 / share,
        begin=pl.lit("play"),
        end=pl.lit("pause"),
    )
    excess = pl.col("duration_s") - pl.col("max_rate") * pl.col("wall_s")
    strikes = study.strikes(rows.select("block", "task", seconds=excess))
    return Study(study.stretches(rows), strikes=strikes)


def _at_once(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """Many sessions begin within seconds of each other, and each counts its lesson."""
    lag = pl.Series(rng.uniform(0, 3, tasks.height))
    rows = tasks.with_columns(
        start_s=lag,
        wall_s=pl.col("duration_s").cast(pl.Float64),
        rate=pl.lit(1.0),
        begin=pl.lit("play"),
        end=pl.lit("pause"),
    )
    end = pl.col("start_s") + pl.col("wall_s")
    excess = rows.group_by("block", maintain_order=True).agg(
        seconds=pl.col("duration_s").sum() - pl.col("max_rate").first() * (end.max() - pl.col("start_s").min())
    )
    return Study(study.stretches(rows), strikes=study.strikes(excess.filter(pl.col("seconds") > 0)))


_PEIXUN: Final = ("peixun",)
VARIANTS: Final = (
    Variant(
        "anomalous_completion_time", "counted_beyond_clock", _PEIXUN, _PEIXUN, "any", _beyond_clock,
        also=("course_skipping", "record_fabrication"),
    ),
    Variant(
        "anomalous_completion_time", "counted_at_once", _PEIXUN, _PEIXUN, "any", _at_once, at_once=5,
        also=("background_playback",),
    ),
)  # fmt: skip
