"""A written world: valid by the contract, the same for the same seed, and its truth is what stands in its logs."""

from __future__ import annotations

import hashlib
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from learnguard import schema
from learnguard.errors import LearnGuardError
from learnguard.simulate import World, files_of, honest_world, read_table, write_world

ZONE = "Asia/Shanghai"
START, DAYS = date(2026, 3, 2), 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("sim") / "w", learners=300, days=DAYS, start=START, prevalence=0.3)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> World:
    return honest_world(tmp_path_factory.mktemp("sim") / "h", learners=300, days=DAYS, start=START)


def _bytes(world: World) -> dict[str, str]:
    return {
        str(p.relative_to(world.out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(world.out.rglob("*"))
        if p.is_file()
    }


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    small: dict[str, Any] = {"learners": 60, "days": 2, "prevalence": 0.3, "registry_format": "xlsx"}
    one = _bytes(write_world(tmp_path / "1", seed=5, **small))
    assert one == _bytes(write_world(tmp_path / "2", seed=5, **small))
    other = _bytes(write_world(tmp_path / "3", seed=6, **small))
    assert one["truth.parquet"] != other["truth.parquet"]


def test_behaviours_leave_other_people_alone(world: World, honest: World) -> None:
    assert read_table(world, "roster").equals(read_table(honest, "roster"))
    assert read_table(world, "lessons").equals(read_table(honest, "lessons"))


def test_every_delivered_row_keeps_the_contract(world: World) -> None:
    seen = set()
    for name, table in schema.DELIVERED.items():
        if not any(n.split(".")[0] == name for d in world.deliveries for n, _ in files_of(d)):
            continue
        seen.add(name)
        frame = read_table(world, name)
        assert set(frame.columns) - {"delivered_on"} <= set(table.names), name
        for c in table.columns:
            if c.required:
                assert frame[c.name].null_count() == 0, f"{name}.{c.name}"
            if c.choices and c.name in frame.columns:
                assert set(frame[c.name].drop_nulls()) <= set(c.choices)
            if c.name in frame.columns and c.low is not None:
                assert frame.filter(pl.col(c.name) < c.low).is_empty(), f"{name}.{c.name}"
        for group in table.either:
            assert frame.select(
                pl.any_horizontal(pl.col(n).is_not_null() for n in group if n in frame.columns).all()
            ).item()
        for first, last in table.ordered:
            assert frame.filter(pl.col(first) > pl.col(last)).is_empty(), name
    assert seen == {"events", "sessions", "lessons", "roster", "records", "group_sessions", "registry"}
    assert set(read_table(world, "events")["verb"]) <= set(schema.VERBS)


def test_keys_are_unique(world: World) -> None:
    for name in ("records", "group_sessions"):
        assert not read_table(world, name).select(schema.DELIVERED[name].key).is_duplicated().any()
    roster = read_table(world, "roster").unique(["platform_id", "account_id", "id_number"])
    assert not roster.select("platform_id", "account_id").is_duplicated().any()
    assert not read_table(world, "sessions").select("session_id").is_duplicated().any()


def test_sums_and_times_of_deliveries(world: World) -> None:
    for delivery in world.deliveries:
        files = dict(files_of(delivery))
        told = tomllib.loads(files.pop("delivery.toml").decode())
        assert told["platform_id"] == delivery.platform_id
        assert told["sha256"] == {n: hashlib.sha256(c).hexdigest() for n, c in files.items()}
        assert told["delivered_at"] == datetime.fromisoformat(f"{delivery.day}T23:59:59+08:00")
    assert {d.day for d in world.deliveries} == {START + timedelta(days=i) for i in range(DAYS)}
    assert {d.platform_id for d in world.deliveries_of(START)} == {"authority", "muke", "zhangxue", "peixun"}


def test_nothing_is_delivered_before_it_happened(world: World) -> None:
    for table, times in (
        ("events", ("ts", "received_at")),
        ("sessions", ("started_at", "ended_at")),
        ("records", ("completed_at", "claimed_at")),
        ("registry", ("registered_at",)),
    ):
        frame = read_table(world, table)
        midnight = pl.col("delivered_on").cast(pl.Datetime("us")).dt.replace_time_zone(ZONE)
        evening = midnight.dt.convert_time_zone("UTC") + pl.duration(days=1)
        for time in times:
            assert frame.filter(pl.col(time) >= evening).is_empty(), f"{table}.{time}"
    records = read_table(world, "records")
    assert records.filter(pl.col("claimed_at") < pl.col("completed_at")).is_empty()
    assert set(records["delivered_on"]) == {START + timedelta(days=DAYS - 1)}


def _check_character(first17: str) -> str:
    """ISO 7064 MOD 11-2 by its definition, digit after digit."""
    product = 0
    for digit in first17:
        product = (product + int(digit)) * 2 % 11
    return "0123456789X"[(12 - product) % 11]


def test_identity_numbers_are_valid_and_belong_to_nobody(world: World) -> None:
    numbers = read_table(world, "roster")["id_number"].unique().to_list()
    assert any(n.endswith("X") for n in numbers)
    for number in numbers:
        assert number.startswith("9900")
        assert number[17] == _check_character(number[:17])
        assert 1950 <= datetime.strptime(number[6:14] + "+0800", "%Y%m%d%z").year <= 2009
    assert _check_character("11010519491231002") == "X"  # the standard's own example


def test_claims_ask_for_the_length_of_the_media(world: World) -> None:
    length = (
        read_table(world, "lessons")
        .unique(["course_id", "lesson_id"])
        .group_by("course_id")
        .agg(pl.col("duration_s").sum())
    )
    claims = read_table(world, "records").join(length, on="course_id", validate="m:1")
    assert claims.height == world.records
    over = pl.col("duration_s") - pl.col("claimed_hours") * 2700  # hours have two decimals
    assert claims.filter(~over.is_between(-1e-6, 27.01)).is_empty()


def test_truth_names_claims_and_sums_up(world: World) -> None:
    truth = world.truth
    assert pl.read_parquet(world.truth_path).equals(truth)
    assert 0.25 * world.records <= truth.height <= 0.35 * world.records
    assert not truth.select("record_id").is_duplicated().any()
    assert set(truth["behaviour"]) <= set(schema.DETECTORS)
    keys = ["platform_id", "record_id", "account_id", "course_id"]
    assert truth.join(read_table(world, "records"), on=keys, how="anti").is_empty()
    assert truth.filter(~pl.col("dose").is_between(0.1, 1.0)).is_empty()
    strikes = truth.explode("strikes").unnest("strikes", separator=".").filter(pl.col("strikes.seconds").is_not_null())
    assert strikes.filter(pl.col("strikes.seconds") <= 0).is_empty()
    sums = strikes.group_by("record_id").agg(pl.col("strikes.seconds").sum(), pl.col("struck_s").first())
    assert sums.filter((pl.col("strikes.seconds") - pl.col("struck_s")).abs() > 0.01).is_empty()
    stretch = strikes.filter(pl.col("strikes.started_at").is_not_null())
    length = (pl.col("strikes.ended_at") - pl.col("strikes.started_at")).dt.total_milliseconds() / 1000
    assert stretch.filter((length - pl.col("strikes.seconds")).abs() > 0.01).is_empty()
    learns = truth.filter(pl.col("behaviour") != "unregistered_trainee")
    assert set(learns["record_id"]) == set(sums["record_id"])


def test_every_variant_occurs(world: World) -> None:
    from learnguard.simulate.behaviours import VARIANTS

    assert {(v.behaviour, v.name) for v in VARIANTS} == set(world.truth.select("behaviour", "variant").iter_rows())


def _unregistered(world: World) -> set[str]:
    """Records whose person was not in the registry by the day of completion, found from the delivered tables."""
    roster = (
        read_table(world, "roster")
        .unique(["platform_id", "account_id"])
        .select("platform_id", "account_id", "id_number")
    )
    registry = read_table(world, "registry").select(pl.col("id_number").str.to_uppercase(), "registered_at")
    claims = (
        read_table(world, "records")
        .join(roster, on=["platform_id", "account_id"])
        .join(registry, on="id_number", how="left")
    )
    day = {n: pl.col(n).dt.convert_time_zone(ZONE).dt.date() for n in ("registered_at", "completed_at")}
    late = pl.col("registered_at").is_null() | (day["registered_at"] > day["completed_at"])
    return set(claims.filter(late)["record_id"])


def test_registry_misses_exactly_whom_the_truth_names(world: World, honest: World) -> None:
    told = world.truth.filter(pl.col("behaviour") == "unregistered_trainee")
    assert set(told["variant"]) == {"missing", "after_completion"}
    assert _unregistered(world) == set(told["record_id"])
    assert _unregistered(honest) == set()
    during = read_table(honest, "registry").filter(pl.col("registered_at") >= datetime(2026, 3, 2, tzinfo=UTC))
    assert during.height > 0  # some are registered only on the day of completion, which is in time


def test_rows_are_lost_doubled_disordered_and_late(honest: World) -> None:
    events = read_table(honest, "events")
    muke = events.filter(pl.col("platform_id") == "muke")
    assert muke["event_id"].is_duplicated().any()
    assert muke.unique("event_id").height == muke.select(pl.exclude("delivered_on")).unique().height
    assert not muke["received_at"].is_sorted()
    app = events.filter(pl.col("platform_id") == "zhangxue")
    hour = pl.duration(hours=1)
    assert app.filter(pl.col("received_at") - pl.col("ts") > hour).height > 0  # uploaded late, stamped in time
    skew = app.with_columns(off=(pl.col("ts") - pl.col("client_ts")).dt.total_seconds())
    per_device = skew.group_by("device_id").agg(low=pl.col("off").quantile(0.05), high=pl.col("off").max())
    assert per_device.filter(pl.col("low").abs() > 300).height > 0  # a clock that is wrong
    assert per_device.filter(pl.col("high") - pl.col("low") > 3600).height > 0  # uploaded late, stamped late
    assert app["visible"].null_count() == app.height
    assert app["page_id"].null_count() == app.height
    assert muke["client_ts"].null_count() == muke.height


def test_lookalikes_are_all_there(honest: World) -> None:
    tags = pl.read_parquet(honest.lookalikes_path)
    assert not tags["is_injected"].any()
    assert set(tags["lookalike"]) == {
        "slow_and_elderly", "quiet", "night_worker", "training_room", "declared_group", "shared_household",
        "two_platforms", "two_courses", "begun_before", "given_up", "permitted_speed", "hand_over", "network_change",
        "switched_away", "listened_hidden", "seek_back", "rewatched", "lingering_login", "midnight_crossed",
        "offline_upload", "clock_skewed",
    }  # fmt: skip
    assert honest.truth.is_empty()


def test_wrong_arguments_are_named(tmp_path: Path, world: World) -> None:
    with pytest.raises(LearnGuardError, match="learners"):
        write_world(tmp_path / "x", learners=3)
    with pytest.raises(LearnGuardError, match="days"):
        write_world(tmp_path / "x", days=1)
    with pytest.raises(LearnGuardError, match="no such behaviour: juggling"):
        write_world(tmp_path / "x", behaviours=["juggling"])
    with pytest.raises(LearnGuardError, match="already holds"):
        write_world(world.out)
    assert not (tmp_path / "x").exists()


def test_behaviours_can_be_chosen(tmp_path: Path) -> None:
    chosen = ["course_skipping/jumps", "concurrent_sessions"]
    made = write_world(tmp_path / "c", learners=80, days=2, prevalence=0.3, behaviours=chosen)
    pairs = set(made.truth.select("behaviour", "variant").iter_rows())
    assert pairs == {
        ("course_skipping", "jumps"),
        ("concurrent_sessions", "two_devices"),
        ("concurrent_sessions", "two_places"),
    }
