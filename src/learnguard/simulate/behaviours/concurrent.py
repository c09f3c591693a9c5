"""One account active on two devices at once, on different lessons."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from learnguard.simulate import study
from learnguard.simulate.behaviours.variant import Variant
from learnguard.simulate.study import Study


def _pair(tasks: pl.DataFrame, rng: np.random.Generator, *, device: int, ip: int) -> Study:
    """Two lessons of one block side by side: the second begins within a minute of the first."""
    lag = pl.Series(rng.uniform(5, 55, tasks.height))
    is_second = pl.col("place") % 2 == 1
    rows = tasks.with_columns(
        start_s=pl.when(is_second).then(lag).otherwise(0.0),
        wall_s=pl.col("duration_s").cast(pl.Float64),
        rate=pl.lit(1.0),
        device=pl.when(is_second).then(device).otherwise(0),
        ip=pl.when(is_second).then(ip).otherwise(0),
        begin=pl.lit("play"),
        end=pl.lit("pause"),
    )
    end = pl.col("start_s") + pl.col("wall_s")
    overlap = rows.group_by("block", maintain_order=True).agg(start_s=pl.col("start_s").max(), end_s=end.min())
    done = study.completions(rows, end + 0.4, pl.col("wall_s"), device=pl.col("device"), ip=pl.col("ip"))
    return Study(study.stretches(rows), done, study.strikes(overlap))


def _two_devices(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    return _pair(tasks, rng, device=1, ip=0)


def _two_places(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    return _pair(tasks, rng, device=3, ip=3)


_ALSO: Final = ("anomalous_completion_time",)
VARIANTS: Final = (
    Variant(
        "concurrent_sessions", "two_devices", ("muke", "zhangxue", "peixun"), ("muke", "zhangxue", "peixun"),
        "any", _two_devices, at_once=2, also=_ALSO,
    ),
    Variant(
        "concurrent_sessions", "two_places", ("muke", "zhangxue"), ("muke", "zhangxue"),
        "any", _two_places, at_once=2, also=_ALSO,
    ),
)  # fmt: skip
