"""How the report shows numbers, facts and bars, in both languages."""

from __future__ import annotations

import json
import re

import pytest

from learnguard.detection.cases import check_cases
from learnguard.detection.packs import load_packs
from learnguard.report.drawing import Legend, clock, day_label, lane_names, ledger_parts, shortened, timeline
from learnguard.report.model import Detail, Mark, Stretch
from learnguard.report.shown import Shown
from learnguard.report.words import fact_words, texts


def stretch(page: str, start_h: float, end_h: float, *, device: str = "pc", account: str = "a") -> Stretch:
    return Stretch(
        day="2026-03-05", account_id=account, device_id=device, page_id=page, lesson="L", start_s=start_h * 3600,
        end_s=end_h * 3600, active_s=None, is_hidden=None, rate=None, source="events", is_own=True,
    )  # fmt: skip


def drawn(*stretches: Stretch, marks: tuple[Mark, ...] = ()) -> str:
    legend = Legend("en", "label", {"idle_playback": "<idle>"}, "no device", "{n} more", has_accounts=False)
    return str(timeline(Detail((), stretches=stretches, marks=marks), legend))


def lines(svg: str) -> list[str]:
    return re.findall(r'<text class="tt"[^>]*>(.*?)</text>', svg)


def test_pages_share_a_line_until_they_play_at_once() -> None:
    assert lines(drawn(stretch("p1", 9, 10), stretch("p2", 10, 11))) == ["pc"]
    assert lines(drawn(stretch("p1", 9, 10), stretch("p2", 9.5, 11))) == ["pc", "pc (2)"]
    assert lines(drawn(stretch("p1", 9, 10), stretch("p1", 9.5, 11, device=""))) == ["no device", "pc"]


def test_lines_beyond_the_cap_are_counted_and_struck_ones_are_kept() -> None:
    many = [stretch(f"p{n}", 9, 10, device=f"d{n:02d}") for n in range(12)]
    struck = Mark(day="2026-03-05", lane=("a", "d11", "p11"), start_s=33000, end_s=34000, detector="idle_playback")
    svg = drawn(*many, marks=(struck,))
    assert lines(svg) == [*(f"d{n:02d}" for n in range(7)), "d11", "4 more"]
    assert "<title>&lt;idle&gt; 09:10–09:26</title>" in svg


def test_short_stretches_stay_visible_and_inside() -> None:
    svg = drawn(stretch("p", 9, 9.0001), stretch("q", 23, 24))
    xs = [float(x) for x in re.findall(r"M([\d.]+) [\d.]+h", svg)]
    widths = [float(w) for w in re.findall(r"h([\d.]+)v", svg)]
    assert min(widths) >= 1
    assert max(x + w for x, w in zip(xs, widths, strict=True)) <= 1000


def test_nothing_to_draw_draws_nothing() -> None:
    assert drawn() == ""


def test_lanes_name_the_account_only_where_it_differs() -> None:
    one, two = stretch("p", 9, 10), stretch("", 9, 10, device="", account="b")
    assert list(lane_names([one], unknown="?").values()) == ["pc · p"]
    assert list(lane_names([one, two], unknown="?").values()) == ["a · pc · p", "b · ?"]


def test_days_and_clocks() -> None:
    assert (day_label("2026-03-05", "zh"), day_label("2026-03-05", "en")) == ("3月5日 周四", "Thu 5 Mar")
    assert (clock(0), clock(33599), clock(86400)) == ("00:00", "09:19", "24:00")


def test_ledger_parts_fill_the_bar() -> None:
    parts = ledger_parts(60.0, {"idle_playback": 30.0, "policy_limit": 5.0}, 5.0)
    assert [p.key for p in parts] == ["credited", "idle_playback", "policy_limit", "unsupported"]
    assert [p.width for p in parts] == pytest.approx([60, 30, 5, 5])
    assert parts[-1].x + parts[-1].width == pytest.approx(100)
    assert sum(p.width for p in ledger_parts(0, {}, 0)) == 0


def test_long_names_lose_their_middle() -> None:
    assert shortened("device-0123456789-abcdef", 11) == "devic…bcdef"
    assert shortened("short", 5) == "short"


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [(0, "0 秒", "0 s"), (9.46, "9.5 秒", "9.5 s"), (59.6, "1 分", "1 min"), (5400, "1 小时 30 分", "1 h 30 min"),
     (7200, "2 小时", "2 h"), (-90, "-2 分", "-2 min"), (None, "—", "—")],
)  # fmt: skip
def test_durations_read_as_people_say_them(seconds: float | None, zh: str, en: str) -> None:
    assert (Shown("zh").duration(seconds), Shown("en").duration(seconds)) == (zh, en)


def test_facts_show_their_units_in_words() -> None:
    zh, en = Shown("zh"), Shown("en", "UTC")
    assert (zh.fact_label("overlap_s"), zh.fact("overlap_s", 5400)) == ("同时学习时长", "1 小时 30 分")
    assert (en.fact_label("hidden_share"), en.fact("hidden_share", 0.0421)) == ("Share hidden", "4.2%")
    assert zh.fact("first", "2026-03-01T01:50:00Z") == "2026-03-01 09:50"
    assert en.fact("first", "2026-03-01 01:50:00+00") == "2026-03-01 01:50"
    assert (zh.fact_label("struck_lessons"), zh.fact_label("quux_s")) == ("剔除课次", "quux_s")
    assert zh.fact("is_late", True) == "是"
    assert en.fact("devices", ["pc", "phone"]) == "pc, phone"
    assert en.share(0.9999999) == ">99.9%"
    assert en.share(0.0000001) == "<0.1%"


def test_both_languages_say_the_same_things() -> None:
    zh, en = texts("zh"), texts("en")
    for key in zh:
        assert zh[key]
        assert en[key]
        assert set(re.findall(r"\{\w+\}", zh[key])) == set(re.findall(r"\{\w+\}", en[key])), key


def test_every_fact_of_the_shipped_detectors_has_a_name_in_both_languages() -> None:
    names, choices = set(), set()
    for detector in load_packs():
        for found in (f for result in check_cases(detector) for f in result.found):
            facts = found["facts"]
            facts = json.loads(facts) if isinstance(facts, str) else facts
            names |= set(facts) - {"examined"} | {n for e in facts["examined"].values() for n in e if n != "found"}
            choices |= {f"variant.{facts['variant']}"} if "variant" in facts else set()
    assert len(names) > 20
    for lang in ("zh", "en"):
        known, said, _ = fact_words(lang)
        assert names - set(known) == set(), lang
        assert choices - set(said) == set(), lang
