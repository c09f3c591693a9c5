"""Lessons that play while the page is not in front, or several pages at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from learnguard.simulate import study
from learnguard.simulate.behaviours.variant import Variant
from learnguard.simulate.randomness import positions_within
from learnguard.simulate.study import Study

PAGES: Final = 4


def _hidden_between_checks(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """Plays hidden; at each presence check the learner comes to the front, answers, and goes away again."""
    away = rng.uniform(600, 960, tasks.height)
    total = tasks["duration_s"].to_numpy().astype(np.float64)
    front = 25.0
    counts = np.ceil(total / (away + front)).astype(np.int64)
    row = np.repeat(np.arange(tasks.height), counts)
    start = positions_within(counts) * (away + front)[row]
    hides = tasks[row].with_columns(
        start_s=pl.Series(start), wall_s=pl.Series(np.minimum(away[row], total[row] - start)),
        is_hidden=pl.lit(value=True), has_prompts=pl.lit(value=False), rate=pl.lit(1.0),
    )  # fmt: skip
    comes = pl.Series(start + away[row])
    shows = tasks[row].with_columns(
        start_s=comes, wall_s=pl.min_horizontal(pl.lit(front), pl.col("duration_s") - comes), rate=pl.lit(1.0),
        has_prompts=pl.lit(value=False),
    ).filter(pl.col("wall_s") > 12)  # fmt: skip
    first, last = pl.col("start_s") == 0, pl.col("start_s") + pl.col("wall_s") >= pl.col("duration_s") - 1e-6
    end = pl.when(last).then(pl.lit("pause"))
    rows = [
        hides.with_columns(begin=pl.when(first).then(pl.lit("play")).otherwise(pl.lit("hidden")), end=end),
        shows.with_columns(begin=pl.lit("visible"), end=end),
    ]
    goes = hides.filter(first).with_columns(at_s=pl.lit(2.0), verb=pl.lit("hidden"), position_s=pl.lit(2.0))
    asked = shows.with_columns(at_s=pl.col("start_s") - 8, verb=pl.lit("prompt"), position_s=pl.col("start_s") - 8)
    answers = shows.with_columns(
        at_s=pl.col("start_s") + 4, verb=pl.lit("prompt_answer"), position_s=pl.col("start_s") + 4,
        result=pl.lit("pass"), value=pl.lit(12.0),
    )  # fmt: skip
    played = [study.stretches(r.with_columns(media_from_s="start_s")) for r in rows]
    marks = [study.marks(m) for m in (goes, asked.with_columns(is_hidden=pl.lit(value=True)), answers)]
    done = study.completions(tasks, pl.col("duration_s") + 0.4, pl.col("duration_s"))
    strikes = hides.with_columns(end_s=pl.col("start_s") + pl.col("wall_s"))
    return Study(pl.concat(played), pl.concat([*marks, done]), study.strikes(strikes))


def _hidden_and_away(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """Plays hidden from beginning to end, and nobody answers."""
    start = pl.Series(rng.uniform(3, 12, tasks.height))
    first = tasks.with_columns(
        start_s=pl.lit(0.0), wall_s=start, begin=pl.lit("play"), rate=pl.lit(1.0), has_prompts=pl.lit(value=False)
    )
    rest = tasks.with_columns(
        start_s=start, wall_s=pl.col("duration_s") - start, media_from_s=start, begin=pl.lit("hidden"),
        end=pl.lit("pause"), rate=pl.lit(1.0), is_hidden=pl.lit(value=True), is_present=pl.lit(value=False),
    )  # fmt: skip
    done = study.completions(tasks, pl.col("duration_s") + 0.4, pl.col("duration_s"), is_hidden=pl.lit(value=True))
    strikes = rest.with_columns(end_s=pl.col("start_s") + pl.col("wall_s"))
    return Study(pl.concat([study.stretches(first), study.stretches(rest)]), done, study.strikes(strikes))


def _many_pages(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """Four lessons play at once on one device; only the first page is in front."""
    number = pl.col("place") % PAGES
    lag = pl.Series(rng.uniform(4, 20, tasks.height))
    is_behind = number > 0
    rows = tasks.with_columns(
        start_s=number * 20 + pl.when(is_behind).then(lag).otherwise(0.0),
        wall_s=pl.col("duration_s").cast(pl.Float64), rate=pl.lit(1.0), begin=pl.lit("play"), end=pl.lit("pause"),
        is_hidden=is_behind, has_prompts=~is_behind,
    )  # fmt: skip
    end = pl.col("start_s") + pl.col("wall_s")
    done = study.completions(rows, end + 0.4, pl.col("wall_s"), is_hidden=pl.col("is_hidden"))
    # From the opening of the second page until only one plays: several at once. What then still plays is hidden,
    # unless it is the front page.
    group = rows.group_by("block", maintain_order=True).agg(
        start_s=pl.col("start_s").sort().get(1),
        end_s=end.top_k(2).min(),
        last_s=end.max(),
        is_last_hidden=pl.col("is_hidden").get(end.arg_max()),
        last_task=pl.col("task").get(end.arg_max()),
        sees=pl.col("platform_id").first() == "muke",
    )
    tail = group.filter(pl.col("is_last_hidden") & pl.col("sees")).select(
        "block", task="last_task", start_s="end_s", end_s="last_s"
    )
    strikes = [study.strikes(group), study.strikes(tail)]
    return Study(study.stretches(rows), done, pl.concat(strikes))


VARIANTS: Final = (
    Variant(
        "background_playback", "hidden_between_checks", ("muke", "zhangxue"), ("muke",), "any", _hidden_between_checks
    ),
    Variant(
        "background_playback", "hidden_and_away", ("muke",), ("muke",), "any", _hidden_and_away,
        also=("idle_playback",),
    ),
    Variant(
        "background_playback", "many_pages", ("muke", "peixun"), ("muke", "peixun"), "any", _many_pages,
        at_once=PAGES, also=("anomalous_completion_time",),
    ),
)  # fmt: skip
