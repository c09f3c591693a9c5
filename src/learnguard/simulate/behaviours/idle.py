"""Media that runs on with nobody there."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from learnguard.simulate import study
from learnguard.simulate.behaviours.variant import Variant
from learnguard.simulate.randomness import positions_within
from learnguard.simulate.study import Study

AUTOPLAY_S: Final = 3.0


def _one_after_the_other(tasks: pl.DataFrame, loops: pl.Series) -> Study:
    """The block's lessons one after the other by themselves, ``loops`` rounds of them, nobody being there."""
    counts = loops.to_numpy().astype(np.int64)
    row = np.repeat(np.arange(tasks.height), counts)
    rows = tasks[row].with_columns(round=pl.Series(positions_within(counts))).sort("block", "round", "place")
    spent = pl.col("duration_s") + AUTOPLAY_S
    rows = rows.with_columns(
        start_s=(spent.cum_sum() - spent).over("block"),
        wall_s=pl.col("duration_s").cast(pl.Float64),
        rate=pl.lit(1.0),
        page=pl.col("round"),
        begin=pl.lit("play"),
        end=pl.lit("pause"),
        is_present=pl.lit(value=False),
    )
    end = pl.col("start_s") + pl.col("wall_s")
    done = study.completions(rows.filter(pl.col("round") == 0), end + 0.4, pl.col("wall_s"))
    return Study(study.stretches(rows), done, study.strikes(rows.with_columns(end_s=end)))


def _checks_missed(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """A run of lessons plays through; every presence check times out."""
    del rng  # nothing here is left to chance
    return _one_after_the_other(tasks, pl.Series(np.ones(tasks.height)))


def _overnight(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """The course goes round and round through the night; where no checks are shown, for longer still."""
    per_round = tasks.select(pl.col("duration_s").sum().over("block")).to_series()
    hours = rng.uniform(8, 10, tasks.height) + 5.5 * (tasks["platform_id"] == "peixun").to_numpy()
    loops = pl.DataFrame({"block": tasks["block"], "loops": np.ceil(hours * 3600 / per_round.to_numpy())})
    return _one_after_the_other(tasks, loops.select(pl.col("loops").first().over("block")).to_series())


_ALL: Final = ("muke", "zhangxue", "peixun")
VARIANTS: Final = (
    Variant("idle_playback", "checks_missed", _ALL, ("muke", "zhangxue"), "run", _checks_missed, at_least=3),
    Variant(
        "idle_playback", "overnight", _ALL, _ALL, "all", _overnight, is_alone=True, is_at_home=True, ends_early=True,
        start_hour=21.5,
    ),
)  # fmt: skip
