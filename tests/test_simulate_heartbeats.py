"""The day of heartbeats: the contract's columns, known truth, and claims for everybody; and who studies when."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from learnguard import schema
from learnguard.errors import LearnGuardError
from learnguard.simulate import HeartbeatDay, heartbeat_day
from learnguard.simulate.benchmark import LESSON_S
from learnguard.simulate.province import learn
from learnguard.simulate.schedule import Calendar

EVENTS = 400_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> HeartbeatDay:
    return heartbeat_day(tmp_path_factory.mktemp("hb") / "d", events=EVENTS)


@pytest.fixture(scope="module")
def events(made: HeartbeatDay) -> pl.DataFrame:
    return pl.read_parquet(made.out / "deliveries" / "*" / "*" / "events.parquet")


def _tables(made: HeartbeatDay, name: str) -> pl.DataFrame:
    return pl.concat(
        pl.read_csv(d.path / f"{name}.csv", schema_overrides={"id_number": pl.String})
        for d in made.deliveries
        if d.platform_id != "authority"
    )


def test_as_many_events_as_asked_for(made: HeartbeatDay, events: pl.DataFrame) -> None:
    assert EVENTS <= events.height <= EVENTS * 1.02
    assert made.events == events.height
    assert events["account_id"].n_unique() == made.learners
    assert {d.platform_id for d in made.deliveries} == {"authority", "muke", "zhangxue", "peixun"}
    assert sorted(p.name for p in made.out.iterdir()) == ["deliveries", "truth.parquet"]


def test_events_keep_the_contract(events: pl.DataFrame) -> None:
    table = schema.DELIVERED["events"]
    assert set(events.columns) <= set(table.names)
    assert all(events[c.name].null_count() == 0 for c in table.columns if c.required)
    assert set(events["verb"]) <= set(schema.VERBS)
    assert not events["event_id"].is_duplicated().any()
    days = events["ts"].dt.convert_time_zone("Asia/Shanghai").dt.date().unique()
    assert days.to_list() == [date(2026, 3, 2)]
    beats = events.filter(pl.col("verb") == "heartbeat").sort("page_id", "ts")
    gaps = beats.select((pl.col("ts") - pl.col("ts").shift(1).over("page_id")).dt.total_seconds())["ts"].drop_nulls()
    assert gaps.median() == 30


def test_positions_keep_pace_with_the_clock(events: pl.DataFrame) -> None:
    page = events.sort("page_id", "ts").with_columns(
        media=pl.col("position_s") - pl.coalesce("to_position_s", "position_s").shift(1).over("page_id"),
        wall=(pl.col("ts") - pl.col("ts").shift(1).over("page_id")).dt.total_milliseconds() / 1000,
    )
    assert page.filter((pl.col("media") - pl.col("wall")).abs() > 1).is_empty()


def test_everybody_claims_and_is_known(made: HeartbeatDay) -> None:
    claims, roster, lessons = (_tables(made, n) for n in ("records", "roster", "lessons"))
    assert claims.height == roster.height == made.learners
    for name, frame in (("records", claims), ("roster", roster), ("lessons", lessons)):
        assert set(frame.columns) <= set(schema.DELIVERED[name].names)
    assert set(claims["course_id"]) == set(lessons["course_id"])
    assert set(lessons["duration_s"]) == {LESSON_S}
    authority = next(d for d in made.deliveries if d.platform_id == "authority")
    registry = pl.read_csv(authority.path / "registry.csv", schema_overrides={"id_number": pl.String})
    missing = roster.filter(~pl.col("id_number").is_in(registry["id_number"].implode()))
    told = made.truth.filter(pl.col("behaviour") == "unregistered_trainee")
    assert set(missing["account_id"]) == set(told["account_id"])


def test_truth_stands_in_the_log(made: HeartbeatDay, events: pl.DataFrame) -> None:
    truth = made.truth
    assert truth.height == -(-made.learners // 60)
    assert set(truth["behaviour"]) <= set(schema.DETECTORS)
    strikes = truth.explode("strikes").unnest("strikes", separator=".").with_row_index("strike")
    inside = pl.col("ts").is_between(pl.col("strikes.started_at"), pl.col("strikes.ended_at"))
    rows = events.filter(pl.col("verb") == "heartbeat").join(strikes, on="account_id").filter(inside)
    per = rows.group_by("variant", "strike").agg(
        pl.col("device_id", "page_id").n_unique(), hidden=(~pl.col("visible")).mean(), n=pl.len()
    )
    pairs = per.filter(pl.col("variant") == "concurrent_sessions")
    assert pairs.height > 0
    assert pairs.filter(pl.col("device_id") != 2).is_empty()
    pages = per.filter(pl.col("variant") == "many_pages")
    assert pages.height > 0
    assert pages.filter(pl.col("page_id") != 4).is_empty()
    assert (
        per.filter(pl.col("variant") == "hidden")["hidden"].to_list()
        == [1.0] * per.filter(pl.col("variant") == "hidden").height
    )
    answers = events.filter(pl.col("verb") == "prompt_answer").join(strikes, on="account_id").filter(inside)
    idle = answers.filter(pl.col("variant") == "idle_playback", pl.col("lesson_id") == pl.col("strikes.lesson_id"))
    assert set(idle["result"]) == {"timeout"}
    skipped = strikes.filter(pl.col("variant") == "course_skipping")
    beats = events.join(skipped, left_on=["account_id", "lesson_id"], right_on=["account_id", "strikes.lesson_id"])
    assert beats.group_by("strike").len()["len"].max() == 5


def test_same_seed_same_day(tmp_path: Path) -> None:
    one, two = (heartbeat_day(tmp_path / n, events=20_000, threads=t) for n, t in (("1", 1), ("2", 2)))
    for a, b in zip(one.deliveries, two.deliveries, strict=True):
        for name in sorted(p.name for p in a.path.iterdir() if p.suffix == ".parquet"):
            first, second = (pl.read_parquet(d.path / name) for d in (a, b))
            assert first.equals(second)
    assert one.truth.equals(two.truth)


def test_too_many_events_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LearnGuardError, match="events must lie between"):
        heartbeat_day(tmp_path / "x", events=10**9)
    assert not (tmp_path / "x").exists()


def test_nobody_studies_twice_at_once() -> None:
    """Over all platforms together, a person's blocks of study follow one another, inside the delivered days."""
    from learnguard.simulate.behaviours import VARIANTS

    calendar = Calendar(date(2026, 3, 2), 5)
    province = learn(11, 800, calendar, 0.2, VARIANTS)
    blocks = province.blocks.sort("person", "at_ms").with_columns(end_ms=pl.col("at_ms") + pl.col("wall_s") * 1000)
    before = pl.col("end_ms").shift(1).over("person")
    assert blocks.filter(pl.col("at_ms") < before).is_empty()
    first, last = (
        datetime.fromisoformat(t).timestamp() * 1000 for t in ("2026-03-02T00:00+08:00", "2026-03-07T00:00+08:00")
    )
    assert blocks.filter((pl.col("at_ms") < first) | (pl.col("end_ms") > last)).is_empty()
    assert blocks.select(pl.col("at_ms").is_null().any()).item() is False
