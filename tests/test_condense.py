"""What condensing means, rule by rule: rows of one platform's day in, segments out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from learnguard.condense import CondenseRules, condense_events
from learnguard.schema import lake_columns

DAY = date(2026, 3, 2)
#: Local midnight of DAY in Asia/Shanghai; the rows' seconds count from 09:00 local.
DAY_FROM = datetime(2026, 3, 1, 16, tzinfo=UTC)
NINE = DAY_FROM + timedelta(hours=9)
BOTH = pytest.mark.parametrize("walk", [False, True], ids=["as it runs", "every page walked"])
Row = dict[str, Any]


def row(verb: str, at: float, position: float | None = None, **columns: Any) -> Row:
    """One event ``at`` seconds after nine o'clock; anything of the contract may be said by name."""
    plain = {"account_id": "a", "device_id": "d", "page_id": "p", "lesson_id": "l", "course_id": "c", "terminal": "pc"}
    return {**plain, "verb": verb, "ts": NINE + timedelta(seconds=at), "position_s": position, **columns}


def beats(first: int, last: int, *, start: float | None = 0, every: int = 30, **columns: Any) -> list[Row]:
    """A heartbeat every 30 s, the media running at 1x from ``start`` (None: no positions)."""
    return [
        row("heartbeat", t, None if start is None else start + t - first, **columns)
        for t in range(first, last + 1, every)
    ]


#: Six beats of somebody else, so that the platform's beat of 30 s is known.
OTHERS = [
    row("heartbeat", t, float(t), account_id="other", device_id="o", page_id="o", lesson_id="o")
    for t in range(0, 181, 30)
]


def condense(rows: list[Row], *, walk: bool = False, **rules: Any) -> duckdb.DuckDBPyConnection:
    """A connection with what condensing put out. Rows before local midnight are the day before's."""
    columns = lake_columns("events")
    kinds = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_()}
    schema = pa.schema(
        [(c.name, kinds.get(c.sql_type, pa.timestamp("us", tz="UTC"))) for c in columns] + [("is_tail", pa.bool_())]
    )
    con = duckdb.connect(config={"threads": 1})
    con.execute("SET TimeZone = 'UTC'")
    con.register("given", pa.Table.from_pylist([{**r, "is_tail": r["ts"] < DAY_FROM} for r in rows], schema=schema))
    con.execute("CREATE TABLE day_events AS SELECT * FROM given")
    condense_events(
        con,
        platform_id="p",
        day=DAY,
        day_from=DAY_FROM,
        rows=len(rows),
        rules=CondenseRules(is_every_page_walked=walk, **rules),
    )
    return con


def segments(rows: list[Row], *, walk: bool = False, account: str = "a", also: list[Row] | None = None) -> list[Row]:
    """Segments of ``account``, in order, with times as seconds after nine o'clock."""
    con = condense(rows + (OTHERS if also is None else also), walk=walk)
    found = con.sql(
        "SELECT * FROM unit_segments WHERE account_id = $account ORDER BY started_at, ended_at, lesson_id",
        params={"account": account},
    ).to_arrow_table()
    return [
        {**s, "began": (s["started_at"] - NINE).total_seconds(), "ended": (s["ended_at"] - NINE).total_seconds()}
        for s in found.to_pylist()
    ]


def spans(found: list[Row]) -> list[tuple[float, float]]:
    """From and to of each segment that has any length."""
    return [(s["began"], s["ended"]) for s in found if s["active_s"] > 0]


# ------------------------------------------------------------------------------------------------ pages in one piece


@BOTH
def test_a_page_that_ran_in_one_piece_is_one_segment(walk: bool) -> None:
    (only,) = segments([row("play", 0, 0), *beats(30, 600, start=30), row("pause", 610, 610)], walk=walk)
    assert (only["began"], only["ended"], only["active_s"]) == (0, 610, 610)
    assert (only["media_from_s"], only["media_to_s"], only["skipped_s"]) == (0, 610, None)
    assert (only["cadence_s"], only["gap_s"]) == (30, 105)
    assert (only["is_hidden"], only["rate"]) == (None, None), "what the client does not log is not observed"


@BOTH
@pytest.mark.parametrize("cadence", [10, 30, 60, 180])
def test_the_beat_is_learned_and_lost_beats_bridge(walk: bool, cadence: int) -> None:
    rows = [
        r
        for r in beats(0, 20 * cadence, start=None, every=cadence)
        if (r["ts"] - NINE).seconds // cadence not in {5, 6}
    ]
    (only,) = segments(rows, walk=walk, also=[])
    assert (only["cadence_s"], only["gap_s"]) == (cadence, 3 * cadence + 15)
    assert only["active_s"] == 20 * cadence


@BOTH
def test_longer_silence_breaks(walk: bool) -> None:
    assert spans(segments([*beats(0, 300, start=None), *beats(420, 600, start=None)], walk=walk)) == [
        (0, 300),
        (420, 600),
    ]
    stopped = [*beats(0, 300), *beats(900, 1200, start=330)]
    assert spans(segments(stopped, walk=walk)) == [(0, 300), (900, 1200)]


@BOTH
def test_silence_in_which_the_media_advanced_as_time_did_is_no_break(walk: bool) -> None:
    (only,) = segments([*beats(0, 300), *beats(1020, 1200, start=1020)], walk=walk)
    assert only["active_s"] == 1200


@BOTH
def test_it_is_one_where_another_device_carried_the_media_on_meanwhile(walk: bool) -> None:
    said = [row("pause", 300, 300), row("play", 1020, 1020)]
    for lost in ([], said):
        there_and_back = [
            *beats(0, 300),
            *beats(310, 1010, start=310, device_id="other", page_id="other"),
            *beats(1020, 1200, start=1020),
            *[r for r in said if r not in lost],
        ]
        own = [s for s in segments(there_and_back, walk=walk) if s["page_id"] != "other"]
        assert spans(own) == [(0, 300), (1020, 1200)], "whether or not pause and play got lost"


@BOTH
def test_a_login_left_behind_that_beats_where_it_stands_carried_nothing(walk: bool) -> None:
    rows = [
        *beats(0, 300),
        *[row("heartbeat", t, 50, device_id="other", page_id="other") for t in range(310, 1011, 100)],
        *beats(1020, 1200, start=1020),
    ]
    own = [s for s in segments(rows, walk=walk) if s["page_id"] != "other"]
    assert spans(own) == [(0, 1200)]


@BOTH
def test_another_page_before_and_after_the_silence_carried_nothing(walk: bool) -> None:
    rows = [
        *beats(0, 300),
        *beats(1020, 1200, start=1020),
        *beats(1300, 1500, start=0, page_id="next", lesson_id="next"),
        row("play", 1600, 0),
        *beats(1630, 1720, start=30),
    ]
    own = [s for s in segments(rows, walk=walk) if s["page_id"] != "next"]
    assert spans(own)[0] == (0, 1200)


@BOTH
def test_a_client_too_rare_for_the_sample_has_its_beat_learned_all_the_same(walk: bool) -> None:
    many = [
        row("heartbeat", t, t, account_id=f"n{n}", device_id=f"n{n}", page_id=f"n{n}")
        for n in range(40)
        for t in range(0, 301, 30)
    ]
    rare = beats(0, 600, start=None, every=10, terminal="app", account_id="rare")
    con = condense([*many, *rare], walk=walk, beat_sample=20)
    assert con.execute("SELECT terminal, beat_s FROM beats ORDER BY 1").fetchall() == [("app", 10), ("pc", 30)]


# ----------------------------------------------------------------------------------------------------- pauses and seeks


@BOTH
def test_pause_and_resume_break(walk: bool) -> None:
    rows = [
        row("play", 0, 0),
        *beats(30, 60, start=30),
        row("pause", 70, 70),
        row("play", 130, 70),
        *beats(150, 210, start=90),
    ]
    assert spans(segments(rows, walk=walk)) == [(0, 70), (130, 210)]


def test_a_paused_player_that_beats_in_one_place_earns_nothing() -> None:
    touches = [row("interaction", t) for t in range(75, 600, 15)]
    flips = [r for t in range(200, 560, 40) for r in (row("hidden", t), row("visible", t + 12))]
    still = [row("heartbeat", t, 65) for t in range(60, 601, 30)]
    found = segments([row("play", 0, 5), *beats(30, 30, start=35), *still, *touches, *flips])
    assert spans(found) == [(0, 60)]
    assert [(s["media_from_s"], s["media_to_s"]) for s in found if s["active_s"] > 0] == [(5, 65)]


def test_playing_after_a_long_stand_still_counts() -> None:
    still = [row("heartbeat", t, 65) for t in range(60, 601, 30)]
    assert spans(segments([row("play", 0, 5), *still, *beats(630, 900, start=95)])) == [(0, 60), (600, 900)]


def test_a_seek_breaks_and_the_media_goes_on_where_it_led() -> None:
    rows = [*beats(0, 90), row("seek", 100, 100, to_position_s=1000), *beats(120, 300, start=1020)]
    first, second = segments(rows)
    assert (first["began"], first["ended"], first["media_to_s"]) == (0, 100, 100)
    assert (second["began"], second["ended"], second["media_from_s"], second["media_to_s"]) == (100, 300, 1000, 1200)
    assert second["skipped_s"] is None


@pytest.mark.parametrize("backwards", [False, True])
def test_pause_seek_and_play_within_one_second_are_no_jump(backwards: bool) -> None:
    start, target = (1000, 20) if backwards else (0, 900)
    rows = [
        *beats(0, 90, start=start), row("play", 100, target), row("pause", 100, start + 100),
        row("seek", 100, start + 100, to_position_s=target), *beats(120, 300, start=target + 20),
    ]  # fmt: skip
    found = segments(rows)
    assert spans(found) == [(0, 100), (100, 300)]
    assert all(s["skipped_s"] is None and not s["is_clock_suspect"] for s in found)


def test_a_doubled_seek_is_no_jump() -> None:
    seek = row("seek", 100, 1100, to_position_s=20)
    found = segments([*beats(0, 90, start=1000), seek, dict(seek), *beats(120, 300, start=40)])
    assert spans(found) == [(0, 100), (100, 300)]
    assert [s["skipped_s"] for s in found] == [None, None]


def test_a_seek_that_does_not_say_where_to_is_no_jump() -> None:
    found = segments([*beats(0, 90), row("seek", 100), *beats(120, 300, start=2000)])
    assert spans(found) == [(0, 100), (100, 300)]
    assert all(s["skipped_s"] is None for s in found)


def test_a_jump_of_the_media_without_a_seek_is_skipped_and_earns_nothing() -> None:
    found = segments(
        [*beats(0, 90), row("interaction", 100), row("hidden", 105), row("visible", 108), *beats(120, 300, start=2000)]
    )
    assert sum(s["active_s"] for s in found if s["began"] >= 108) == 180
    (after,) = [s for s in found if s["skipped_s"]]
    assert (after["began"], after["ended"], after["skipped_s"], after["media_from_s"]) == (120, 300, 1910, 2000)


def test_beats_kept_during_an_outage_and_sent_at_once_make_no_jump() -> None:
    flushed = [row("heartbeat", 1000 + n / 100, 330 + 30 * n) for n in range(23)]
    found = segments([*beats(0, 300), *flushed, *beats(1020, 1200, start=1020)])
    assert all(s["skipped_s"] is None and not s["is_clock_suspect"] for s in found)
    assert spans(found)[-1][1] == 1200


def test_a_lesson_played_again_on_its_page_is_no_jump_and_no_disorder() -> None:
    rounds = [
        r
        for n in range(6)
        for r in [row("play", n * 100, 0), row("heartbeat", n * 100 + 30, 30), row("pause", n * 100 + 60, 60)]
    ]
    found = segments(rounds)
    assert spans(found) == [(n * 100, n * 100 + 60) for n in range(6)]
    assert not any(s["is_clock_suspect"] or s["skipped_s"] for s in found)


def test_media_that_runs_backwards_in_many_steps_makes_the_clock_suspect() -> None:
    shuffled = [row("heartbeat", t, (t * 7919) % 3600) for t in range(0, 1200, 30)]
    honest = beats(0, 600, account_id="b", page_id="b")
    found = segments([*shuffled, *honest])
    assert all(s["is_clock_suspect"] for s in found)
    assert not any(s["is_clock_suspect"] for s in segments([*shuffled, *honest], account="b"))


# ------------------------------------------------------------------------------------------------- visibility and rate


def test_hidden_and_visible_split_and_tell() -> None:
    rows = [
        *beats(0, 90),
        row("hidden", 100),
        row("visible", 200),
        *beats(210, 300, start=210),
        *beats(120, 180, start=120),
    ]
    found = segments(rows)
    assert [(s["began"], s["ended"], s["is_hidden"], s["hidden_s"]) for s in found] == [
        (0, 100, None, None), (100, 200, True, 100), (200, 300, False, 0),
    ]  # fmt: skip
    # where the flips do not say where the media stood, it ran on at the rate in force
    assert [(s["media_from_s"], s["media_to_s"]) for s in found] == [(0, 100), (100, 200), (200, 300)]


def test_a_short_switch_away_does_not_look_like_fast_media() -> None:
    stale = [row("hidden", 118, 90), row("visible", 121, 120), *beats(120, 300, start=120)]
    hidden = [s for s in segments([*beats(0, 90), *stale]) if s["is_hidden"]]
    assert [(s["began"], s["ended"]) for s in hidden] == [(118, 121)]
    assert hidden[0]["media_to_s"] - hidden[0]["media_from_s"] == 3


def test_beats_that_say_hidden_split_too() -> None:
    rows = [
        *beats(0, 90, visible=True),
        *beats(120, 240, start=120, visible=False),
        *beats(270, 300, start=270, visible=True),
    ]
    assert [(s["began"], s["ended"], s["is_hidden"]) for s in segments(rows)] == [
        (0, 120, False),
        (120, 240, True),
        (240, 300, False),
    ]


def test_hidden_and_visible_in_one_second_leaves_the_page_in_front() -> None:
    found = segments([*beats(0, 90), row("visible", 100), row("hidden", 100), *beats(120, 600, start=120)])
    assert not any(s["is_hidden"] for s in found)
    assert sum(s["active_s"] for s in found) == 600


def test_what_only_later_rows_say_does_not_split() -> None:
    rows = [
        row("play", 0, 0),
        *beats(30, 300, start=30, visible=True, rate=1.0),
        row("seek", 310, 310, to_position_s=0),
    ]
    (only,) = [s for s in segments(rows) if s["active_s"] > 0]
    assert (only["began"], only["ended"], only["is_hidden"], only["rate"]) == (0, 310, False, 1.0)


def test_a_change_of_rate_splits() -> None:
    rows = [
        *beats(0, 90, rate=1.0),
        row("rate_change", 100, 100, rate=2.0),
        *(row("heartbeat", 100 + t, 100 + 2 * t, rate=2.0) for t in (20, 50, 80)),
    ]
    assert [(s["began"], s["ended"], s["rate"]) for s in segments(rows)] == [(0, 100, 1.0), (100, 180, 2.0)]


def test_the_first_known_rate_is_not_laid_on_what_came_before() -> None:
    rows = [*beats(0, 90), row("rate_change", 100, 100, rate=2.0), row("heartbeat", 130, 160, rate=2.0)]
    assert [(s["ended"], s["rate"]) for s in segments(rows)] == [(100, None), (130, 2.0)]


# ----------------------------------------------------------------------------------- poor logs: what is not there


def test_without_a_page_the_session_is_the_page() -> None:
    first, second = beats(0, 300, page_id=None, session_id="s1"), beats(60, 360, page_id=None, session_id="s2")
    assert spans(segments([*first, *second])) == [(0, 300), (60, 360)]


def test_beats_without_positions_give_time_only() -> None:
    (only,) = segments(beats(0, 300, start=None))
    assert (only["active_s"], only["media_from_s"], only["media_to_s"]) == (300, None, None)


@BOTH
def test_play_and_pause_alone_make_a_segment(walk: bool) -> None:
    rows = [
        row("play", 0, 0),
        row("pause", 5000, 5000),
        row("play", 6000),
        row("pause", 7000),
        row("play", 20_000),
        row("pause", 25_000),
    ]
    found = segments(rows, walk=walk, also=[])
    assert spans(found) == [(0, 5000), (6000, 7000)], "as time did, or at most an hour"
    assert {(s["cadence_s"], s["gap_s"]) for s in found} == {(None, 3600)}


def test_a_page_closed_without_a_pause_and_played_anew_earned_nothing_in_between() -> None:
    assert spans(segments([row("play", 0, 0), row("play", 3000, 900), row("pause", 3300, 1200)], also=[])) == [
        (3000, 3300)
    ]
    assert spans(segments([row("page_open", 0), row("page_open", 3000), row("page_close", 3300)], also=[])) == [
        (3000, 3300)
    ]


def test_a_reading_page_earns_its_time_though_players_beat() -> None:
    read = [
        row("page_open", 0),
        row("interaction", 400),
        row("complete", 410),
        row("interaction", 900),
        row("page_close", 1500),
    ]
    (only,) = segments(read)
    assert (only["began"], only["ended"], only["n_interactions"]) == (0, 1500, 2)
    assert (only["cadence_s"], only["gap_s"]) == (30, 3600)


def test_a_reading_page_that_beats_is_held_to_its_beat() -> None:
    read = [row("page_open", 0), *beats(30, 300, start=None), row("page_close", 1500)]
    assert spans(segments(read)) == [(0, 300)]


@BOTH
def test_time_before_the_player_starts_is_no_learning(walk: bool) -> None:
    rows = [row("page_open", 0), row("interaction", 40), row("play", 90, 0), *beats(120, 300, start=30)]
    assert spans(segments(rows, walk=walk)) == [(90, 300)]


@BOTH
def test_from_opening_to_the_first_beat_a_player_that_logs_no_play_was_playing(walk: bool) -> None:
    assert spans(segments([row("page_open", 0), *beats(30, 300, start=30), row("page_close", 325)], walk=walk)) == [
        (0, 325)
    ]


@BOTH
def test_touches_count_once_and_never_move_the_media(walk: bool) -> None:
    touch = row("interaction", 50, 30)  # the last beat's position
    late = row("interaction", 1500)
    (only,) = segments([*beats(0, 300), touch, dict(touch), late, row("interaction", 55)], walk=walk)
    assert (only["active_s"], only["n_interactions"], only["n_events"]) == (300, 3, 11 + 3)


# ------------------------------------------------------------------------------------------------------------ midnight


@pytest.mark.parametrize("positions", [True, False])
def test_a_stretch_across_midnight_loses_no_second_and_counts_none_twice(positions: bool) -> None:
    midnight = -9 * 3600
    whole = [
        row("play", midnight - 600, 0 if positions else None),
        *beats(midnight - 590, midnight + 610, start=10 if positions else None),
        row("interaction", midnight - 3), row("interaction", midnight + 3),
    ]  # fmt: skip
    evening = [r for r in whole if r["ts"] < DAY_FROM]
    con = condense(evening)  # as its own day would see them: nothing is a tail there
    con.execute("UPDATE day_events SET is_tail = FALSE")
    condense_events(
        con, platform_id="p", day=DAY, day_from=DAY_FROM - timedelta(days=1), rows=99, rules=CondenseRules()
    )
    before = con.sql("SELECT * FROM unit_segments ORDER BY started_at").to_arrow_table().to_pylist()
    after = segments(whole)
    assert before[-1]["ended_at"] == after[0]["started_at"]
    assert sum(s["active_s"] for s in (*before, *after)) == 600 + 610
    assert sum(s["n_interactions"] for s in (*before, *after)) == 2


def test_a_jump_of_the_day_before_is_not_told_again() -> None:
    midnight = -9 * 3600
    rows = [*beats(midnight - 300, midnight - 210), *beats(midnight - 180, midnight + 300, start=5000)]
    (only,) = segments(rows)
    assert only["skipped_s"] is None
    assert only["active_s"] == 330, "from the last beat of the day before"
