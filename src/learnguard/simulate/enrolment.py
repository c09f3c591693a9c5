"""Who learns what: records, their lessons as tasks, and which records are given a behaviour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from learnguard.simulate.behaviours import Variant
from learnguard.simulate.platforms import PLATFORMS
from learnguard.simulate.population import SECOND_COURSE
from learnguard.simulate.randomness import stream

#: Shares of honest records that were begun before the first delivery, or are given up halfway.
BEGUN_BEFORE, GIVEN_UP = 0.08, 0.05


def make_records(seed: int, accounts: pl.DataFrame, courses: pl.DataFrame) -> pl.DataFrame:
    """One row per (account, course): record, record_id, the account's columns, the course's columns.

    A class learns one course; some accounts take a second one on their own.
    """
    rng = stream(seed, "enrolment")
    numbered = courses.with_columns(
        course=pl.int_range(pl.len()).over("platform_id").cast(pl.Int64),
        n_courses=pl.len().over("platform_id").cast(pl.Int64),
    )
    counts = numbered.select("platform_id", "n_courses").unique(maintain_order=True)
    base = accounts.join(counts, on="platform_id", how="left", maintain_order="left").with_columns(
        course=(pl.col("class") - 1) % pl.col("n_courses"), is_second=pl.lit(value=False)
    )
    more = pl.Series(rng.random(base.height) < SECOND_COURSE)
    shift = pl.Series(rng.integers(1, 4, base.height))
    second = base.with_columns(more=more, shift=shift).filter(pl.col("more") & pl.col("room").is_null())
    second = second.with_columns(
        course=(pl.col("course") + pl.col("shift")) % pl.col("n_courses"), is_second=pl.lit(value=True)
    ).select(base.columns)
    prefix = pl.col("platform_id").replace_strict(
        {p.platform_id: p.account_prefix for p in PLATFORMS}, return_dtype=pl.String
    )
    return (
        pl.concat([base, second])
        .sort("person", "account", "is_second", maintain_order=True)
        .drop("n_courses")
        .join(numbered.drop("n_courses"), on=["platform_id", "course"], how="left", maintain_order="left")
        .with_row_index("record")
        .with_columns(pl.col("record").cast(pl.Int64))
        .with_columns(record_id=pl.format("{}-r{}", prefix, pl.col("record").cast(pl.String).str.zfill(6)))
    )


def assign(seed: int, records: pl.DataFrame, variants: Sequence[Variant], prevalence: float) -> pl.DataFrame:
    """``records`` with ``variant`` (index into ``variants``; null: honest), ``dose``, ``prior`` and ``is_given_up``.

    ``prevalence`` is the share of records given a behaviour. The variants are dealt in turn over the platforms
    they are possible on, so that even a small world holds most of them. A person gets at most one.
    """
    rng = stream(seed, "assignment")
    wanted = round(prevalence * records.height) if variants else 0
    pairs = [(i, p) for i, v in enumerate(variants) for p in v.platforms]
    order = [pairs[i] for i in rng.permutation(len(pairs))]
    alone = records.select(pl.len().over("person") == 1).to_series().to_numpy()
    platform = records["platform_id"].to_numpy()
    n_video = records["n_video"].to_numpy()
    person = records["person"].to_numpy()
    in_room = records["room"].is_not_null().to_numpy()
    free = np.ones(records.height, dtype=bool)
    chosen = np.full(records.height, -1, dtype=np.int64)
    for turn in range(wanted):  # over violators, a few dozen: not over rows of data
        index, where = order[turn % len(order)]
        least = max(variants[index].at_once, variants[index].at_least)
        fits = free & (platform == where) & (n_video >= least) & (~in_room if variants[index].is_at_home else True)
        candidates = np.flatnonzero(fits & alone if variants[index].is_alone else fits)
        if candidates.size:
            pick = int(rng.choice(candidates))
            chosen[pick] = index
            free[person == person[pick]] = False
    is_honest = chosen < 0
    luck = rng.random(records.height)
    n_lessons = records["n_lessons"].to_numpy()
    prior = np.floor(rng.uniform(0.1, 0.6, records.height) * n_lessons).astype(np.int64)
    doses = rng.uniform(0.15, 1.0, records.height)
    return records.with_columns(
        variant=pl.Series(chosen).replace(-1, None),
        dose=pl.Series(doses),
        prior=pl.Series(np.where(is_honest & (luck < BEGUN_BEFORE), np.maximum(prior, 1), 0)),
        is_given_up=pl.Series(is_honest & (luck > 1 - GIVEN_UP)),
    )


def make_tasks(
    seed: int, records: pl.DataFrame, lessons: pl.DataFrame, people: pl.DataFrame, variants: Sequence[Variant]
) -> pl.DataFrame:
    """One row per lesson that is learned within the delivered days, in the order in which its person learns.

    Adds ``task``, ``block`` (tasks done in one go share it), ``has_media``, ``resume_s`` (where a lesson begun
    before is taken up), ``rate``, ``complete_at`` and ``mode`` (the variant's index; null: learned honestly).
    """
    rng = stream(seed, "tasks")
    habits = people.select("person", "preferred_rate", "miss_share", "touch_every_s", "is_elderly")
    complete_at = {p.platform_id: p.complete_at for p in PLATFORMS}
    tasks = (
        records.select("record", "record_id", "account", "person", "platform_id", "course_id", "variant", "dose",
                       "prior", "is_given_up", "n_lessons", "is_second")
        .join(lessons, on=["platform_id", "course_id"], how="inner", maintain_order="left_right")
        .filter(pl.col("seq") > pl.col("prior"))
        .filter(~pl.col("is_given_up") | (pl.col("seq") <= (pl.col("n_lessons") + 1) // 2))
        .join(habits, on="person", how="left", maintain_order="left")
        .with_row_index("task")
        .with_columns(pl.col("task").cast(pl.Int64))
    )  # fmt: skip
    resume = pl.Series(rng.uniform(0.1, 0.6, tasks.height))
    draw = pl.Series(rng.random(tasks.height))
    has_media = ~pl.col("kind").is_in(["reading", "exercise"])
    first_of_begun = (pl.col("prior") > 0) & (pl.col("seq") == pl.col("prior") + 1)
    tasks = tasks.with_columns(
        has_media=has_media,
        draw=draw,
        resume_s=pl.when(first_of_begun & has_media).then((pl.col("duration_s") * resume).floor()).otherwise(0.0),
        rate=pl.when(has_media).then(pl.min_horizontal("preferred_rate", "max_rate")).otherwise(1.0),
        complete_at=pl.col("platform_id").replace_strict(complete_at, return_dtype=pl.Float64),
    )
    return _dose(tasks, variants)


def _dose(tasks: pl.DataFrame, variants: Sequence[Variant]) -> pl.DataFrame:
    """Chooses the lessons to which the record's behaviour is applied, and the blocks they form."""
    traits = pl.DataFrame(
        {
            "variant": list(range(len(variants))),
            "choice": [v.choice for v in variants],
            "at_once": [v.at_once for v in variants],
            "at_least": [max(v.at_once, v.at_least) for v in variants],
        },
        schema={"variant": pl.Int64, "choice": pl.String, "at_once": pl.Int64, "at_least": pl.Int64},
    )
    video = (pl.col("kind") == "video") & ~pl.col("is_audio") & pl.col("variant").is_not_null()
    choice = pl.col("choice")
    tasks = tasks.join(traits, on="variant", how="left", maintain_order="left").with_columns(video=video)
    # Rank of a lesson among the candidates: by chance, or in order so that the chosen ones follow one another.
    key = pl.when(choice == "any").then("draw").otherwise(pl.col("seq").cast(pl.Float64))
    tasks = tasks.with_columns(key=key).with_columns(
        rank=pl.when("video").then("key").rank("ordinal").over("record").cast(pl.Int64) - 1,
        n_video=pl.col("video").sum().over("record").cast(pl.Int64),
        first=(pl.col("draw").first().over("record")),
    )
    size = pl.max_horizontal((pl.col("dose") * pl.col("n_lessons")).ceil().cast(pl.Int64), "at_least")
    size = pl.when(choice == "all").then("n_video").otherwise(pl.min_horizontal(size, "n_video"))
    # Lessons that make no full group are learned honestly.
    tasks = tasks.with_columns(size=size // pl.col("at_once") * pl.col("at_once"))
    offset = (
        pl.when(choice == "any").then(0).otherwise((pl.col("first") * (pl.col("n_video") - pl.col("size") + 1)).floor())
    )
    place = pl.col("rank") - offset.cast(pl.Int64)
    is_chosen = pl.col("video") & (choice != "none") & place.is_between(0, pl.col("size") - 1)
    tasks = tasks.with_columns(mode=pl.when(is_chosen).then("variant"), place=pl.when(is_chosen).then(place))
    in_one_go = choice.is_in(["run", "all"])
    group = pl.when(in_one_go).then(0).otherwise(pl.col("place") // pl.col("at_once"))
    tasks = tasks.with_columns(group=pl.when(pl.col("mode").is_not_null()).then(group))
    block = pl.when(pl.col("mode").is_null()).then("task").otherwise(pl.col("task").min().over("record", "group"))
    return tasks.with_columns(block=block).drop(
        "draw", "key", "rank", "first", "size", "video", "choice", "at_once", "at_least", "n_video"
    )
