"""Who hands over what on which evening."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from learnguard.simulate import tables
from learnguard.simulate.behaviours import Variant, registration
from learnguard.simulate.platforms import PLATFORMS, Platform
from learnguard.simulate.province import Province
from learnguard.simulate.writing import Delivery, write_delivery

AUTHORITY: Final = "authority"


def _done(log: pl.DataFrame, platform: Platform) -> pl.DataFrame:
    """First log and completion of each record, as the platform's server knows them."""
    if platform.logs_events:
        completed = pl.col("ts_ms").filter(pl.col("verb") == "complete").max()
        return log.group_by("record").agg(first_ms=pl.col("ts_ms").min(), completed_ms=completed).sort("record")
    return (
        log.group_by("record").agg(first_ms=pl.col("from_ms").min(), completed_ms=pl.col("to_ms").max()).sort("record")
    )


def _registered(
    people: pl.DataFrame, records: pl.DataFrame, done: pl.DataFrame, variants: Sequence[Variant]
) -> pl.DataFrame:
    """``people`` with is_missing, is_registered_late and completed_ms (their first completion)."""
    name = {i: v.name for i, v in enumerate(variants) if v.behaviour == "unregistered_trainee"}
    state = (
        records.join(done, on="record", how="left", maintain_order="left")
        .with_columns(
            state=pl.col("variant").replace_strict(name, default=None, return_dtype=pl.String),
            completed_ms=pl.when(~pl.col("is_given_up")).then("completed_ms"),
        )
        .group_by("person", maintain_order=True)
        .agg(
            is_missing=(pl.col("state") == registration.MISSING).fill_null(value=False).any(),
            is_registered_late=(pl.col("state") == registration.AFTER_COMPLETION).fill_null(value=False).any(),
            completed_ms=pl.col("completed_ms").min(),
        )
    )
    return people.join(state, on="person", how="left", maintain_order="left")


def deliver(
    root: Path, seed: int, province: Province, logs: Mapping[str, pl.DataFrame], registry_format: str
) -> tuple[int, tuple[Delivery, ...]]:
    """Writes every delivery of ``province`` below ``root``; returns the number of claims, and the deliveries in order.

    ``logs`` holds the log of each platform by its id. A platform delivers the day's log on its evening, its lessons,
    roster and declared groups on the first (with every .zip), its claims on the last; the authority the people
    registered since its last delivery.
    """
    calendar, last = province.calendar, province.calendar.days - 1
    done = pl.concat([_done(logs[p.platform_id], p) for p in PLATFORMS])
    people = _registered(province.people, province.records, done, province.variants)
    registry = tables.registry_rows(seed, people, calendar)
    claims = tables.record_rows(seed, province.records, done, calendar)
    deliveries: list[Delivery] = []
    for index in range(calendar.days):
        day = calendar.day(index)
        begin, end = calendar.at_ms(index, 0), calendar.at_ms(index + 1, 0)
        seen_ms = pl.col("registered_at").dt.epoch("ms")
        fresh = registry.filter(seen_ms < end if index == 0 else (seen_ms >= begin) & (seen_ms < end))
        if fresh.height:
            made = {"registry": (fresh, registry_format)}
            deliveries.append(write_delivery(root, AUTHORITY, day, made, is_zipped=False))
        for p in PLATFORMS:
            files = _today(p, index, province, logs[p.platform_id], people)
            if index == last:
                files["records"] = (claims.filter(pl.col("platform_id") == p.platform_id), p.table_format)
            if files:
                deliveries.append(write_delivery(root, p.platform_id, day, files, is_zipped=p.is_zipped))
    return claims.height, tuple(deliveries)


def _today(
    platform: Platform, index: int, province: Province, log: pl.DataFrame, people: pl.DataFrame
) -> dict[str, tuple[pl.DataFrame, str]]:
    """What ``platform`` delivers on day ``index``, claims apart: table to frame and format."""
    calendar, table_format = province.calendar, platform.table_format
    arrives = tables.local_day("received_ms" if platform.logs_events else "to_ms", calendar)
    today = log.filter(arrives.clip(0, calendar.days - 1) == index)
    files: dict[str, tuple[pl.DataFrame, str]] = {}
    if today.height and platform.logs_events:
        files["events"] = (tables.event_rows(platform, today), platform.log_format)
    elif today.height:
        files["sessions"] = (tables.session_rows(platform, today), platform.log_format)
    if index == 0 or platform.is_zipped:
        lessons = province.lessons.filter(pl.col("platform_id") == platform.platform_id).drop("is_audio")
        files["lessons"] = (lessons, table_format)
        files["roster"] = (tables.roster_rows(platform, province.accounts, people), table_format)
    groups = tables.group_rows(platform, province.accounts, calendar)
    if index == 0 and groups.height:
        files["group_sessions"] = (groups, table_format)
    return files
