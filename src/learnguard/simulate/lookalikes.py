"""What looks odd in the log of a record and is not: the honest reasons, record by record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from learnguard.simulate.province import Province
from learnguard.simulate.schedule import DAY_S

#: A device clock that is off by more is a matter of data quality, never of the learner.
SKEWED_MS: Final = 300_000


def make_lookalikes(province: Province, logs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per record and honest look-alike: platform_id, account_id, record_id, ``lookalike``, is_injected.

    ``is_injected`` says that the record was given a behaviour as well: for the rest, any finding is wrong.
    """
    records, calendar, learned = province.records, province.calendar, province.learned
    honest = province.tasks.filter(pl.col("mode").is_null()).select("task", "record", "is_audio")
    stretches = learned.stretches.join(honest, on="task", how="inner")
    placed = province.blocks.join(honest, on="task", how="inner")
    end_ms = pl.col("at_ms") + (pl.col("wall_s") * 1000).cast(pl.Int64)
    crosses = (pl.col("at_ms") - calendar.midnight_ms) // (DAY_S * 1000) != (end_ms - calendar.midnight_ms) // (
        DAY_S * 1000
    )
    lived = records.join(
        province.people.select("person", "is_elderly", "habit", is_quiet=pl.col("touch_every_s").is_null()), on="person"
    ).with_columns(
        n_platforms=pl.col("platform_id").n_unique().over("person"), n_own=pl.len().over("person", "platform_id")
    )
    log = pl.concat([frame.select("record", "at_ms", "client_ms") for frame in logs.values() if "client_ms" in frame])
    found = {
        "slow_and_elderly": lived.filter("is_elderly"),
        "quiet": lived.filter("is_quiet"),
        "night_worker": lived.filter(pl.col("habit") == "night"),
        "training_room": lived.filter(pl.col("room").is_not_null()),
        "declared_group": lived.filter(pl.col("is_declared")),
        "shared_household": lived.filter(pl.col("household").is_not_null()),
        "two_platforms": lived.filter(pl.col("n_platforms") > 1),
        "two_courses": lived.filter(pl.col("n_own") > 1),
        "begun_before": lived.filter(pl.col("prior") > 0),
        "given_up": lived.filter("is_given_up"),
        "permitted_speed": stretches.filter((pl.col("rate") > 1) & pl.col("media_from_s").is_not_null()),
        "hand_over": stretches.filter(pl.col("device") == 1),
        "network_change": stretches.filter(pl.col("ip") == 1),
        "switched_away": stretches.filter(pl.col("is_hidden") & ~pl.col("is_audio")),
        "listened_hidden": stretches.filter(pl.col("is_hidden") & pl.col("is_audio")),
        "seek_back": stretches.filter(pl.col("begin") == "seek"),
        "rewatched": stretches.filter(pl.col("block") < 0),
        "lingering_login": learned.marks.filter(pl.col("device") == 2).join(honest, on="task", how="inner"),
        "midnight_crossed": placed.filter(crosses),
        "offline_upload": placed.filter(pl.col("upload_ms").is_not_null()),
        "clock_skewed": log.filter((pl.col("client_ms") - pl.col("at_ms")).abs() > SKEWED_MS),
    }
    tagged = pl.concat(
        [rows.select("record").unique().with_columns(lookalike=pl.lit(name)) for name, rows in found.items()]
    )
    return (
        tagged.join(records, on="record", how="inner")
        .select("platform_id", "account_id", "record_id", "lookalike", is_injected=pl.col("variant").is_not_null())
        .sort("platform_id", "record_id", "lookalike")
    )
