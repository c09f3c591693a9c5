"""The hour ledger against a slow count, second by second."""

from __future__ import annotations

from collections import defaultdict
from datetime import time, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from learnguard.hours import Limits
from learnguard.schema import STRIKE_ORDER
from ledger_rows import HORIZON, START, Row, claim, entry, keep, lesson, segment, strike

# ------------------------------------------------------------------------------------------- against a slow count

REASONS = ("record_tampering", "concurrent_sessions", "idle_playback", "village_rule")
RECORDS = ("r1", "r2", "r3")
LESSONS = [lesson("r1", "1", 40), lesson("r1", "2", None), lesson("r2", "1", 70, "reading"), lesson("r3", "1", 100)]


ORDER = [*STRIKE_ORDER[:-1], "village_rule", "policy_limit"]
KIND_OF = {(f"r{x['course_id'][-1]}", x["lesson_id"]): x for x in LESSONS}


def milliseconds(segments: list[Row], strikes: list[Row], limits: Limits) -> dict[Any, int]:
    """Milliseconds by (record, lesson, reason), counted second by second; reason None: valid."""
    ranked = sorted(
        segments, key=lambda s: (s["started_at"], s["ended_at"], s["platform_id"], s["record_id"], s["lesson_id"])
    )
    signs: dict[Any, int] = defaultdict(int)
    for s in segments:
        signs[s["record_id"], s["lesson_id"]] += s["n_interactions"]
    spent: dict[Any, int] = defaultdict(int)
    amounts: dict[Any, int] = defaultdict(int)
    for second in range(HORIZON):
        at = START + timedelta(seconds=second)
        local = at + timedelta(hours=8)
        taken, struck_once = set(), set()
        for s in ranked:
            key = s["record_id"], s["lesson_id"]
            if not s["started_at"] <= at < s["ended_at"]:
                continue
            if KIND_OF.get(key, {}).get("kind") == "reading" and not signs[key]:
                continue
            ms = round(1000 * s["active_s"] / (s["ended_at"] - s["started_at"]).total_seconds())
            hits = [
                x["detector"] for x in strikes
                if x["record_id"] == key[0] and x.get("lesson_id") in {None, key[1]} and "started_at" in x
                and x["started_at"] <= at < x["ended_at"]
            ]  # fmt: skip
            if (
                not hits
                and limits.closed_night
                and (local.time() >= limits.closed_night[0] or local.time() < limits.closed_night[1])
            ):
                hits = ["policy_limit"]
            if hits:
                if key not in struck_once:
                    amounts[(*key, min(hits, key=ORDER.index))] += ms
                struck_once.add(key)
            elif s["learner_id"] not in taken:
                taken.add(s["learner_id"])
                day = s["learner_id"], local.date()
                left = (
                    ms if limits.daily_cap_s is None else min(ms, max(0, round(limits.daily_cap_s * 1000) - spent[day]))
                )
                spent[day] += ms
                amounts[(*key, None)] += left
                amounts[(*key, "policy_limit")] += ms - left
    for x in strikes:
        if "seconds" in x:
            amounts[x["record_id"], x["lesson_id"], x["detector"]] += round(x["seconds"] * 1000)
    return amounts


def slow(amounts: dict[Any, int], claims: list[Row]) -> dict[str, dict[str, int]]:
    """The ledger that these milliseconds make: lessons filled, then claims."""
    totals: dict[Any, int] = defaultdict(int)
    for record, lesson_id in {k[:2] for k in amounts}:
        room = KIND_OF.get((record, lesson_id), {}).get("duration_s")
        left = 1 << 60 if room is None else round(room * 1000)
        for reason in [None, *ORDER]:
            got = min(left, amounts[record, lesson_id, reason])
            left -= got
            totals[record, reason] += got
    ledger = {}
    for c in claims:
        room = 1 << 60 if c["claimed_s"] is None else round(c["claimed_s"] * 1000)
        found, before, reached = {}, 0, 0
        for reason in [None, *ORDER]:
            reached = min(room, reached + totals[c["record_id"], reason])
            found[reason or "credited_s"] = (reached + 500) // 1000 - before
            before = (reached + 500) // 1000
        found["unsupported_s"] = 0 if c["claimed_s"] is None else (room + 500) // 1000 - before
        ledger[c["record_id"]] = {k: v for k, v in found.items() if v}
    return ledger


@st.composite
def a_segment(draw: st.DrawFn) -> Row:
    record = draw(st.sampled_from(RECORDS))
    begin = draw(st.integers(0, HORIZON - 2))
    end = draw(st.integers(begin + 1, HORIZON))
    return segment(
        record, draw(st.sampled_from(["1", "2"])), begin, end, person="bob" if record == "r3" else "ann",
        active_s=(end - begin) * draw(st.sampled_from([1.0, 1.0, 0.5])),
        n_interactions=draw(st.sampled_from([0, 0, 1])),
    )  # fmt: skip


@st.composite
def a_strike(draw: st.DrawFn) -> Row:
    record, reason = draw(st.sampled_from(RECORDS)), draw(st.sampled_from(REASONS))
    if draw(st.integers(0, 4)) == 0:
        return strike(reason, record, lesson_id="1", seconds=draw(st.sampled_from([0.4, 25.0, 300.0])))
    begin = draw(st.integers(0, HORIZON - 1))
    return strike(
        reason, record, begin, draw(st.integers(begin, HORIZON)), lesson_id=draw(st.sampled_from([None, None, "1"]))
    )


@settings(max_examples=150, deadline=None)
@given(
    segments=st.lists(a_segment(), max_size=8),
    strikes=st.lists(a_strike(), max_size=5),
    claimed=st.tuples(*[st.sampled_from([None, 0.0, 33.3, 90.0, 500.0])] * 3),
    cap=st.sampled_from([None, None, 20.0, 61.5]),
    night=st.booleans(),
)
def test_the_ledger_agrees_with_a_slow_count(
    segments: list[Row], strikes: list[Row], claimed: tuple[float | None, ...], cap: float | None, night: bool
) -> None:
    claims = [claim(r, c) for r, c in zip(RECORDS, claimed, strict=True)]
    limits = Limits(daily_cap_s=cap, closed_night=(time(23, 59), time(0, 1)) if night else None)
    ledger = keep(claims, segments, strikes, LESSONS, presence=True, limits=limits)
    expected = slow(milliseconds(segments, strikes, limits), claims)
    for record in RECORDS:
        found = {k: v for k, v in entry(ledger, record).items() if v and k not in {"claimed_s", "struck_s"}}
        assert found == expected[record]
