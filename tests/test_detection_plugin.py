"""The pytest plugin: cases become tests, wrong ones fail with what was found, each file is collected once."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from learnguard.detection.cases import check_cases, load_cases
from learnguard.detection.packs import load_detector, load_packs
from learnguard.errors import PackError

SOURCE = next(d for d in load_packs() if d.id == "unregistered_trainee").folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "packs" / "demo" / "unregistered_trainee"
    copy.mkdir(parents=True)
    for name in ("detector.toml", "detector.sql", "cases.toml"):
        (copy / name).write_bytes((SOURCE / name).read_bytes())
    return copy


def _pytest(folder: Path, *arguments: str) -> str:
    installed = any(e.name == "learnguard_cases" for e in entry_points(group="pytest11"))
    plugin = () if installed else ("-p", "learnguard.detection.plugin")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *arguments, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder).stdout


def test_each_case_is_one_test(folder: Path) -> None:
    number = len(load_cases(load_detector(folder)))
    assert f"{number} tests collected" in _pytest(folder.parents[1], "--collect-only")


def test_a_wrong_case_fails_and_says_what_was_found(folder: Path) -> None:
    cases = folder / "cases.toml"
    text = cases.read_text(encoding="utf-8")
    cases.write_text(text.replace('variant = "absent"', 'variant = "late"'), encoding="utf-8")
    out = _pytest(folder.parents[1])
    assert "1 failed, " in out
    assert "no finding like" in out
    assert "'variant': 'absent'" in out
    assert "Traceback" not in out


def test_a_finding_nobody_expected_fails(folder: Path) -> None:
    cases = folder / "cases.toml"
    text = cases.read_text(encoding="utf-8")
    cases.write_text(text.replace('registry = [ { learner_id = "x", registered_at = 2026-01-01T00:00:00Z } ]',
                                  'registry = [ { learner_id = "z" } ]'), encoding="utf-8")  # fmt: skip
    failed = [r for r in check_cases(load_detector(folder)) if not r.passed]
    assert [r.case.name for r in failed] == ["learner was registered before"]
    assert failed[0].problems[0].startswith("finding not expected")


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ('name = "x"', "needs a name and a list expect"),
        ('name = "x"\nexpect = []\nclams = []', "keys clams are not known"),
        ('name = "x"\nexpect = []\nedge = "speed"', "edge or lookalike is not known"),
        ('name = "x"\nexpect = []\nparams = { speed = 1 }', "speed = 1 is no permitted parameter"),
        ('name = "x"\nexpect = []\nclaims = [ { acount_id = "a" } ]', "claims has no column acount_id"),
        ('name = "x"\nexpect = []\nclaims = [ { completed_at = 2026-03-01T09:00:00 } ]', "needs an offset"),
        ('name = "x"\nexpect = []\n[[case]]\nname = "x"\nexpect = []', "two cases of one name"),
    ],
)
def test_a_broken_case_is_refused(folder: Path, case: str, says: str) -> None:
    (folder / "cases.toml").write_text(f"[[case]]\n{case}\n", encoding="utf-8")
    with pytest.raises(PackError, match=says):
        check_cases(load_detector(folder))
