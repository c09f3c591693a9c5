"""The docs tell the truth: their commands run, their generated parts are current, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from learnguard.detection.packs import load_packs

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(language: str) -> list[str]:
    return [b for page in PAGES for b in re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]


def _commands() -> list[str]:
    return [line for block in _blocks("sh") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which a small demo has been run, as the README does first."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "learnguard", "demo", "--out", "demo", "--learners", "60", "--days", "2"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def test_the_readme_has_commands() -> None:
    assert "make demo" in _commands()
    assert sum(c.startswith("learnguard ") for c in _commands()) >= 8


def test_every_make_target_of_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {t for page in PAGES for t in re.findall(r"\bmake ([a-z][a-z0-9-]+)`", page.read_text("utf-8"))}
    named |= {c.split()[1] for c in _commands() if c.startswith("make ")}
    assert named
    assert named <= targets


@pytest.mark.parametrize("command", [c for c in dict.fromkeys(_commands()) if c.startswith("learnguard ")])
def test_commands_of_the_docs_run(command: str, demo_folder: Path) -> None:
    words = shlex.split(command)
    if words[1] == "demo":
        words += ["--learners", "60", "--days", "2"]
    done = subprocess.run([sys.executable, "-m", *words], cwd=demo_folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_python_of_the_docs_runs(demo_folder: Path) -> None:
    blocks = _blocks("python")
    assert blocks
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=demo_folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_relative_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_readme_names_every_detector_with_its_title() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for detector in load_packs():
        assert f"| `{detector.id}` | {detector.title.zh} | {detector.title.en} |" in text


def test_every_command_has_help_with_an_example() -> None:
    listed = subprocess.run([sys.executable, "-m", "learnguard", "--help"], capture_output=True, text=True, check=True)
    names = re.findall(r"^  ([a-z]+) ", listed.stdout.split("Commands:")[1], re.MULTILINE)
    assert len(names) >= 9
    for name in names:
        helped = subprocess.run(
            [sys.executable, "-m", "learnguard", name, "--help"], capture_output=True, text=True, check=True
        )
        assert "Example:" in helped.stdout or name == "detectors", name
    for name in ("list", "show", "test", "catalogue"):
        helped = subprocess.run(
            [sys.executable, "-m", "learnguard", "detectors", name, "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Example:" in helped.stdout, name
