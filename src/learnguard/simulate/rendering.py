"""From study to log rows: beats, presence checks, touches, sessions. Times are milliseconds since 1970 UTC."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from learnguard.simulate.platforms import Platform
from learnguard.simulate.randomness import Ints, positions_within

#: Columns that every rendered event carries besides its verb.
_WHERE: Final = ("block", "task", "device", "page", "ip", "is_hidden")
_ROW: Final = {
    "at_ms": pl.Int64, "verb": pl.String, "position_s": pl.Float64, "to_position_s": pl.Float64, "rate": pl.Float64,
    "result": pl.String, "value": pl.Float64,
}  # fmt: skip
#: A presence check that is not answered within a minute has timed out.
ANSWER_S: Final = 60.0
#: No honest learner misses more than this share of a record's checks (one is always possible).
MISSED_AT_MOST: Final = 0.15


def _rows(frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with the columns of an event, those not given being null."""
    missing = [pl.lit(None, dtype=t).alias(n) for n, t in _ROW.items() if n not in frame.columns]
    return frame.with_columns(missing).select(
        *(pl.col(n).cast(pl.Boolean if n == "is_hidden" else pl.Int64) for n in _WHERE),
        *(pl.col(n).cast(t) for n, t in _ROW.items()),
    )


def _position(at_ms: pl.Expr) -> pl.Expr:
    return pl.col("media_from_s") + (at_ms - pl.col("from_ms")) / 1000 * pl.col("rate")


def _repeat(frame: pl.DataFrame, counts: Ints) -> pl.DataFrame:
    """``frame`` with row i ``counts[i]`` times, and ``number`` 0, 1, … within each."""
    row = np.repeat(np.arange(frame.height), counts)
    return frame[row].with_columns(number=pl.Series(positions_within(counts)))


def _edges(stretches: pl.DataFrame) -> list[pl.DataFrame]:
    begins = stretches.filter(pl.col("begin").is_not_null()).with_columns(
        at_ms="from_ms",
        verb="begin",
        position_s=pl.coalesce("seek_from_s", "media_from_s"),
        to_position_s=pl.when(pl.col("begin") == "seek").then("media_from_s"),
        rate=pl.when(pl.col("begin") == "play").then("logged_rate"),
    )
    ends = stretches.filter(pl.col("end").is_not_null()).with_columns(
        at_ms="to_ms", verb="end", position_s=_position(pl.col("to_ms")), rate=pl.lit(None, pl.Float64)
    )
    return [_rows(begins), _rows(ends)]


def _beats(stretches: pl.DataFrame, cadence_s: int) -> pl.DataFrame:
    """The player's timer runs on while its page is open, and reports whenever the media is playing."""
    cadence = cadence_s * 1000
    phase = (pl.col("task") * 7919 + pl.col("page") * 104_729 + pl.col("device") * 31) % cadence
    first = ((pl.col("from_ms") - phase) // cadence + 1) * cadence + phase
    ticking = stretches.with_columns(first_ms=first)
    counts = ticking.select(pl.max_horizontal((pl.col("to_ms") - 1 - pl.col("first_ms")) // cadence + 1, 0)).to_series()
    beats = _repeat(ticking, counts.to_numpy()).with_columns(at_ms=pl.col("first_ms") + pl.col("number") * cadence)
    return _rows(
        beats.with_columns(verb=pl.lit("heartbeat"), position_s=_position(pl.col("at_ms")), rate="logged_rate")
    )


def _checks(stretches: pl.DataFrame, every_s: int, rng: np.random.Generator) -> list[pl.DataFrame]:
    """Presence checks at irregular moments and their answers: passed, or timed out after a minute."""
    every = every_s * 1000
    asked = stretches.filter("has_prompts")
    first, last = asked["from_ms"] // every, asked["to_ms"] // every
    grid = _repeat(asked.with_columns(first=first), (last - first + 1).to_numpy())
    jitter = pl.Series(rng.integers(0, every * 4 // 5, grid.height))
    grid = grid.with_columns(at_ms=(pl.col("first") + pl.col("number")) * every + jitter).filter(
        pl.col("at_ms") > pl.col("from_ms") + 15_000, pl.col("at_ms") < pl.col("to_ms") - 3_000
    )
    misses = pl.Series(rng.random(grid.height)) < pl.when("is_present").then("miss_share").otherwise(0.985)
    median = np.where(grid["is_elderly"].to_numpy(), 17.0, 6.0)
    reaction = np.clip(np.exp(rng.normal(np.log(median), 0.6)), 1.2, ANSWER_S - 3)
    grid = grid.sort("at_ms", maintain_order=True).with_columns(
        misses=misses, reaction=pl.Series(np.round(reaction, 1))
    )
    present = pl.col("is_present")
    allowed = pl.max_horizontal((MISSED_AT_MOST * present.sum().over("record")).floor(), 1)
    nth_miss = (present & pl.col("misses")).cast(pl.Int64).cum_sum().over("record")
    misses = pl.col("misses") & (~present | (nth_miss <= allowed))
    grid = grid.with_columns(misses=misses).with_columns(position_s=_position(pl.col("at_ms")))
    shown = grid.with_columns(verb=pl.lit("prompt"), rate=pl.lit(None, pl.Float64))
    answer_ms = pl.col("at_ms") + (pl.when("misses").then(ANSWER_S).otherwise("reaction") * 1000).cast(pl.Int64)
    answered = shown.with_columns(
        verb=pl.lit("prompt_answer"),
        at_ms=answer_ms,
        # Once the stretch is over nobody knows where the media stands.
        position_s=pl.when(answer_ms <= pl.col("to_ms")).then(_position(answer_ms)),
        result=pl.when("misses").then(pl.lit("timeout")).otherwise(pl.lit("pass")),
        value=pl.when(~pl.col("misses")).then("reaction"),
    )
    return [_rows(shown), _rows(answered)]


def _touches(stretches: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Mouse and key use: now and then while watching, often while reading."""
    there = stretches.filter(
        pl.col("is_present") & ~pl.col("is_hidden") & (pl.col("touch_every_s").is_not_null() | ~pl.col("has_media"))
    )
    every = pl.when("has_media").then("touch_every_s").otherwise(40.0)
    mean = there.select((pl.col("to_ms") - pl.col("from_ms")) / 1000 / every).to_series()
    rows = _repeat(there, rng.poisson(mean.to_numpy()).astype(np.int64))
    share = pl.Series(rng.random(rows.height))
    at = pl.col("from_ms") + ((pl.col("to_ms") - pl.col("from_ms")) * share).cast(pl.Int64)
    rows = rows.with_columns(at_ms=at)
    return _rows(
        rows.with_columns(
            verb=pl.lit("interaction"), position_s=_position(pl.col("at_ms")), rate=pl.lit(None, pl.Float64)
        )
    )


def render_events(
    platform: Platform, stretches: pl.DataFrame, marks: pl.DataFrame, rng: np.random.Generator
) -> pl.DataFrame:
    """The events of ``platform``: block, task, device, page, ip, is_hidden, at_ms, verb, position_s, …

    ``stretches`` bear ``from_ms``/``to_ms``, ``record``, ``has_media`` and their person's habits; ``marks`` bear
    ``at_ms``.
    """
    if platform.cadence_s is None:
        raise ValueError(f"{platform.platform_id} logs no events")
    parts = [*_edges(stretches), _beats(stretches, platform.cadence_s), _rows(marks)]
    if platform.prompt_every_s:
        parts += _checks(stretches, platform.prompt_every_s, rng)
    if platform.has_interactions:
        parts.append(_touches(stretches, rng))
    events = pl.concat(parts)
    if platform.has_pages:
        opened = events.group_by("task", "page", "device", maintain_order=True).agg(
            pl.col("block", "ip").first(), at_ms=pl.col("at_ms").min() - 900
        )
        events = pl.concat(
            [events, _rows(opened.with_columns(verb=pl.lit("page_open"), is_hidden=pl.lit(value=False)))]
        )
    if not platform.has_visibility:
        events = events.filter(~pl.col("verb").is_in(["hidden", "visible"])).with_columns(
            is_hidden=pl.lit(None, pl.Boolean)
        )
    return events


def render_sessions(stretches: pl.DataFrame) -> pl.DataFrame:
    """One row per study of a lesson: block, task, device, page, ip, from_ms, to_ms, learned_s, from and to position.

    ``learned_s`` is what the platform counts: media seconds where media plays, else time on the page.
    """
    media = pl.col("wall_s") * pl.col("rate")
    return (
        stretches.sort("block", "task", "page", "device", "from_ms")
        .group_by("block", "task", "page", "device", maintain_order=True)
        .agg(
            pl.col("ip").first(),
            pl.col("from_ms").min(),
            pl.col("to_ms").max(),
            learned_s=media.sum().round(),
            from_position_s=pl.col("media_from_s").first().round(),
            to_position_s=(pl.col("media_from_s") + media).last().round(),
        )
    )
