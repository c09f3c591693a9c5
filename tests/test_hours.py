"""The hour ledger, rule by rule (test_hours_count.py holds it against a slow count)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import polars as pl
import pytest

from learnguard.errors import LedgerError
from learnguard.hours import Limits, _check
from learnguard.schema import STRIKE_ORDER
from ledger_rows import START, Row, claim, entry, keep, lesson, segment, strike

# -------------------------------------------------------------------------------------------------------- by rule


def test_credited_struck_and_unsupported_add_up_to_the_claim() -> None:
    ledger = keep([claim("r", 300)], [segment("r", "l", 0, 200)], [strike("course_skipping", "r", 50, 80)])
    assert entry(ledger) == {
        "claimed_s": 300,
        "credited_s": 170,
        "struck_s": 30,
        "course_skipping": 30,
        "unsupported_s": 100,
    }


def test_time_counts_once_for_a_person_whatever_the_record_and_platform() -> None:
    segments = [segment("r", "l", 0, 100), segment("q", "l", 60, 160), segment("other", "x", 150, 240, platform="p2")]
    ledger = keep([claim("r", 100), claim("q", 100)], segments)
    assert entry(ledger)["credited_s"] == 100
    assert entry(ledger, "q")["credited_s"] == 60, "the segment that began first has the shared minute"
    assert entry(ledger, "q")["unsupported_s"] == 40


def test_two_people_share_nothing_and_an_unknown_learner_is_an_account() -> None:
    segments = [
        segment("r", "l", 0, 100, person=None, account_id="a"), segment("q", "l", 0, 100, person=None, account_id="b"),
    ]  # fmt: skip
    ledger = keep([claim("r", 100), claim("q", 100)], segments)
    assert entry(ledger)["credited_s"] == entry(ledger, "q")["credited_s"] == 100


def test_the_first_reason_in_the_fixed_order_takes_a_second() -> None:
    strikes = [
        strike("idle_playback", "r", 0, 100),
        strike("background_playback", "r", 50, 150),
        strike("record_tampering", "r", 90, 95),
    ]
    found = entry(keep([claim("r", 200)], [segment("r", "l", 0, 200)], strikes))
    assert found == {
        "claimed_s": 200, "credited_s": 50, "struck_s": 150, "unsupported_s": 0,
        "record_tampering": 5, "background_playback": 95, "idle_playback": 50,
    }  # fmt: skip


def test_a_regions_own_detector_keeps_its_name_and_goes_before_the_policy() -> None:
    strikes = [
        strike("village_rule", "r", 0, 60),
        strike("policy_limit", "r", 0, 90),
        strike("collusion_ring", "r", 0, 10),
    ]
    ledger = keep([claim("r", 200)], [segment("r", "l", 0, 200)], strikes)
    found = entry(ledger)
    assert (found["collusion_ring"], found["village_rule"], found["policy_limit"], found["credited_s"]) == (
        10,
        50,
        30,
        110,
    )
    assert ledger.records.columns[-2:] == ["village_rule", "policy_limit"]


def test_a_strike_of_one_lesson_leaves_the_others_alone() -> None:
    segments = [segment("r", "l1", 0, 100), segment("r", "l2", 100, 200)]
    found = entry(keep([claim("r", 200)], segments, [strike("course_skipping", "r", 50, 150, lesson_id="l2")]))
    assert (found["credited_s"], found["course_skipping"]) == (150, 50)


def test_a_lesson_earns_its_length_once_and_struck_time_fills_only_what_is_left() -> None:
    segments = [segment("r", "l", 0, 80), segment("r", "l", 100, 180), segment("r", "m", 180, 240)]
    lessons = [lesson("r", "l", 100), lesson("r", "m", None)]
    assert entry(keep([claim("r", 300)], segments, [], lessons))["credited_s"] == 160
    found = entry(keep([claim("r", 300)], segments, [strike("idle_playback", "r", 100, 180)], lessons))
    assert (found["credited_s"], found["idle_playback"], found["unsupported_s"]) == (140, 20, 140)
    counted = [strike("course_skipping", "r", lesson_id="l", seconds=500.0)]
    found = entry(keep([claim("r", 300)], segments[:1], counted, lessons))
    assert (found["credited_s"], found["course_skipping"], found["unsupported_s"]) == (80, 20, 200)


def test_lessons_are_numbered_within_their_course() -> None:
    segments = [segment("r", "1", 0, 100), segment("q", "1", 100, 200)]
    ledger = keep([claim("r", 100), claim("q", 100)], segments, [], [lesson("r", "1", 30), lesson("q", "1", 90)])
    assert (entry(ledger)["credited_s"], entry(ledger, "q")["credited_s"]) == (30, 90)


@pytest.mark.parametrize(
    ("presence", "signs", "credited"),
    [(True, {}, 0), (True, {"n_interactions": 1}, 100), (True, {"n_passed": 1}, 100), (False, {}, 100)],
)
@pytest.mark.parametrize("kind", ["reading", "exercise"])
def test_pages_that_are_read_need_a_sign_of_presence_where_the_client_logs_them(
    kind: str, presence: bool, signs: Row, credited: int
) -> None:
    ledger = keep(
        [claim("r", 100)], [segment("r", "l", 0, 100, **signs)], [], [lesson("r", "l", 500, kind)], presence=presence
    )
    assert entry(ledger)["credited_s"] == credited
    video = keep(
        [claim("r", 100)], [segment("r", "l", 0, 100, **signs)], [], [lesson("r", "l", 500)], presence=presence
    )
    assert entry(video)["credited_s"] == 100


def test_a_session_earns_what_the_platform_counted_also_where_it_is_cut() -> None:
    session = segment("r", "l", 0, 200, active_s=50.0, source="sessions")
    assert entry(keep([claim("r", 200)], [session]))["credited_s"] == 50
    found = entry(keep([claim("r", 200)], [session], [strike("idle_playback", "r", 0, 100)]))
    assert (found["credited_s"], found["idle_playback"], found["unsupported_s"]) == (25, 25, 150)


def test_without_a_claim_nothing_is_unsupported() -> None:
    found = entry(keep([claim("r", None)], [segment("r", "l", 0, 200)], [strike("idle_playback", "r", 0, 20)]))
    assert found == {"claimed_s": None, "credited_s": 180, "struck_s": 20, "idle_playback": 20, "unsupported_s": 0}


def test_a_claim_smaller_than_what_was_credited_takes_no_more() -> None:
    found = entry(keep([claim("r", 100)], [segment("r", "l", 0, 200)], [strike("idle_playback", "r", 0, 50)]))
    assert found == {"claimed_s": 100, "credited_s": 100, "struck_s": 0, "unsupported_s": 0}


def test_records_without_a_single_log_and_no_records_at_all() -> None:
    assert entry(keep([claim("r", 99.6)], [])) == {
        "claimed_s": 100,
        "credited_s": 0,
        "struck_s": 0,
        "unsupported_s": 100,
    }
    assert keep([], [segment("r", "l", 0, 10)]).records.height == 0


def test_the_daily_cap_parts_the_piece_across_it_and_begins_anew_at_midnight() -> None:
    long = [segment("r", "l", 0, 240)]  # two minutes on each side of midnight
    found = entry(keep([claim("r", 240)], long, limits=Limits(daily_cap_s=50.0)))
    assert (found["credited_s"], found["policy_limit"]) == (100, 140)
    struck = entry(
        keep([claim("r", 240)], long, [strike("idle_playback", "r", 0, 100)], limits=Limits(daily_cap_s=50.0))
    )
    assert (struck["credited_s"], struck["idle_playback"], struck["policy_limit"]) == (70, 100, 70), (
        "struck time spends no cap"
    )


def test_the_cap_is_a_persons_not_a_records() -> None:
    segments = [segment("r", "l", 0, 60), segment("q", "l", 60, 120)]
    ledger = keep([claim("r", 60), claim("q", 60)], segments, limits=Limits(daily_cap_s=80.0))
    assert (entry(ledger)["credited_s"], entry(ledger, "q")["credited_s"], entry(ledger, "q")["policy_limit"]) == (
        60,
        20,
        40,
    )


def test_closed_hours_across_midnight() -> None:
    limits = Limits(closed_night=(time(23, 59), time(0, 1)))
    found = entry(keep([claim("r", 240)], [segment("r", "l", 0, 240)], limits=limits))
    assert (found["credited_s"], found["policy_limit"]) == (120, 120)


def test_closed_hours_hold_on_every_day_of_a_long_segment_and_where_the_clock_changes() -> None:
    # Berlin, night of 2026-03-29: from 2 to 3 o'clock there is no time at all.
    begin = (datetime(2026, 3, 27, 23, tzinfo=UTC) - START).total_seconds()
    limits = Limits(timezone="Europe/Berlin", closed_night=(time(1), time(5)))
    found = entry(keep([claim("r", None)], [segment("r", "l", begin, begin + 72 * 3600)], limits=limits))
    assert found["policy_limit"] == (4 + 3 + 4) * 3600


def test_days_hold_the_ledgers_seconds() -> None:
    segments = [segment("r", "l", 0, 100), segment("r", "l", 120, 200, day=date(2026, 3, 2))]
    days = keep([claim("r", 300)], segments, [strike("idle_playback", "r", 90, 130)]).days
    assert days.rows() == [("p", "r", date(2026, 3, 1), 90.0, 10.0), ("p", "r", date(2026, 3, 2), 70.0, 10.0)]


def test_a_ledger_that_does_not_add_up_is_refused() -> None:
    records = keep([claim("r", 300)], [segment("r", "l", 0, 200)]).records
    with pytest.raises(LedgerError, match=r"1 record.*first p/r"):
        _check(records.with_columns(credited_s=pl.col("credited_s") + 1), STRIKE_ORDER)
