"""``make bench``: how long the main job takes on ten million heartbeats, beside what the same bytes cost bare.

Every figure is a process of its own: wall seconds from start to exit, and the peak memory the kernel saw. The bare
scan and the bare sorted copy are DuckDB alone over the same Parquet files, in the same run, on the same threads.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

#: The day that is invented.
DAY: Final = date(2026, 3, 2)
_INVENT: Final = """
import sys
from pathlib import Path
from learnguard.simulate.benchmark import heartbeat_day
heartbeat_day(Path(sys.argv[1]), events=int(sys.argv[2]), threads=int(sys.argv[3]))
"""
_SCAN: Final = """
import sys, duckdb
con = duckdb.connect(config={"threads": int(sys.argv[1])})
con.execute("SET TimeZone = 'UTC'")
con.execute("CREATE TABLE most AS SELECT max(COLUMNS(*)) FROM read_parquet($files)", {"files": sys.argv[2:]})
"""
_SORTED: Final = """
import sys, duckdb
spill = sys.argv[3] + ".spill"
con = duckdb.connect(config={"threads": int(sys.argv[1]), "memory_limit": sys.argv[2], "temp_directory": spill})
con.execute("CREATE VIEW rows AS FROM read_parquet([" + ", ".join("'" + f + "'" for f in sys.argv[4:]) + "])")
con.execute("COPY (FROM rows ORDER BY account_id, ts) TO '" + sys.argv[3] + "' (FORMAT parquet, COMPRESSION zstd)")
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured process: its wall seconds and peak resident memory in bytes."""

    name: str
    seconds: float
    peak_bytes: int


def timed(name: str, command: list[str], *, env: dict[str, str] | None = None) -> Figure:
    """Run ``command`` to its end. Raises RuntimeError, with what it said, when it fails."""
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"learnguard-bench-{os.getpid()}.log"  # noqa: S108 - removed below
    started = time.perf_counter()
    with log.open("wb") as out:
        files = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, out.fileno(), 2)]
        pid = os.posix_spawn(command[0], command, {**os.environ, **(env or {})}, file_actions=files)
        _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - started
    said = log.read_text(encoding="utf-8", errors="replace")
    log.unlink()
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"{name} failed:\n{said}")
    return Figure(name, seconds, usage.ru_maxrss * 1024)


def measure(out: Path, *, events: int, threads: int, memory_limit: str) -> list[Figure]:
    """Make the day under ``out`` (once) and measure each step; the fastest of three bare scans counts."""
    python = sys.executable
    world = out / "world"
    shutil.rmtree(world, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    # In a process of its own: a child's peak memory, as the kernel counts it, begins at its parent's.
    timed("inventing the day", [python, "-c", _INVENT, str(world), str(events), str(threads)])
    paths = [str(p) for p in sorted((world / "deliveries").glob("*/*"))]
    files = sorted(str(p) for p in world.glob("deliveries/*/*/events*.parquet"))
    scans = [timed("bare scan of all columns", [python, "-c", _SCAN, str(threads), *files]) for _ in range(3)]
    figures = [min(scans, key=lambda f: f.seconds)]
    copy = out / "sorted.parquet"
    figures.append(timed("bare sorted copy", [python, "-c", _SORTED, str(threads), memory_limit, str(copy), *files]))
    copy.unlink()
    store = out / "store"
    shutil.rmtree(store, ignore_errors=True)
    learnguard = [python, "-m", "learnguard"]
    env = {
        "LEARNGUARD_STORE": str(store),
        "LEARNGUARD_THREADS": str(threads),
        "LEARNGUARD_MEMORY_LIMIT": memory_limit,
    }
    run_date = DAY.isoformat()
    figures.append(timed("ingest", [*learnguard, "ingest", *paths], env=env))
    figures.append(timed("run", [*learnguard, "run", "--date", run_date], env=env))
    shutil.rmtree(store / "condensed")
    figures.append(timed("run, condensing anew", [*learnguard, "run", "--date", run_date], env=env))
    report = str(out / "report.html")
    figures.append(timed("report (HTML)", [*learnguard, "report", "--date", run_date, "--out", report], env=env))
    return figures


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table, with ratios to the bare scan and the bare sorted copy."""
    scan, copy = figures[0].seconds, figures[1].seconds
    lines = [
        "| step | seconds | × bare scan | × bare sorted copy | peak memory |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {f.name} | {f.seconds:.1f} | {f.seconds / scan:.1f} | {f.seconds / copy:.2f} "
        f"| {f.peak_bytes / 1e9:.2f} GB |"
        for f in figures
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory-limit", default="2GB")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.out, events=given.events, threads=given.threads, memory_limit=given.memory_limit)
    if given.json:
        print(json.dumps([{"step": f.name, "seconds": f.seconds, "peak_bytes": f.peak_bytes} for f in figures]))
    else:
        print(table(figures))


if __name__ == "__main__":
    main()
