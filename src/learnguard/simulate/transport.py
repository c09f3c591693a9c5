"""What happens to rows between the learner's device and the delivery: loss, doubles, outages, clocks, late uploads."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from learnguard.simulate.platforms import Platform
from learnguard.simulate.randomness import stream
from learnguard.simulate.schedule import Calendar

LOST, DOUBLED, DISORDERED = 0.012, 0.002, 0.03
#: Share of the app's blocks learned offline and uploaded afterwards.
OFFLINE: Final = 0.12
#: A server that is down for less than two minutes gets its rows afterwards; for twelve, its beats are lost.
SHORT_OUTAGE_S, LONG_OUTAGE_S = 55, 720


def choose_offline(seed: int, blocks: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Adds ``upload_ms`` (null: online) and ``is_stamped_late`` (its rows bear the time of upload) to ``blocks``.

    Only honest single lessons of apps with a clock of their own (``may_be_offline``) are learned offline.
    """
    rng = stream(seed, "offline")
    offline = pl.Series(rng.random(blocks.height) < OFFLINE) & blocks["may_be_offline"]
    later = pl.Series((rng.uniform(0.3, 18, blocks.height) * 3_600_000).astype(np.int64))
    stamped = pl.Series(rng.random(blocks.height) < 0.5)
    end = pl.col("at_ms") + (pl.col("wall_s") * 1000).cast(pl.Int64) + 60_000
    latest = calendar.at_ms(calendar.days - 1, 23.9)
    return blocks.with_columns(
        upload_ms=pl.when(offline & (end < latest)).then(pl.min_horizontal(end + later, pl.lit(latest))),
        is_stamped_late=stamped,
    )


def _server_events(events: pl.DataFrame, calendar: Calendar, rng: np.random.Generator) -> pl.DataFrame:
    """Two outages of a platform: a short one, whose rows arrive in one go when it is over, and a long one."""
    latest = max(calendar.days - 1, 1)
    short_ms = calendar.at_ms(int(rng.integers(0, latest)), 20 + rng.random())
    long_ms = calendar.at_ms(int(rng.integers(0, latest)), 19 + rng.random())
    short_end, long_end = short_ms + SHORT_OUTAGE_S * 1000, long_ms + LONG_OUTAGE_S * 1000
    is_beat = pl.col("verb") == "heartbeat"
    # A page that is closed meanwhile hands its last position to the next one: its beats are sent again.
    lives_on = pl.col("at_ms").max().over("task", "page", "device") > long_end
    is_lost = is_beat & pl.col("at_ms").is_between(long_ms, long_end) & lives_on
    is_late = pl.col("at_ms").is_between(short_ms, short_end)
    flushed = short_end + 700 + (pl.col("at_ms") - short_ms) // 200
    return events.filter(~is_lost).with_columns(ts_ms=pl.when(is_late).then(flushed).otherwise("at_ms"))


def carry(
    seed: int, platform: Platform, events: pl.DataFrame, blocks: pl.DataFrame, calendar: Calendar
) -> pl.DataFrame:
    """``events`` as the server holds them: adds ``ts_ms``, ``received_ms``, ``client_ms`` (null: no client clock)
    and ``number`` (the platform's own row number), in the order of arrival, some rows lost, some doubled.
    """
    rng = stream(seed, f"transport/{platform.platform_id}")
    events = events.sort("at_ms", "task", "device", "page", "verb", maintain_order=True)
    lost = pl.Series(rng.random(events.height) < LOST) & (events["verb"] == "heartbeat")
    events = _server_events(events.filter(~lost), calendar, rng)
    latency = pl.Series(rng.integers(20, 900, events.height))
    events = events.with_columns(received_ms=pl.col("ts_ms") + latency)
    if platform.has_client_clock:
        events = _app_clock(events, blocks, rng)
    else:
        events = events.with_columns(client_ms=pl.lit(None, pl.Int64))
    events = events.sort("received_ms", maintain_order=True).with_columns(number=pl.int_range(pl.len()).cast(pl.Int64))
    doubled = events.filter(pl.Series(rng.random(events.height) < DOUBLED))
    events = pl.concat([events, doubled])
    is_shuffled = rng.random(events.height) < DISORDERED
    shuffle = pl.Series(np.where(is_shuffled, rng.normal(0, 8000, events.height), 0).astype(np.int64))
    return (
        events.with_columns(order=pl.col("received_ms") + shuffle)
        .sort("order", "number", maintain_order=True)
        .drop("order")
    )


def _app_clock(events: pl.DataFrame, blocks: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Device clocks that are wrong by seconds, minutes or a time zone, and lessons uploaded after the fact."""
    devices = events.select("account", "device").unique().sort("account", "device")
    n = devices.height
    off = np.select(
        [(u := rng.random(n)) < 0.7, u < 0.9, u < 0.98],
        [rng.normal(0, 12, n), rng.uniform(-280, 280, n), rng.uniform(-7200, 7200, n)],
        default=np.where(rng.random(n) < 0.5, 28_800.0, -3600.0),
    )
    devices = devices.with_columns(clock_ms=pl.Series((off * 1000).astype(np.int64)))
    events = events.join(devices, on=["account", "device"], how="left", maintain_order="left").join(
        blocks.select("block", "upload_ms", "is_stamped_late"), on="block", how="left", maintain_order="left"
    )
    is_offline = pl.col("upload_ms").is_not_null()
    nth = pl.int_range(pl.len()).over("block")
    arrival = pl.when(is_offline).then(pl.col("upload_ms") + nth * 3).otherwise("received_ms")
    return events.with_columns(
        received_ms=arrival,
        client_ms=pl.col("at_ms") + pl.col("clock_ms"),
        ts_ms=pl.when(is_offline & pl.col("is_stamped_late")).then(pl.col("upload_ms") + nth * 3).otherwise("ts_ms"),
    ).drop("clock_ms", "upload_ms", "is_stamped_late")
