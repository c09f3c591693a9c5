"""What the logs of a world show, read from the deliveries alone: honest people honest, the truth visible."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from learnguard.simulate import World, honest_world, read_table, write_world

DAYS = 4
OUTAGE_S = 720  # the long outage takes beats from a stretch that it falls into
KEY = ["account_id", "device_id", "page_id", "course_id", "lesson_id"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    out = tmp_path_factory.mktemp("sim") / "w"
    return write_world(out, learners=300, days=DAYS, start=date(2026, 3, 2), prevalence=0.3)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> World:
    return honest_world(tmp_path_factory.mktemp("sim") / "h", learners=300, days=DAYS, start=date(2026, 3, 2))


_READ: dict[tuple[Path, str], pl.DataFrame] = {}


def _events(world: World, platform_id: str) -> pl.DataFrame:
    """The events of one platform, each once; read from disk once per world."""
    if (world.out, platform_id) not in _READ:
        events = read_table(world, "events").filter(pl.col("platform_id") == platform_id)
        _READ[world.out, platform_id] = events.drop("delivered_on").unique(maintain_order=True)
    return _READ[world.out, platform_id]


def _steps(events: pl.DataFrame) -> pl.DataFrame:
    """Stretches between two rows of a page: from_at, to_at, wall_s, media from and to, ``hidden``, ``rate``.

    Only forward ones: a page that stands still, was paused, or was sought through plays nothing.
    """
    steps = (
        events.filter(pl.col("position_s").is_not_null(), pl.col("verb") != "complete")
        .sort(*KEY, "ts")
        .with_columns(
            from_at=pl.col("ts").shift(1).over(KEY),
            media_from=pl.coalesce("to_position_s", "position_s").shift(1).over(KEY),
            was=pl.col("verb").shift(1).over(KEY),
            hidden=~pl.col("visible").shift(1).over(KEY),
        )
        .with_columns(wall_s=(pl.col("ts") - pl.col("from_at")).dt.total_milliseconds() / 1000)
    )
    return steps.filter(
        pl.col("from_at").is_not_null(), pl.col("was") != "pause", pl.col("position_s") > pl.col("media_from")
    ).with_columns(
        to_at="ts", media_to="position_s", rate=(pl.col("position_s") - pl.col("media_from")) / pl.col("wall_s")
    )


def _covered(steps: pl.DataFrame) -> pl.DataFrame:
    """Media seconds of each (account, course, lesson) that were played at a permitted rate, each counted once."""
    # Two beats held back by a short outage may arrive at once.
    played = steps.filter(pl.col("media_to") - pl.col("media_from") <= 2.05 * pl.col("wall_s") + 65)
    by = ["account_id", "course_id", "lesson_id"]
    upto = pl.col("media_to").cum_max().shift(1).over(by).fill_null(0.0)
    return (
        played.sort(*by, "media_from")
        .with_columns(new=pl.col("media_to") - pl.max_horizontal("media_from", upto))
        .group_by(by)
        .agg(covered_s=pl.col("new").filter(pl.col("new") > 0).sum())
    )


def _completed(events: pl.DataFrame, lessons: pl.DataFrame, covered: pl.DataFrame) -> pl.DataFrame:
    media = lessons.filter(~pl.col("kind").is_in(["reading", "exercise"])).select(
        "course_id", "lesson_id", "duration_s"
    )
    done = events.filter(pl.col("verb") == "complete").select("account_id", "course_id", "lesson_id").unique()
    return (
        done.join(media, on=["course_id", "lesson_id"])
        .join(covered, on=["account_id", "course_id", "lesson_id"], how="left")
        .with_columns(pl.col("covered_s").fill_null(0.0))
    )


def _overlaps(steps: pl.DataFrame) -> pl.DataFrame:
    """Seconds for which an account played on two pages or devices at once: account_id, ``both_s`` per pair of pages."""
    page = ["account_id", "device_id", "page_id", "lesson_id"]
    runs = (
        steps.sort(*page, "from_at")
        .with_columns(
            new=(pl.col("from_at") - pl.col("to_at").shift(1).over(page)).dt.total_seconds().fill_null(999) > 1
        )
        .with_columns(run=pl.col("new").cum_sum())
        .group_by(*page, "run")
        .agg(pl.col("from_at").min(), pl.col("to_at").max())
    )
    pairs = runs.join_where(
        runs.rename({n: f"{n}_2" for n in runs.columns}),
        pl.col("account_id") == pl.col("account_id_2"),
        pl.col("from_at") < pl.col("to_at_2"),
        pl.col("from_at_2") < pl.col("to_at"),
    ).filter(pl.col("run") < pl.col("run_2"), pl.col("page_id") != pl.col("page_id_2"))
    both = pl.min_horizontal("to_at", "to_at_2") - pl.max_horizontal("from_at", "from_at_2")
    return pairs.select("account_id", both_s=both.dt.total_milliseconds() / 1000)


def _begun_before(world: World) -> pl.DataFrame:
    tags = pl.read_parquet(world.lookalikes_path)
    return tags.filter(pl.col("lookalike") == "begun_before").select("account_id").unique()


def test_honest_people_play_one_page_at_a_time(honest: World) -> None:
    overlaps = _overlaps(_steps(_events(honest, "muke")))
    assert overlaps.height > 0  # hand-overs from one device to the next
    # A hand-over of up to 50 s, which the short outage may lengthen by its 55.
    assert overlaps.filter(pl.col("both_s") > 105).is_empty()


def test_honest_people_watch_what_counts(honest: World) -> None:
    events = _events(honest, "muke")
    steps = _steps(events)
    done = _completed(events, read_table(honest, "lessons"), _covered(steps))
    done = done.join(_begun_before(honest), on="account_id", how="anti")
    assert done.height > 300
    assert done.filter(pl.col("covered_s") < 0.9 * pl.col("duration_s")).is_empty()
    # Only beats held back by the outage run faster than a player may.
    assert steps.filter(pl.col("media_to") - pl.col("media_from") > 2.05 * pl.col("wall_s") + 65).is_empty()


def test_honest_people_hide_only_what_they_hear(honest: World) -> None:
    audio = read_table(honest, "lessons").filter((pl.col("kind") == "audio") | pl.col("title").str.contains("（音频）"))
    hidden = _steps(_events(honest, "muke")).filter("hidden").join(audio, on=["course_id", "lesson_id"], how="anti")
    per_absence = hidden.sort(*KEY, "from_at").with_columns(
        new=(pl.col("from_at") != pl.col("to_at").shift(1).over(KEY)).fill_null(value=True),
        media_s=pl.col("media_to") - pl.col("media_from"),
    )
    runs = per_absence.with_columns(run=pl.col("new").cum_sum()).group_by("run").agg(pl.col("wall_s", "media_s").sum())
    assert runs.height > 100
    # A short outage may delay the row that ends an absence, but not make more of the media play.
    assert runs.filter(pl.min_horizontal("wall_s", "media_s") > 60).is_empty()


def test_honest_people_answer_when_asked(honest: World) -> None:
    events = read_table(honest, "events").drop("delivered_on").unique().filter(pl.col("verb") == "prompt_answer")
    share = events.group_by("account_id", "course_id").agg(
        missed=(pl.col("result") == "timeout").sum(), shown=pl.len().cast(pl.Int64)
    )
    assert share["missed"].sum() > 0
    assert share.filter((pl.col("missed") >= 2) & (pl.col("missed") > 0.2 * pl.col("shown"))).is_empty()


def test_honest_sessions_count_no_more_than_the_clock(honest: World) -> None:
    lessons = (
        read_table(honest, "lessons").unique(["course_id", "lesson_id"]).select("course_id", "lesson_id", "max_rate")
    )
    sessions = read_table(honest, "sessions").join(lessons, on=["course_id", "lesson_id"], validate="m:1")
    wall = (pl.col("ended_at") - pl.col("started_at")).dt.total_seconds() + 1
    assert sessions.filter(pl.col("learned_s") > pl.col("max_rate") * wall + 1).is_empty()
    before = pl.col("ended_at").shift(1).over("account_id")
    in_turn = sessions.sort("account_id", "started_at").with_columns(
        both=(before - pl.col("started_at")).dt.total_seconds()
    )
    assert in_turn.filter(pl.col("both") > 60).is_empty()


def _struck(world: World, variant: str, platform_id: str) -> pl.DataFrame:
    """The strikes of one variant: one row each, with the record's account and course."""
    chosen = world.truth.filter((pl.col("variant") == variant) & (pl.col("platform_id") == platform_id))
    assert chosen.height > 0, f"no {variant} on {platform_id}"
    return chosen.select("account_id", "course_id", "strikes").explode("strikes").unnest("strikes")


def _beats_within(world: World, strikes: pl.DataFrame, platform_id: str) -> pl.DataFrame:
    """Rows of the log inside each strike (same course, and lesson where the strike names one)."""
    numbered = strikes.rename({"lesson_id": "struck_lesson"}).with_row_index("strike")
    events = _events(world, platform_id)
    inside = pl.col("ts").is_between(pl.col("started_at"), pl.col("ended_at"))
    return (
        events.join(numbered, on=["account_id", "course_id"])
        .filter(inside & (pl.col("struck_lesson").is_null() | (pl.col("struck_lesson") == pl.col("lesson_id"))))
        .filter(~pl.col("page_id").str.contains("-60-").fill_null(value=False))
    )  # fmt: skip


@pytest.mark.parametrize("variant", ["two_devices", "two_places"])
def test_two_devices_beat_at_once(world: World, variant: str) -> None:
    strikes = _struck(world, variant, "muke")
    assert strikes.filter(pl.col("seconds") < 600).is_empty()
    per = _beats_within(world, strikes, "muke").filter(pl.col("verb") == "heartbeat").group_by("strike").agg(
        pl.col("device_id", "lesson_id").n_unique(), n=pl.len(), s=pl.col("seconds").first()
    )  # fmt: skip
    assert per.height == strikes.height
    assert per.filter(
        (pl.col("device_id") != 2) | (pl.col("lesson_id") != 2) | (pl.col("n") * 15 < pl.col("s") * 0.8 - OUTAGE_S)
    ).is_empty()


@pytest.mark.parametrize("variant", ["hidden_between_checks", "hidden_and_away"])
def test_hidden_pages_beat_hidden(world: World, variant: str) -> None:
    strikes = _struck(world, variant, "muke")
    beats = _beats_within(world, strikes, "muke").filter((pl.col("verb") == "heartbeat") & ~pl.col("visible"))
    per = beats.group_by("strike").agg(n=pl.len(), s=pl.col("seconds").first())
    long = strikes.filter(pl.col("seconds") > 120)
    assert per.filter(pl.col("s") > 120).height == long.height
    assert per.filter((pl.col("s") > 120) & (pl.col("n") * 30 < 0.7 * pl.col("s") - OUTAGE_S)).is_empty()


def test_many_pages_beat_at_once(world: World) -> None:
    strikes = _struck(world, "many_pages", "muke")
    beats = _beats_within(world, strikes, "muke").filter(pl.col("verb") == "heartbeat")
    per = beats.group_by("strike").agg(pl.col("page_id").n_unique(), pl.col("device_id").n_unique())
    together = strikes.with_row_index("strike").filter(pl.col("lesson_id").is_null()).join(per, on="strike")
    assert together.height > 0
    assert together.filter((pl.col("page_id") < 3) | (pl.col("device_id") != 1)).is_empty()


@pytest.mark.parametrize(
    ("variant", "platform_id"),
    [
        ("seek_to_end", "muke"),
        ("seek_to_end", "zhangxue"),
        ("complete_calls", "muke"),
        ("complete_calls", "zhangxue"),
        ("fast_rate", "muke"),
        ("forged_positions", "muke"),
        ("forged_positions", "zhangxue"),
        ("jumps", "muke"),
        ("jumps", "zhangxue"),
    ],
)
def test_skipped_lessons_lack_the_seconds_told(world: World, variant: str, platform_id: str) -> None:
    """Counted, and not played for just as long as the truth says; the other lessons of the record were."""
    strikes = _struck(world, variant, platform_id)
    mine = _events(world, platform_id).join(
        strikes.select("account_id", "course_id").unique(), on=["account_id", "course_id"]
    )
    steps = _steps(mine)
    # No slack for held-back beats here: it would hide the leaps.
    played = steps.filter(pl.col("media_to") - pl.col("media_from") <= 2.05 * pl.col("wall_s") + 0.5)
    done = _completed(mine, read_table(world, "lessons"), _covered(played)).join(
        strikes, on=["account_id", "course_id", "lesson_id"], how="left"
    )
    told = done.filter(pl.col("seconds").is_not_null())
    assert told.height == strikes.height
    gap = pl.col("duration_s") - pl.col("covered_s") - pl.col("seconds")
    # Leaps leave no row on their edges: up to a beat before and after each is not seen either.
    slack = 0.4 * pl.col("duration_s") if variant == "jumps" else pl.lit(65.0)
    # A beat that the short outage held back makes one fast step look like a permitted one.
    assert told.filter((gap < -130) | (gap > slack)).is_empty()
    if platform_id == "muke":
        rest = _completed(mine, read_table(world, "lessons"), _covered(steps))
        rest = rest.join(strikes, on=["account_id", "course_id", "lesson_id"], how="anti")
        assert rest.filter(pl.col("covered_s") < 0.9 * pl.col("duration_s")).is_empty()


@pytest.mark.parametrize("platform_id", ["muke", "zhangxue"])
@pytest.mark.parametrize("variant", ["checks_missed", "overnight"])
def test_nobody_answers_where_nobody_is(world: World, variant: str, platform_id: str) -> None:
    strikes = _struck(world, variant, platform_id)
    rows = _beats_within(world, strikes, platform_id)
    answers = rows.filter(pl.col("verb") == "prompt_answer")
    assert answers.height >= 2
    assert answers.filter(pl.col("result") == "timeout").height >= 0.85 * answers.height
    assert rows.filter(pl.col("verb") == "interaction").is_empty()
    if variant == "overnight":
        hours = strikes.group_by("account_id").agg(
            (pl.col("ended_at").max() - pl.col("started_at").min()).dt.total_hours()
        )
        assert hours.filter(pl.col("ended_at") < 8).is_empty()


@pytest.mark.parametrize("variant", ["counted_beyond_clock", "counted_at_once"])
def test_sessions_count_more_than_the_clock(world: World, variant: str) -> None:
    truth = world.truth.filter(pl.col("variant") == variant).select("account_id", "course_id", "struck_s")
    assert truth.height > 0
    lessons = read_table(world, "lessons").unique(["course_id", "lesson_id"])
    sessions = read_table(world, "sessions").join(
        lessons.select("course_id", "lesson_id", "max_rate"), on=["course_id", "lesson_id"]
    )
    mine = sessions.join(truth, on=["account_id", "course_id"]).sort("account_id", "started_at")
    upto = pl.col("ended_at").cum_max().shift(1).over("account_id")
    fresh = pl.col("ended_at") - pl.max_horizontal("started_at", upto)
    per = (
        mine.with_columns(fresh_s=(fresh.dt.total_milliseconds() / 1000).clip(0, None))
        .group_by("account_id")
        .agg(pl.col("learned_s").sum(), pl.col("fresh_s").sum(), pl.col("max_rate", "struck_s").first())
    )
    assert per.height == truth.height
    # Pauses in the honest rest of the course are wall clock in which nothing was learned.
    excess = pl.col("learned_s") - pl.col("max_rate") * pl.col("fresh_s")
    assert per.filter(excess > pl.col("struck_s") + 30).is_empty()
    assert per.filter(pl.col("struck_s") <= 0).is_empty()


def test_what_a_platform_cannot_see_is_told(world: World) -> None:
    unseen = set(world.truth.filter(~pl.col("is_observable")).select("platform_id", "variant").iter_rows())
    assert unseen == {("zhangxue", "hidden_between_checks"), ("peixun", "checks_missed")}
