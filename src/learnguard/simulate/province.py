"""A province before it is written: its people, what they learn and when, and the log each platform keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from learnguard.simulate import addresses, courses, enrolment, habits, rendering, schedule, study, transport
from learnguard.simulate.behaviours import Variant
from learnguard.simulate.platforms import PLATFORMS, Platform
from learnguard.simulate.population import make_accounts, make_people
from learnguard.simulate.randomness import stream
from learnguard.simulate.schedule import Calendar
from learnguard.simulate.study import Study


@dataclass(frozen=True, slots=True)
class Province:
    """Everything known about a world before it is written; the frames are those of the modules that make them."""

    calendar: Calendar
    people: pl.DataFrame
    accounts: pl.DataFrame
    lessons: pl.DataFrame
    records: pl.DataFrame
    tasks: pl.DataFrame
    blocks: pl.DataFrame
    learned: Study
    variants: Sequence[Variant]


def learn(seed: int, learners: int, calendar: Calendar, prevalence: float, variants: Sequence[Variant]) -> Province:
    """The province of ``learners`` people; one of ``variants`` is given to a share ``prevalence`` of records."""
    people = make_people(seed, learners)
    accounts = make_accounts(seed, people)
    made = [courses.make_courses(seed, p) for p in PLATFORMS]
    lessons = pl.concat([lesson for _, lesson in made])
    records = enrolment.make_records(seed, accounts, pl.concat([course for course, _ in made]))
    records = enrolment.assign(seed, records, variants, prevalence)
    tasks = enrolment.make_tasks(seed, records, lessons, people, variants)
    learned = _study(seed, tasks, variants)
    people = _bind(people, accounts, records, variants)
    blocks = schedule.block_lengths(learned).join(
        tasks.select("task", "person", "platform_id", "mode"), on="task", how="left", maintain_order="left"
    )
    blocks = blocks.join(people.select("person", "ends_early"), on="person", how="left", maintain_order="left")
    apps = [p.platform_id for p in PLATFORMS if p.has_client_clock]
    blocks = blocks.with_columns(
        # A lesson looked at again comes some lessons later.
        order=pl.col("task") + pl.when(pl.col("block") < 0).then(2.5).otherwise(0.0),
        # A late upload would carry the completion of one who must be done early into the last day.
        may_be_offline=pl.col("mode").is_null() & pl.col("platform_id").is_in(apps) & ~pl.col("ends_early"),
    )
    placed = schedule.place(seed, blocks, people, calendar)
    placed = placed.join(blocks.select("block", "may_be_offline"), on="block", how="left", maintain_order="left")
    placed = transport.choose_offline(seed, placed, calendar)
    return Province(calendar, people, accounts, lessons, records, tasks, placed, learned, variants)


def _study(seed: int, tasks: pl.DataFrame, variants: Sequence[Variant]) -> Study:
    parts = [habits.learn_honestly(tasks.filter(pl.col("mode").is_null()), stream(seed, "habits"))]
    for index, variant in enumerate(variants):
        mine = tasks.filter(pl.col("mode") == index)
        if variant.expand is not None and mine.height:
            parts.append(variant.expand(mine, stream(seed, f"behaviour/{variant.behaviour}/{variant.name}")))
    return study.together(parts)


def _bind(
    people: pl.DataFrame, accounts: pl.DataFrame, records: pl.DataFrame, variants: Sequence[Variant]
) -> pl.DataFrame:
    """``people`` with their training room, and with what their behaviour asks of their days."""
    traits = pl.DataFrame(
        {
            "variant": list(range(len(variants))),
            "ends_early": [v.ends_early for v in variants],
            "hour": [v.start_hour for v in variants],
        },
        schema={"variant": pl.Int64, "ends_early": pl.Boolean, "hour": pl.Float64},
    )
    asked = (
        records.filter(pl.col("variant").is_not_null())
        .join(traits, on="variant", how="left", maintain_order="left")
        .select("person", "ends_early", "hour")
    )
    rooms = accounts.filter(pl.col("room").is_not_null()).select("person", "room")
    return (
        people.join(rooms, on="person", how="left", maintain_order="left")
        .join(asked, on="person", how="left", maintain_order="left")
        .with_columns(
            ends_early=pl.col("ends_early").fill_null(value=False), start_hour=pl.coalesce("hour", "start_hour")
        )
        .drop("hour")
    )


def log_of(seed: int, platform: Platform, province: Province) -> pl.DataFrame:
    """The log of ``platform`` with inner columns: events (at_ms, ts_ms, received_ms) or sessions (from_ms, to_ms)."""
    mine = province.tasks.filter(pl.col("platform_id") == platform.platform_id).select(
        "task", "record", "account", "course_id", "lesson_id", "has_media", "miss_share", "touch_every_s", "is_elderly"
    )
    at = province.blocks.select("block", "at_ms", is_offline=pl.col("upload_ms").is_not_null())

    def bound(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.join(mine, on="task", how="inner", maintain_order="left").join(
            at, on="block", how="left", maintain_order="left"
        )

    def after(seconds: pl.Expr) -> pl.Expr:
        return pl.col("at_ms") + (seconds * 1000).round().cast(pl.Int64)

    stretches = bound(province.learned.stretches).with_columns(
        from_ms=after(pl.col("start_s")),
        to_ms=after(pl.col("start_s") + pl.col("wall_s")),
        has_prompts=pl.col("has_prompts") & ~pl.col("is_offline"),
    )
    refer = mine.select("task", "record", "account", "course_id", "lesson_id")
    if not platform.logs_events:
        rows = rendering.render_sessions(stretches).join(refer, on="task", how="left", maintain_order="left")
        return addresses.addressed(platform, rows, province.blocks, province.accounts).sort("to_ms", "task", "page")
    marks = bound(province.learned.marks).with_columns(at_ms=after(pl.col("at_s")))
    rng = stream(seed, f"rendering/{platform.platform_id}")
    events = rendering.render_events(platform, stretches, marks, rng).join(
        refer, on="task", how="left", maintain_order="left"
    )
    events = addresses.addressed(platform, events, province.blocks, province.accounts)
    return transport.carry(seed, platform, _with_logins(events), province.blocks, province.calendar)


def _with_logins(events: pl.DataFrame) -> pl.DataFrame:
    """Adds the login with which every session begins."""
    first = events.sort("at_ms", "task", maintain_order=True).group_by("session_id", maintain_order=True).first()
    nothing = [
        "course_id",
        "lesson_id",
        "page_id",
        "position_s",
        "to_position_s",
        "rate",
        "result",
        "value",
        "is_hidden",
    ]
    logins = first.with_columns(pl.lit(None).alias(n).cast(events.schema[n]) for n in nothing).with_columns(
        verb=pl.lit("login"), at_ms=pl.col("at_ms") - 4000
    )
    return pl.concat([events, logins.select(events.columns)])
