"""The report as data and as a page: figures that add up, words that accuse nobody, HTML that stands alone."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections import Counter
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest

from learnguard.errors import ReportError
from learnguard.report import content_security_policy, load_report, render_html, render_record
from learnguard.report.model import ReportData
from learnguard.report.sample import build_sample, create_tables
from learnguard.report.words import LANGS, Lang, texts
from learnguard.runs import run_of

VOID = {"meta", "br", "input", "link", "hr", "img"}


class Page(HTMLParser):
    """Checks nesting while reading; keeps elements with their attributes and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.captions: list[bool] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.captions.append(False)
        if tag == "caption":
            self.captions[-1] = True
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    build_sample(con, records=400, flags=42)
    return con


@pytest.fixture(scope="module")
def data(con: duckdb.DuckDBPyConnection) -> ReportData:
    return load_report(con, lang="zh")


@pytest.fixture(scope="module", params=LANGS)
def page(con: duckdb.DuckDBPyConnection, request: pytest.FixtureRequest) -> str:
    lang: Lang = request.param
    return render_html(con, lang)


def empty() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET TimeZone='UTC'")
    create_tables(con)
    con.execute("INSERT INTO run VALUES ('run_date', '2026-03-16'), ('timezone', 'Asia/Shanghai')")
    return con


def test_figures_are_the_sums_of_the_decisions(con: duckdb.DuckDBPyConnection, data: ReportData) -> None:
    f = data.figures
    row = con.execute(
        "SELECT count(*), count(*) FILTER (WHERE decision = 'withhold'), count(*) FILTER (WHERE decision = 'review'),"
        " sum(withheld_cny), sum(claimed_s), sum(credited_s) FROM decisions"
    ).fetchone()
    assert row == (f.records, f.withhold, f.review, f.withheld_cny, f.claimed_s, f.credited_s)
    assert f.flagged == 42 == len(data.flags)
    assert f.claimed_s == f.credited_s + sum(f.struck.values()) + f.unsupported_s
    assert f.struck_s == sum(f.struck.values())
    assert sum(g.records for g in data.platforms) == f.records
    assert sum((g.withheld_cny for g in data.institutions), Decimal(0)) == f.withheld_cny


def test_strongest_and_dearest_flags_come_first(data: ReportData) -> None:
    keys = [(f.decision != "withhold", not f.has_proof, -f.withheld_cny, -(f.risk or 0)) for f in data.flags]
    assert keys == sorted(keys)
    assert data.flags[0].decision == "withhold"
    assert data.flags[-1].decision == "review"


def test_each_flag_names_its_grounds(data: ReportData) -> None:
    for flag in data.flags:
        found = data.details[flag.key].findings
        assert [f.detector for f in found] == list(flag.reasons)
        assert flag.sentence == found[0].explanation
        assert "examined" not in found[0].facts
        assert found[0].examined["late_upload"] == {"found": True}


def test_gaps_say_what_was_missing_and_where(data: ReportData) -> None:
    gap = next(g for g in data.gaps if g.detector == "background_playback")
    assert (gap.missing, gap.platforms) == ("visible", ("demo-3",))
    assert gap.records == next(g.records for g in data.platforms if g.id == "demo-3")


def test_a_strike_past_midnight_is_drawn_on_both_days(data: ReportData) -> None:
    flag = next(f for f in data.flags if f.reasons[0] == "idle_playback")
    marks = [m for m in data.details[flag.key].marks if m.detector == "idle_playback"]
    # 23:10 to 01:30 on two nights: 50 minutes before midnight, 90 after.
    assert [(m.day, m.end_s - m.start_s) for m in marks] == [
        ("2026-03-07", 3000), ("2026-03-08", 5400), ("2026-03-11", 3000), ("2026-03-12", 5400),
    ]  # fmt: skip


def test_both_devices_are_marked_where_they_overlap(data: ReportData) -> None:
    flag = next(f for f in data.flags if f.reasons == ("concurrent_sessions",))
    day = [m for m in data.details[flag.key].marks if m.day == "2026-03-05"]
    assert {m.lane[1].split("-")[0] for m in day} == {"pc", "ph"}
    assert {m.start_s for m in day} == {(9 * 60 + 20) * 60}


def test_only_days_with_strikes_and_their_neighbours_are_drawn(data: ReportData) -> None:
    flag = next(f for f in data.flags if f.reasons == ("background_playback",))
    detail = data.details[flag.key]
    assert {s.day[-2:] for s in detail.stretches} == {"03", "04", "05", "07", "08", "09"}
    assert detail.strike_days == 2


def test_record_rules_have_no_timeline(data: ReportData) -> None:
    flag = next(f for f in data.flags if f.reasons == ("unregistered_trainee",))
    assert data.details[flag.key].stretches == ()


def test_other_records_of_the_learner_stand_apart() -> None:
    con = duckdb.connect()
    build_sample(con, records=14, flags=14)
    con.execute("UPDATE decisions SET learner_id = 'one' WHERE record_id IN ('R-000000', 'R-000003')")
    detail = load_report(con, lang="en", only=("demo-1", "R-000000")).details[("demo-1", "R-000000")]
    owners = {(s.account_id, s.is_own) for s in detail.stretches}
    assert owners == {("acc-0", True), ("acc-3", False)}
    assert {m.lane[0] for m in detail.marks} == {"acc-0"}


def test_page_is_well_formed_and_accessible(page: str) -> None:
    read = Page(page)
    assert all(read.captions)
    assert all(a.get("scope") in {"col", "row"} for tag, a in read.elements if tag == "th")
    ids = Counter(a["id"] for _, a in read.elements if "id" in a)
    assert ids.most_common(1)[0][1] == 1
    targets = {(a.get("href") or "")[1:] for tag, a in read.elements if tag == "a"}
    assert targets <= set(ids)
    assert all(a.get("aria-label") or a.get("aria-hidden") for tag, a in read.elements if tag == "svg")
    labelled = [a for tag, a in read.elements if tag in {"select", "input"}]
    assert len(labelled) == 5
    assert page.count("<label") == 5


def test_page_needs_nothing_from_outside(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"\b(eval|Function|innerHTML|document\.write|fetch|XMLHttpRequest|import)\b\s*\(", page)
    assert not re.search(r"<[^>]+\s(style|on\w+)=", page)
    assert not re.search(r"<(img|link|iframe|object)\b|@import", page)


def test_the_policy_lets_in_only_the_pages_own_style_and_script(page: str) -> None:
    policy = content_security_policy()
    assert policy in page.replace("&#39;", "'")
    for tag in ("style", "script"):
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(bodies) == 1
        digest = base64.b64encode(hashlib.sha256(bodies[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_page_reads_without_scripts(page: str, data: ReportData) -> None:
    text = "".join(Page(page).text)
    for flag in data.flags:
        assert flag.record_id in text
        assert f"{flag.withheld_cny:,.2f}" in text


def test_no_word_accuses(page: str) -> None:
    assert not re.search("fr[a]ud|che[a]t|guilt[y]|作弊|骗|有罪|违规者", page.lower())


def test_what_people_typed_cannot_become_markup() -> None:
    con = duckdb.connect()
    build_sample(con, records=14, flags=14)
    evil = "</td></script><script>x()</script>&\"'{{7*7}}{}"
    con.execute("UPDATE decisions SET institution_id = $e, class_id = $e, course_id = $e, note_zh = $e", {"e": evil})
    con.execute("UPDATE people SET name_masked = $e, id_masked = $e, course_title = $e", {"e": evil})
    con.execute("UPDATE findings SET explanation_zh = $e, clause = $e, facts = $f", {"e": evil, "f": '{"<b>": "<i>"}'})
    con.execute("UPDATE timeline SET device_id = $e, page_id = $e, lesson_title = $e, source = $e", {"e": evil})
    con.execute("UPDATE detectors SET title_zh = $e, params = $p", {"e": evil, "p": '{"<u>": "<s>"}'})
    con.execute("UPDATE not_assessed SET missing = $e", {"e": evil})
    page = render_html(con, "zh")
    read = Page(page)
    assert sum(tag == "script" for tag, _ in read.elements) == 1
    assert "x()" not in page.replace("x()&lt;/script&gt;", "")
    assert "49" not in "".join(t for t in read.text if "7*7" in t)
    assert not {tag for tag, _ in read.elements} & {"b", "i", "u", "s"}


def test_a_run_without_records_still_makes_a_page() -> None:
    con = empty()
    for lang in LANGS:
        page = render_html(con, lang)
        Page(page)
        assert texts(lang)["no_flags"] in page
        assert texts(lang)["gaps_none"] in page
    assert load_report(con, lang="zh").figures.credited_share is None


def test_nulls_are_shown_as_not_known() -> None:
    con = empty()
    con.execute(
        "INSERT INTO decisions BY NAME SELECT DATE '2026-03-16' AS run_date, 'p' AS platform_id, 'r' AS record_id,"
        " 'review' AS decision, 60 AS credited_s"
    )
    con.execute("INSERT INTO findings BY NAME SELECT 'p' AS platform_id, 'r' AS record_id, 'new_rule' AS detector")
    page = render_html(con, "en")
    Page(page)
    assert "No hours claimed" in page
    assert "new_rule" in page


def test_one_record_has_a_page_of_its_own_flagged_or_not(con: duckdb.DuckDBPyConnection) -> None:
    flagged, clear = (render_record(con, "demo-1", r, lang="zh") for r in ("R-000000", "R-000300"))
    Page(flagged)
    Page(clear)
    assert texts("zh")["next_withhold"] in flagged
    assert texts("zh")["next_clear"] in clear
    with pytest.raises(ReportError, match="no record R-000001"):
        render_record(con, "demo-1", "R-000001", lang="zh")


def test_flags_beyond_the_limit_keep_their_sentence(con: duckdb.DuckDBPyConnection) -> None:
    page = render_html(con, "zh", detail_limit=5)
    assert page.count('<td colspan="7"><details>') == 5
    assert page.count('<tr class="more">') == 42
    assert texts("zh")["no_detail"].format(n=5) in page


def test_re_runs_say_what_changed(page: str) -> None:
    assert 'id="changes"' in page
    assert "第 1 版" in page or "version 1" in page


def test_the_same_run_gives_the_same_bytes(con: duckdb.DuckDBPyConnection, page: str) -> None:
    assert page in {render_html(con, lang) for lang in LANGS}


def test_a_read_only_database_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "run.duckdb"
    with duckdb.connect(str(file)) as con:
        build_sample(con, records=30, flags=7)
    with duckdb.connect(str(file), read_only=True) as con:
        assert "虚构机构" in render_html(con, "zh")


def test_what_is_not_a_run_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ReportError, match="no table findings"):
        load_report(duckdb.connect(), lang="zh")
    with pytest.raises(ReportError, match="language 'fr'"):
        load_report(con, lang="fr")  # type: ignore[arg-type]  # what a caller without types may pass
    broken = empty()
    broken.execute("UPDATE run SET value = 'Mars/Olympus' WHERE key = 'timezone'")
    with pytest.raises(ReportError, match="Mars/Olympus"):
        load_report(broken, lang="zh")
    broken.execute("ALTER TABLE decisions DROP COLUMN struck")
    broken.execute("UPDATE run SET value = 'UTC' WHERE key = 'timezone'")
    with pytest.raises(ReportError, match="cannot be read"):
        load_report(broken, lang="zh")


def test_a_real_run_makes_a_page(small_store: Path) -> None:
    with duckdb.connect(str(run_of(small_store, None).path), read_only=True) as con:
        con.execute("SET TimeZone='UTC'")
        data = load_report(con, lang="zh")
        page = render_html(con, "zh")
    Page(page)
    assert data.flags
    for flag in data.flags:
        assert flag.sentence in page.replace("&#39;", "'").replace("&#34;", '"')
        assert not any("examined" in f.facts for f in data.details[flag.key].findings)


def _luminance(colour: str) -> float:
    full = colour if len(colour) == 7 else "#" + "".join(c * 2 for c in colour[1:])
    parts = [int(full[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_their_ground(page: str, theme: int) -> None:
    blocks = re.findall(r":root\{(.*?)\}", page, re.DOTALL)
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]+)", blocks[theme]))
    for text in ("ink", "dim", "link", "hold", "look", "ok"):
        for ground in ("paper", "sheet", "tint"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for text, ground in (("hold", "holdbg"), ("look", "lookbg"), ("ok", "okbg")):
        assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for mark in ("front", "un", "other", *(f"k{n}" for n in range(8))):
        assert _contrast(colours[mark], colours["sheet"]) >= 3, mark


def test_five_thousand_flags_take_seconds() -> None:
    con = duckdb.connect()
    build_sample(con, records=20_000, flags=5_000)
    started = time.perf_counter()
    page = render_html(con, "zh")
    assert time.perf_counter() - started < 10
    assert len(page.encode()) < 16_000_000
    assert page.count('<tr class="more">') == 5_000
