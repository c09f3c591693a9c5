"""``learnguard demo``: the main job on invented logs, from deliveries to reports."""

from __future__ import annotations

import shutil
import time
from datetime import timedelta
from pathlib import Path

from learnguard import pipeline
from learnguard.cli.screen import progress, say, say_json
from learnguard.errors import LearnGuardError
from learnguard.report import write_report
from learnguard.runs import open_run
from learnguard.settings import load_settings
from learnguard.simulate import write_world

_MARK = ".learnguard-demo"


def run_demo(out: Path, *, learners: int, days: int, seed: int, as_json: bool) -> None:
    """Write a made-up world to ``out``, ingest it day by day, run each day, and leave the last day's reports.

    ``out`` must be new, empty, or an earlier demo's folder: then the earlier demo is made anew.
    """
    if out.exists() and any(out.iterdir()):
        if not (out / _MARK).exists():
            raise LearnGuardError(f"{out} is not empty and holds no demo", hint="Name another folder with --out.")
        for earlier in (out / "world", out / "store"):
            shutil.rmtree(earlier, ignore_errors=True)
    started = time.monotonic()
    settings = load_settings(store=out / "store")
    with progress("demo", quiet=as_json) as step:
        out.mkdir(parents=True, exist_ok=True)
        (out / _MARK).write_text("All people and records here are invented.\n", encoding="utf-8")
        step("inventing logs", 0.0)
        world = write_world(out / "world", learners=learners, days=days, seed=seed)
        step("inventing logs", 1.0)
        for number in range(days):
            day = world.start + timedelta(days=number)
            for delivery in world.deliveries:
                if delivery.day == day:
                    pipeline.ingest(settings, delivery.path)
            outcome = pipeline.run(settings, day)
            step("ingest and run, day by day", (number + 1) / days)
        files = []
        with open_run(outcome.run) as con:
            for lang in ("zh", "en"):
                step("writing reports", 0.5)
                files += write_report(con, out / f"report-{lang}.html", format="html", lang=lang)
        step("writing reports", 1.0)
    injected = world.truth.select("platform_id", "record_id").n_unique()
    seconds = round(time.monotonic() - started, 1)
    if as_json:
        say_json(
            {
                "run_date": outcome.run.run_date, "records": outcome.records, "flagged": outcome.flagged,
                "withheld": outcome.withheld, "review": outcome.reviewed, "withheld_cny": outcome.withheld_cny,
                "records_injected": injected, "seconds": seconds, "reports": [str(f) for f in files],
            }
        )  # fmt: skip
        return
    say(
        f"Invented logs of {days} days, three platforms: {world.events:,} events and {world.sessions:,} study sessions."
    )
    say(f"Records assessed on {outcome.run.run_date}: {outcome.records:,}")
    say(
        f"Flagged: {outcome.flagged:,} ({outcome.withheld:,} withheld, {outcome.reviewed:,} to review); "
        f"something was injected into {injected:,}"
    )
    say(f"Yuan withheld until a person decides: {outcome.withheld_cny}")
    say(f"Seconds: {seconds}")
    for file in files:
        say(f"Report: {file}")
