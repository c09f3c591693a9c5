"""How honest people learn: pauses, seeks back, other tabs, other devices, and everything that looks odd and is not.

The interruptions of a lesson cut it into stretches; what lies before and after a cut depends on its kind.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from learnguard.simulate import study
from learnguard.simulate.platforms import PLATFORMS
from learnguard.simulate.randomness import Floats, positions_within
from learnguard.simulate.study import Study

#: Mean distance of interruptions, and the least distance between two, in seconds of study.
EVERY_S, APART_S = 700.0, 150.0
#: The longest honest absence from the page while it plays on, and the longest overlap of a hand-over.
SWITCH_AWAY_S, HAND_OVER_S = 55.0, 50.0
REWATCHED, LINGERING = 0.04, 0.04


def learn_honestly(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """``tasks`` (one block each) learned as honest people do."""
    played = tasks.filter("has_media")
    return study.together(
        (
            _play(played, rng),
            _read(tasks.filter(~pl.col("has_media")), rng),
            _rewatch(played, rng),
            _linger(played, rng),
        )
    )


def _interruptions(tasks: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """One row per interruption: task, ``cut_s`` (media position), ``kind``; far enough apart to be told apart."""
    run_s = (tasks["end_s"] - tasks["resume_s"]).to_numpy()
    wall_s = run_s / tasks["rate"].to_numpy()
    counts = rng.poisson(wall_s / EVERY_S).astype(np.int64)
    row = np.repeat(np.arange(tasks.height), counts)
    cut = tasks["resume_s"].to_numpy()[row] + rng.uniform(0.02, 0.98, row.size) * run_s[row]
    kind = np.full(row.size, "pause", dtype="U12")
    platform = tasks["platform_id"].to_numpy()[row]
    for p in PLATFORMS:
        mine = platform == p.platform_id
        kind[mine] = rng.choice(list(p.interruptions), p=list(p.interruptions.values()), size=int(mine.sum()))
    cuts = tasks.select("task", "rate", "resume_s", "end_s", "listens_hidden")[row].with_columns(
        cut_s=pl.Series(cut), kind=pl.Series(kind)
    )
    apart = pl.col("rate") * APART_S
    return (
        cuts.filter(~pl.col("listens_hidden"))
        .sort("task", "cut_s")
        .filter(
            (pl.col("cut_s") - pl.col("cut_s").shift(1).over("task")).fill_null(1e9) > apart,
            pl.col("cut_s") - pl.col("resume_s") > apart,
            pl.col("end_s") - pl.col("cut_s") > apart,
        )
        .select("task", "cut_s", "kind")
    )


def _rows(tasks: pl.DataFrame, cuts: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The stretches of each task in order: task, ``kind`` (what precedes it), ``at_s`` (media) and ``back_s``."""
    back = np.where(cuts["kind"].to_numpy() == "seek_back", rng.uniform(10, 120, cuts.height), 0.0)
    # A page that is loaded again takes up where the server last heard of it.
    back = np.where(cuts["kind"].to_numpy() == "reload", rng.uniform(30, 40, cuts.height), back)
    cuts = cuts.with_columns(back_s=pl.Series(back))
    away = cuts.filter(pl.col("kind") == "switch_away").join(
        tasks.select("task", "rate"), on="task", maintain_order="left"
    )
    away_s = pl.Series(rng.uniform(4, SWITCH_AWAY_S, away.height))
    parts = [
        tasks.select("task", cut_s=pl.col("resume_s"), kind=pl.lit("start"), back_s=pl.lit(0.0)),
        tasks.filter("listens_hidden").select(
            "task", cut_s=pl.col("resume_s") + 10, kind=pl.lit("listen"), back_s=pl.lit(0.0)
        ),
        cuts.select("task", "cut_s", "kind", "back_s"),
        away.select("task", cut_s=pl.col("cut_s") + away_s * pl.col("rate"), kind=pl.lit("back"), back_s=pl.lit(0.0)),
    ]
    return pl.concat(parts).sort("task", "cut_s")


def _gaps(kind: pl.Series, rng: np.random.Generator) -> Floats:
    """Seconds nobody plays before a stretch that begins with ``kind``."""
    n = len(kind)
    kinds = kind.to_numpy()
    gap = np.where(kinds == "pause", np.clip(rng.lognormal(4.6, 1.1, n), 3, 1500), 0.0)
    gap = np.where(kinds == "auto_pause", np.clip(rng.lognormal(4.2, 1.0, n), 2, 1500), gap)
    return np.where(kinds == "reload", rng.uniform(3, 20, n), gap)


def _play(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    # Two in five leave before the credits, but not before the platform counts the lesson.
    early = rng.uniform(tasks["complete_at"].to_numpy(), 0.975)
    share = np.where(rng.random(tasks.height) < 0.4, early, 1.0)
    hidden = pl.Series(rng.random(tasks.height) < 0.6)
    sees = [p.platform_id for p in PLATFORMS if p.has_visibility]
    tasks = tasks.with_columns(
        end_s=pl.col("duration_s") * pl.Series(share),
        listens_hidden=pl.col("is_audio") & hidden & pl.col("platform_id").is_in(sees),
    )
    rows = _rows(tasks, _interruptions(tasks, rng), rng)
    kind, following = pl.col("kind"), pl.col("kind").shift(-1).over("task")
    rows = rows.join(
        tasks.select("task", "block", "end_s", "rate", "is_audio"), on="task", maintain_order="left"
    ).with_columns(
        gap_s=pl.Series(_gaps(rows["kind"], rng)), drain_s=pl.Series(rng.uniform(2, HAND_OVER_S, rows.height))
    )
    rows = rows.with_columns(
        media_from_s=pl.max_horizontal(pl.col("cut_s") - pl.col("back_s"), 0.0),
        until_s=pl.col("cut_s").shift(-1).over("task").fill_null(pl.col("end_s")),
    ).with_columns(base_s=(pl.col("until_s") - pl.col("media_from_s")) / pl.col("rate"))
    spent = pl.col("base_s") + pl.col("gap_s")
    rows = rows.with_columns(
        start_s=spent.cum_sum().over("task") - pl.col("base_s"),
        # The old device plays on for some seconds while the new one already runs.
        wall_s=pl.col("base_s") + pl.when(following == "hand_over").then("drain_s").otherwise(0.0),
        device=(kind == "hand_over").cum_sum().over("task").cast(pl.Int64) % 2,
        page=kind.is_in(["hand_over", "reload"]).cum_sum().over("task").cast(pl.Int64),
        ip=(kind == "network").cum_sum().over("task").cast(pl.Int64) % 2,
        is_hidden=kind.is_in(["switch_away", "listen"]),
        seek_from_s=pl.when(kind == "seek_back").then("cut_s"),
        has_prompts=~pl.col("is_audio") & ~kind.is_in(["switch_away", "listen"]),
        begin=kind.replace_strict(
            {"seek_back": "seek", "switch_away": "hidden", "listen": "hidden", "back": "visible", "network": None},
            default="play",
            return_dtype=pl.String,
        ),
        end=pl.when(following.is_null() | following.is_in(["pause", "auto_pause", "hand_over"])).then(pl.lit("pause")),
    )
    done = rows.group_by("task", maintain_order=True).agg(
        pl.col("block", "device", "page", "ip", "is_hidden", "end_s").last(),
        at_s=(pl.col("start_s") + pl.col("wall_s")).last() + 0.4,
        has_media=pl.lit(value=True),
    )
    where = {n: pl.col(n) for n in ("device", "page", "ip", "is_hidden")}
    marks = [study.completions(done, pl.col("at_s"), pl.col("end_s"), **where), _auto_pauses(rows)]
    return Study(study.stretches(rows), pl.concat(marks))


def _auto_pauses(rows: pl.DataFrame) -> pl.DataFrame:
    """A page that pauses itself says so: hidden before the pause, visible before it plays again."""
    following = pl.col("kind").shift(-1).over("task")
    at = pl.col("start_s") + pl.col("wall_s")
    where = ["block", "task", "device", "page", "ip"]
    hides = rows.filter(following == "auto_pause").select(
        *where, at_s=at - 0.05, verb=pl.lit("hidden"), position_s="until_s", is_hidden=pl.lit(value=True)
    )
    shows = rows.filter(pl.col("kind") == "auto_pause").select(
        *where, at_s=pl.col("start_s") - 0.05, verb=pl.lit("visible"), position_s="media_from_s"
    )
    return pl.concat([study.marks(hides), study.marks(shows)])


def _read(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """Texts and exercises: time on the page, from a fast reader's third to a slow one's one and a quarter."""
    wall = tasks["duration_s"].to_numpy() * rng.uniform(0.35, 1.25, tasks.height)
    tasks = tasks.with_columns(wall_s=pl.Series(wall), start_s=pl.lit(0.0), media_from_s=pl.lit(None, pl.Float64))
    rows = study.stretches(tasks.with_columns(rate=pl.lit(1.0), has_prompts=pl.lit(value=False)))
    return Study(rows, study.completions(tasks, pl.col("wall_s"), pl.lit(None)))


def _rewatch(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """Some lessons are looked at again, in part, after they were done (a block of its own)."""
    chosen = tasks.filter(pl.Series(rng.random(tasks.height) < REWATCHED))
    start = chosen["duration_s"].to_numpy() * rng.uniform(0.0, 0.5, chosen.height)
    wall = (chosen["duration_s"].to_numpy() - start) * rng.uniform(0.3, 0.95, chosen.height)
    rows = chosen.with_columns(
        block=-1 - pl.col("task"),
        start_s=pl.lit(0.0),
        wall_s=pl.Series(wall) / pl.col("rate"),
        media_from_s=pl.Series(start),
        page=pl.lit(50),
        begin=pl.lit("play"),
        end=pl.lit("pause"),
        has_prompts=~pl.col("is_audio"),
    )
    return Study(study.stretches(rows))


def _linger(tasks: pl.DataFrame, rng: np.random.Generator) -> Study:
    """A login forgotten on another device: its page stands still and goes on sending its beat."""
    cadences = {p.platform_id: p.cadence_s for p in PLATFORMS if p.has_pages and p.cadence_s}
    chosen = tasks.filter(pl.Series(rng.random(tasks.height) < LINGERING) & pl.col("platform_id").is_in(list(cadences)))
    beat = chosen["platform_id"].replace_strict(cadences, return_dtype=pl.Float64).to_numpy()
    cadence = beat * rng.choice([1, 10], size=chosen.height)
    counts = np.minimum(chosen["duration_s"].to_numpy() / cadence, 60).astype(np.int64)
    stands = chosen["duration_s"].to_numpy() * rng.uniform(0.0, 0.9, chosen.height)
    row = np.repeat(np.arange(chosen.height), counts)
    rows = chosen[row].with_columns(
        at_s=pl.Series(20.0 + positions_within(counts) * cadence[row]),
        verb=pl.lit("heartbeat"),
        position_s=pl.Series(stands[row]),
        device=pl.lit(2),
        page=pl.lit(60),
    )
    return Study(marks=study.marks(rows))
