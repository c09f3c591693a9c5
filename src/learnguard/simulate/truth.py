"""What was injected, record by record: the yardstick, computed from the injection alone."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from learnguard.simulate.behaviours import Variant
from learnguard.simulate.tables import as_time


def make_truth(
    variants: Sequence[Variant],
    records: pl.DataFrame,
    tasks: pl.DataFrame,
    blocks: pl.DataFrame,
    strikes: pl.DataFrame,
) -> pl.DataFrame:
    """One row per record that was given a behaviour.

    Columns: platform_id, account_id, record_id, course_id, behaviour, variant, ``dose`` (media seconds of the
    lessons concerned over those of the course), ``is_observable`` (the platform's log can show it), ``also`` (other
    detectors that the same evidence rightly concerns), started_at, ended_at, ``struck_s`` (sum of the strikes'
    seconds) and ``strikes``: a list of {lesson_id, started_at, ended_at, seconds}, where a strike without times is
    seconds of a lesson counted and not played, and one without a lesson concerns several at once.
    """
    traits = pl.DataFrame(
        {
            "variant": list(range(len(variants))),
            "behaviour": [v.behaviour for v in variants],
            "name": [v.name for v in variants],
            "seen_on": [list(v.observable_on) for v in variants],
            "also": [list(v.also) for v in variants],
        },
        schema={
            "variant": pl.Int64,
            "behaviour": pl.String,
            "name": pl.String,
            "seen_on": pl.List(pl.String),
            "also": pl.List(pl.String),
        },
    )
    share = (
        tasks.filter(pl.col("mode").is_not_null())
        .group_by("record")
        .agg(chosen_s=pl.col("duration_s").sum(), n_lessons_concerned=pl.len().cast(pl.Int64))
    )
    owner = tasks.group_by("block").agg(pl.col("record").first())
    placed = (
        strikes.join(owner, on="block", how="inner", maintain_order="left")
        .join(blocks.select("block", "at_ms"), on="block", how="inner", maintain_order="left")
        .join(tasks.select("task", "lesson_id"), on="task", how="left", maintain_order="left")
        .with_columns(
            started_ms=pl.col("at_ms") + (pl.col("start_s") * 1000).round().cast(pl.Int64),
            ended_ms=pl.col("at_ms") + (pl.col("end_s") * 1000).round().cast(pl.Int64),
        )
        .with_columns(
            started_at=as_time("started_ms"), ended_at=as_time("ended_ms"), seconds=pl.col("seconds").round(3)
        )
        .sort("record", "started_at", "lesson_id", maintain_order=True)
    )
    per_record = placed.group_by("record", maintain_order=True).agg(
        started_at=pl.col("started_at").min(),
        ended_at=pl.col("ended_at").max(),
        struck_s=pl.col("seconds").sum().round(3),
        strikes=pl.struct("lesson_id", "started_at", "ended_at", "seconds"),
    )
    learns = pl.col("chosen_s").is_not_null()
    return (
        records.filter(pl.col("variant").is_not_null())
        .drop("dose")
        .join(traits, on="variant", how="left", maintain_order="left")
        .join(share, on="record", how="left", maintain_order="left")
        .join(per_record, on="record", how="left", maintain_order="left")
        .select(
            "platform_id",
            "account_id",
            "record_id",
            "course_id",
            "behaviour",
            variant="name",
            dose=pl.when(learns).then(pl.col("chosen_s") / pl.col("course_s")).otherwise(1.0),
            is_observable=pl.col("seen_on").list.contains(pl.col("platform_id")),
            also="also",
            started_at="started_at",
            ended_at="ended_at",
            struck_s=pl.col("struck_s").fill_null(0.0),
            strikes=pl.col("strikes").fill_null([]),
        )
        .sort("platform_id", "record_id")
    )
