"""Packs are read strictly: each rule broken is refused, naming file and key."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from learnguard.detection.cases import load_cases
from learnguard.detection.lock import lock_problems, lock_text, read_lock, write_lock
from learnguard.detection.model import Detector
from learnguard.detection.overrides import in_force, load_overrides
from learnguard.detection.packs import bare_numbers, load_detector, load_packs
from learnguard.errors import PackError
from learnguard.schema import DETECTORS

TOML = """
title = { zh = "甲", en = "A" }
clause = "第一条"
strength = "proof"
severity = "high"
status = "stable"
version = 1
reads = ["segments"]
partition_by = "account"
false_positives = { zh = ["一"], en = ["one"] }
triage = { zh = ["一"], en = ["one"] }
[params.min_s]
value = 60
min = 10
max = 600
unit = "s"
why = { zh = "因为", en = "because" }
[lookalikes.pause]
zh = "暂停"
en = "a pause"
[explain]
zh = "{active_s|minutes} 分钟"
en = "{active_s|minutes} min"
"""
SQL = """
-- 99 numbers in comments are text
SELECT platform_id, account_id, record_id, course_id, started_at, ended_at, 1 AS score, active_s AS struck_s,
       [strike_time(lesson_id, started_at, ended_at)] AS strikes,
       {'active_s': active_s, 'examined': {'pause': {'found': FALSE}}} AS facts
FROM segments WHERE active_s >= $min_s AND account_id <> 'a 77'
"""

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(*, toml: str = TOML, sql: str = SQL, name: str = "long_segment") -> Path:
        folder = tmp_path / "packs" / "demo" / name
        folder.mkdir(parents=True)
        (folder / "detector.toml").write_text(toml, encoding="utf-8")
        (folder / "detector.sql").write_text(sql, encoding="utf-8")
        return folder

    return write


def test_a_detector_is_read_from_its_folder(make: Make) -> None:
    d = load_detector(make())
    assert (d.id, d.pack, d.version) == ("long_segment", "demo", 1)
    assert d.values() == {"min_s": 60}
    assert d.values({"min_s": 90}) == {"min_s": 90}
    assert d.bound == {"min_s"}
    assert d.title.text("zh") == "甲"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('clause = "第一条"\n', "", "lacks clause"),
        ("version = 1", "version = 1\nverison = 2", "not known: verison"),
        ('strength = "proof"', 'strength = "sure"', "key strength: must be one of proof, statistical"),
        ("version = 1", "version = 0", "key version"),
        ('reads = ["segments"]', 'reads = ["segmnets"]', "there is no table segmnets"),
        ('reads = ["segments"]', 'reads = ["attempts"]', "attempts cannot be split by learner"),
        ("value = 60", "value = 6", "value 6 is not within 10 to 600"),
        ("value = 60", "value = true", "key params.min_s.value: must be a number"),
        ('unit = "s"\n', "", "key params.min_s: lacks unit"),
        ('zh = "暂停"\n', "", "key lookalikes.pause: lacks zh"),
        ('en = ["one"] }\ntriage', 'en = ["one", "two"] }\ntriage', "same number of texts"),
    ],
)
def test_broken_metadata_is_refused(make: Make, old: str, new: str, says: str) -> None:
    assert old in TOML
    with pytest.raises(PackError, match=re.escape(says)) as caught:
        load_detector(make(toml=TOML.replace(old, new)))
    assert "demo/long_segment/detector.toml" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (SQL.replace("$min_s", "60"), "bare numbers (60)"),
        (SQL.replace("$min_s", "$min_z"), "does not give: min_z"),
        (SQL.replace("$min_s", "1"), "does not use the parameters min_s"),
        (SQL + "; SELECT 1", "exactly one SELECT"),
        ("DELETE FROM segments WHERE active_s > $min_s", "exactly one SELECT"),
    ],
)
def test_broken_sql_is_refused(make: Make, sql: str, says: str) -> None:
    with pytest.raises(PackError, match=re.escape(says)):
        load_detector(make(sql=sql))


def test_bare_numbers_ignores_comments_quotes_names_and_parameters() -> None:
    assert bare_numbers("SELECT 0, 1, $p2, t1.c2, '30', \"45\" -- 60\n/* 75 */") == []
    assert bare_numbers("SELECT 0.5, 30, 1e3, x2 + 10") == ["0.5", "30", "1e3", "10"]


def test_one_id_in_two_packs_is_refused(make: Make, tmp_path: Path) -> None:
    folder = make()
    other = tmp_path / "packs" / "other" / folder.name
    other.mkdir(parents=True)
    for name in ("detector.toml", "detector.sql"):
        (other / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(PackError, match="exists already in pack demo"):
        load_packs([tmp_path / "packs"])


def test_a_missing_folder_of_packs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="there is no folder of packs"):
        load_packs([tmp_path / "nowhere"])


def test_a_change_of_sql_or_default_changes_the_fingerprint(make: Make) -> None:
    base = load_detector(make()).fingerprint
    assert load_detector(make(name="b", toml=TOML.replace("value = 60", "value = 61"))).fingerprint != base
    assert load_detector(make(name="c", sql=SQL.replace(">=", ">"))).fingerprint != base
    assert load_detector(make(name="d", toml=TOML.replace("因为", "所以"))).fingerprint == base


def test_the_lock_wants_a_new_version_for_other_sql(make: Make, tmp_path: Path) -> None:
    lock = tmp_path / "lock.toml"
    folder = make()
    write_lock([load_detector(folder)], lock)
    (folder / "detector.sql").write_text(SQL.replace(">=", ">"), encoding="utf-8")
    changed = load_detector(folder)
    assert lock_problems([changed], read_lock(lock)) == [
        "long_segment changed its SQL or a default without a new version (still 1)"
    ]
    with pytest.raises(PackError, match="without a new version"):
        write_lock([changed], lock)
    (folder / "detector.toml").write_text(TOML.replace("version = 1", "version = 2"), encoding="utf-8")
    write_lock([load_detector(folder)], lock)
    assert read_lock(lock)["long_segment"][0] == 2


# The packs that are shipped --------------------------------------------------------------------------------------
SHIPPED = load_packs()


def test_shipped_packs_are_locked() -> None:
    assert lock_problems(SHIPPED, read_lock()) == []
    assert lock_text(SHIPPED) == (SHIPPED[0].folder.parents[1] / "lock.toml").read_text(encoding="utf-8")


def test_shipped_detectors_bear_the_contracts_names() -> None:
    assert {d.id for d in SHIPPED} <= set(DETECTORS)
    assert [d.id for d in SHIPPED] == [name for name in DETECTORS if name in {d.id for d in SHIPPED}]


@pytest.mark.parametrize("detector", SHIPPED, ids=lambda d: d.id)
def test_cases_show_found_silent_edges_and_lookalikes(detector: Detector) -> None:
    cases = load_cases(detector)
    assert any(c.expect for c in cases)
    assert any(not c.expect for c in cases)
    silent = {c.lookalike for c in cases if not c.expect}
    assert set(detector.lookalikes) <= silent, "each look-alike needs a silent case"
    for p in detector.params:
        outcomes = [c.expect for c in cases if c.edge == p.name]
        assert len(outcomes) >= 2, f"{p.name} needs a case on either side of its edge"
        assert any(a != b for a in outcomes for b in outcomes), f"{p.name}: both sides of the edge come out alike"


# A region's overrides ----------------------------------------------------------------------------------------------
OVERRIDE = """
[[override]]
detector = "long_segment"
param = "min_s"
value = 120
reason = "本地平台心跳为 60 秒"
approver = "省级主管部门"
expires = 2026-12-31
"""


def _overrides(make: Make, tmp_path: Path, text: str) -> tuple[Path, list[Detector]]:
    file = tmp_path / "hunan" / "overrides.toml"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    return file, [load_detector(make())]


def test_an_override_holds_until_its_day_of_expiry(make: Make, tmp_path: Path) -> None:
    file, detectors = _overrides(make, tmp_path, OVERRIDE)
    overrides = load_overrides(file, detectors)
    assert overrides[0].region == "hunan"
    assert in_force(overrides, run_date=date(2026, 12, 31)) == ({"long_segment": {"min_s": 120}}, ())
    values, warnings = in_force(overrides, run_date=date(2027, 1, 1))
    assert values == {}
    assert warnings == ("override of long_segment.min_s by hunan expired on 2026-12-31: the default is in force",)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("value = 120", "value = 5", "not within 10 to 600"),
        ("value = 120", "value = 90.5", "must be a whole number"),
        ('param = "min_s"', 'param = "max_s"', "has no parameter max_s"),
        ('detector = "long_segment"', 'detector = "short"', "there is no detector short"),
        ('approver = "省级主管部门"\n', "", "must have exactly the keys"),
        ('reason = "本地平台心跳为 60 秒"', 'reason = " "', "needs a reason"),
        ("expires = 2026-12-31", 'expires = "soon"', "expires must be a date"),
        ("[[override]]", "[[overide]]", "may only hold"),
    ],
)
def test_a_wrong_override_is_refused(make: Make, tmp_path: Path, old: str, new: str, says: str) -> None:
    file, detectors = _overrides(make, tmp_path, OVERRIDE.replace(old, new))
    with pytest.raises(PackError, match=re.escape(says)):
        load_overrides(file, detectors)


def test_two_overrides_of_one_parameter_are_refused(make: Make, tmp_path: Path) -> None:
    file, detectors = _overrides(make, tmp_path, OVERRIDE + OVERRIDE)
    with pytest.raises(PackError, match="overridden twice"):
        load_overrides(file, detectors)
