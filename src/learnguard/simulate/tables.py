"""The delivered tables of a world: logs, rosters, records, registry, each with the contract's columns."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from learnguard.simulate.platforms import Platform
from learnguard.simulate.randomness import stream
from learnguard.simulate.schedule import ROOM_HOUR, ROOM_HOURS, TIMEZONE, Calendar

CNY_PER_HOUR: Final = 20
CLASS_HOUR_S: Final = 2700


def as_time(column: str) -> pl.Expr:
    """Milliseconds since 1970 UTC as a time with microseconds."""
    return pl.from_epoch(pl.col(column), "ms").dt.replace_time_zone("UTC").dt.cast_time_unit("us")


def local_day(column: str, calendar: Calendar) -> pl.Expr:
    """Index of the local day of a time in milliseconds (0: the calendar's first)."""
    return (pl.col(column) - calendar.midnight_ms) // 86_400_000


def event_rows(platform: Platform, events: pl.DataFrame) -> pl.DataFrame:
    """Events as the platform delivers them; what it does not log is no column at all."""
    columns: dict[str, pl.Expr] = {
        "platform_id": pl.lit(platform.platform_id),
        "ts": as_time("ts_ms"),
        "received_at": as_time("received_ms"),
        "account_id": pl.col("account_id"),
        "verb": pl.col("verb"),
        "session_id": pl.col("session_id"),
        "device_id": pl.col("device_id"),
        "ip": pl.col("ip"),
        "user_agent": pl.col("user_agent"),
        "terminal": pl.col("terminal"),
        "course_id": pl.col("course_id"),
        "lesson_id": pl.col("lesson_id"),
        "position_s": pl.col("position_s").round(1),
        "to_position_s": pl.col("to_position_s").round(1),
        "rate": pl.col("rate"),
        "result": pl.col("result"),
        "value": pl.col("value"),
    }
    if platform.has_event_ids:
        name = pl.format("{}-e{}", pl.lit(platform.account_prefix), pl.col("number").cast(pl.String).str.zfill(9))
        columns["event_id"] = name
    if platform.has_client_clock:
        columns["client_ts"] = as_time("client_ms")
    if platform.has_pages:
        columns["page_id"] = pl.col("page_id")
    if platform.has_visibility:
        columns["visible"] = ~pl.col("is_hidden")
    return events.select(**columns)


def session_rows(platform: Platform, sessions: pl.DataFrame) -> pl.DataFrame:
    """Sessions as the platform delivers them: no pages, no visibility."""
    name = pl.format("{}-s{}-{}-{}", pl.lit(platform.account_prefix), "task", "page", "slot")
    return sessions.select(
        platform_id=pl.lit(platform.platform_id),
        session_id=name,
        account_id="account_id",
        started_at=as_time("from_ms"),
        ended_at=as_time("to_ms"),
        device_id="device_id",
        ip="ip",
        user_agent="user_agent",
        terminal="terminal",
        course_id="course_id",
        lesson_id="lesson_id",
        learned_s="learned_s",
        from_position_s="from_position_s",
        to_position_s="to_position_s",
    )


def roster_rows(platform: Platform, accounts: pl.DataFrame, people: pl.DataFrame) -> pl.DataFrame:
    """One row per account of ``platform``."""
    return (
        accounts.filter(pl.col("platform_id") == platform.platform_id)
        .join(people.select("person", "id_number", "name", "phone"), on="person", how="left", maintain_order="left")
        .select("platform_id", "account_id", "id_number", "name", "phone", "institution_id", "class_id")
    )


def group_rows(platform: Platform, accounts: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """The groups of ``platform`` that were declared beforehand: one row per class and day."""
    declared = accounts.filter((pl.col("platform_id") == platform.platform_id) & pl.col("is_declared"))
    classes = declared.group_by("platform_id", "class_id", "ip_0", maintain_order=True).agg(pl.len())
    days = pl.DataFrame({"day": list(range(calendar.days))}, schema={"day": pl.Int64})
    begin = calendar.midnight_ms + pl.col("day") * 86_400_000 + int((ROOM_HOUR - 0.25) * 3_600_000)
    return classes.join(days, how="cross").with_columns(begin_ms=begin).with_columns(
        end_ms=pl.col("begin_ms") + int((ROOM_HOURS + 0.5) * 3_600_000)
    ).select(
        "platform_id", "class_id", started_at=as_time("begin_ms"), ended_at=as_time("end_ms"), ip="ip_0",
        facilitator_id=pl.format("facilitator-{}", "class_id"), place=pl.lit("示例培训教室（虚构）"),
    )  # fmt: skip


def record_rows(seed: int, records: pl.DataFrame, done: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """The claims, all made on the last day: the course's media length in class hours of 45 minutes.

    ``done`` has record, ``first_ms`` and ``completed_ms`` of what was logged. Records given up are not claimed.
    """
    rng = stream(seed, "claims")
    earlier = pl.Series(rng.integers(3, 21, records.height) * 86_400_000)
    evening = pl.Series(rng.integers(0, 2 * 3_600_000, records.height)) + calendar.at_ms(calendar.days - 1, 21.5)
    hours = (pl.col("course_s") * 100 // CLASS_HOUR_S) / 100
    return (
        records.with_columns(earlier=earlier, evening=evening)
        .filter(~pl.col("is_given_up"))
        .join(done, on="record", how="inner", maintain_order="left")
        .with_columns(
            first_ms=pl.when(pl.col("prior") > 0).then(calendar.midnight_ms - pl.col("earlier")).otherwise("first_ms"),
            claimed_ms=pl.max_horizontal("evening", pl.col("completed_ms") + 120_000),
            hours=hours,
        )
        .select(
            "platform_id", "record_id", "account_id", "course_id", "institution_id", "class_id", "occupation",
            "skill_level",
            claimed_hours="hours", required_hours=pl.col("hours").floor(),
            started_at=as_time("first_ms"), completed_at=as_time("completed_ms"), claimed_at=as_time("claimed_ms"),
            subsidy_type=pl.lit("skill_training"),
            subsidy_cny=pl.format("{}", (pl.col("hours") * CNY_PER_HOUR).cast(pl.Decimal(14, 2))),
        )
    )  # fmt: skip


def registry_rows(seed: int, people: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """One row per registered person: id_number, registered_at, category, region.

    ``people`` bears ``is_missing``, ``completed_ms`` (its first completion; null: none) and ``is_registered_late``.
    Nearly all were registered long before; a few during their training, some on the very day of completion.
    """
    rng = stream(seed, "registry")
    n = people.height
    years = pl.Series((rng.uniform(30, 2000, n) * 86_400_000).astype(np.int64))
    during = pl.Series(rng.random(n) < 0.03)
    noon = (local_day("completed_ms", calendar) * 24 + 16) * 3_600_000 + calendar.midnight_ms
    written = pl.Series(rng.random(n) < 0.5)
    registered = (
        pl.when("is_registered_late")
        .then(calendar.at_ms(calendar.days - 1, 10.0))
        .when(pl.Series(during) & pl.col("completed_ms").is_not_null())
        .then(noon)
        .otherwise(calendar.midnight_ms - years)
    )
    return (
        people.with_columns(registered_ms=registered, written=written)
        .filter(~pl.col("is_missing"))
        .select(
            # Offices write the check character as they please.
            id_number=pl.when("written").then(pl.col("id_number").str.to_lowercase()).otherwise("id_number"),
            registered_at=as_time("registered_ms"),
            category=pl.lit("urban_rural_worker"),
            region=pl.lit("示例市（虚构）"),
        )
    )


__all__ = [
    "CLASS_HOUR_S", "TIMEZONE", "as_time", "event_rows", "group_rows", "local_day", "record_rows", "registry_rows",
    "roster_rows", "session_rows",
]  # fmt: skip
