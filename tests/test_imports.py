"""Imports run one way, heavy libraries stay where they belong, and importing does nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import learnguard

PACKAGE = Path(learnguard.__file__).parent
REPOSITORY = Path(__file__).parent.parent

#: From the ground up; a module may import what stands on a line above its own.
LEVELS = (
    ("schema", "errors"),
    ("settings", "sql", "policy"),
    ("sources", "store", "engines", "statistics", "condense", "scope", "runs"),
    ("detection", "hours", "scoring", "decisions"),
    ("publication", "opening"),
    ("pipeline",),
    ("public",),
    ("simulate", "report"),
    ("web",),
    ("cli",),
    ("__main__", "__init__"),
)
LEVEL = {stage: n for n, stages in enumerate(LEVELS) for stage in stages}
#: What may be imported only here (paths below the package).
ONLY_IN = {
    "fastapi": ("web/",),
    "starlette": ("web/",),
    "uvicorn": ("web/", "cli/"),
    "sklearn": ("scoring.py",),
    "pyspark": ("engines/spark.py",),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def stage_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that ``file`` imports, also inside functions and for type checkers only."""
    package = ["learnguard", *file.relative_to(PACKAGE).parent.parts] if file.is_relative_to(PACKAGE) else []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*up, node.module or ""]).strip(".")
            yield node.lineno, base
            if base == "learnguard":
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def test_every_stage_has_its_level() -> None:
    assert {stage_of(f) for f in FILES} <= set(LEVEL), "a new stage belongs on a line of LEVELS"


@pytest.mark.parametrize("stage", sorted({stage_of(f) for f in FILES}))
def test_imports_run_one_way(stage: str) -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line} imports {name}"
        for file in FILES
        if stage_of(file) == stage
        for line, name in imported(file)
        if name.startswith("learnguard.")
        and (other := name.split(".")[1]) != stage
        # what the package's own face offers (open_store …) is the level of public
        and LEVEL.get(other, LEVEL["public"]) >= LEVEL[stage]
    ]
    assert not wrong


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_heavy_libraries_stay_where_they_belong(library: str) -> None:
    files = [*FILES, *(f for f in sorted((REPOSITORY / "detectors").rglob("*.py")) if f.name != "model.py")]
    wrong = [
        f"{file}:{line}"
        for file in files
        for line, name in imported(file)
        if name.split(".")[0] == library and not str(file).removeprefix(f"{PACKAGE}/").startswith(ONLY_IN[library])
    ]
    assert not wrong


# Runs in a Python of its own: imports every module of the package, and tells what was opened outside the Python
# installation, connected to, or asked of the environment meanwhile.
_WATCH = """
import importlib, json, os, pkgutil, sys, sysconfig
package = sys.argv[1]
homes = [sys.prefix, sys.base_prefix, sys.exec_prefix, package, *sysconfig.get_paths().values()]
homes += [p for p in sys.path if p and not p.startswith(sys.argv[2])]
homes = tuple({os.path.realpath(h) for h in homes} | set(homes))
seen = []

def watch(event, args):
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        path = os.path.realpath(os.fsdecode(args[0]))
        # what the kernel tells of the machine: processors, memory
        if not path.startswith(homes) and not path.startswith(("/proc/", "/sys/", "/dev/")):
            seen.append([event, path])
    elif event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.mkdir", "os.rename"):
        seen.append([event, repr(args)])

def inside():
    return sys._getframe(2).f_code.co_filename.startswith(package)

class Environment(dict):
    def __getitem__(self, key):
        if inside(): seen.append(["environ", key])
        return dict.__getitem__(self, key)
    def get(self, key, default=None):
        if inside(): seen.append(["environ", key])
        return dict.get(self, key, default)
    def __contains__(self, key):
        if inside(): seen.append(["environ", key])
        return dict.__contains__(self, key)

os.environ = Environment(os.environ)
getenv = os.getenv
def asked(key, default=None):
    if inside(): seen.append(["environ", key])
    return getenv(key, default)
os.getenv = asked
sys.addaudithook(watch)
import learnguard
count = 0
for module in pkgutil.walk_packages([package], "learnguard."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        count += 1
for test in sys.argv[3:]:
    exec(test)
print(json.dumps([count, seen]))
"""


def watched(*then: str) -> tuple[int, list[list[str]]]:
    done = subprocess.run(
        [sys.executable, "-c", _WATCH, str(PACKAGE), str(REPOSITORY / "nowhere"), *then],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, seen = json.loads(done.stdout.splitlines()[-1])
    return count, seen


def test_importing_touches_no_file_no_socket_and_no_environment() -> None:
    count, seen = watched()
    assert count > 20
    assert seen == []


def test_the_watch_sees_what_it_is_there_to_see(tmp_path: Path) -> None:
    file = tmp_path / "seen.txt"
    file.write_text("x", encoding="utf-8")
    reads = f"open({str(file)!r}).close()"
    inside = "import os; os.environ.get('LEARNGUARD_X'); os.getenv('LEARNGUARD_Y')"
    asks = f"exec(compile({inside!r}, package + '/x.py', 'exec'))"
    _, seen = watched(reads, asks, "import socket; socket.socket().connect_ex(('127.0.0.1', 9))")
    assert [s[0] for s in seen] == ["open", "environ", "environ", "socket.connect"]
