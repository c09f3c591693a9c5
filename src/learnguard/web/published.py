"""Reading published runs. Every call opens its own read-only connection and closes it: nothing is held or shared."""

from __future__ import annotations

import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import IO, Any, Final

import duckdb

from learnguard.report import render_html, render_record, write_report
from learnguard.report.rows import fetch
from learnguard.report.words import Lang
from learnguard.runs import PublishedRun, attach_runs, latest_runs, open_run
from learnguard.schema import RESULTS
from learnguard.web.answers import STATEMENT_RECORD, json_row
from learnguard.web.problems import Problem

CACHED_PAGES: Final = 8
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_CHUNK: Final = 1 << 18

_DECISIONS: Final = """
SELECT * FROM decisions WHERE record_id = $record AND ($platform IS NULL OR platform_id = $platform)
ORDER BY run_date DESC, platform_id
"""
_FINDINGS: Final = """
SELECT * FROM findings WHERE run_date = $date AND record_id = $record AND platform_id = $platform
ORDER BY (strength = 'proof') DESC, score DESC NULLS LAST, finding_id
"""
_STRIKES: Final = """
SELECT * FROM strikes WHERE run_date = $date AND record_id = $record AND platform_id = $platform
ORDER BY started_at NULLS LAST, lesson_id, finding_id
"""


def no_run_yet() -> Problem:
    """Nothing has been published at all."""
    return Problem(
        "no-run", "还没有发布过任何结果：请先导入数据并运行核查。", "No run has been published: ingest and run first."
    )


def run_on(store: Path, day: str) -> PublishedRun:
    """The valid run of ``day`` (ISO date, or ``latest``). Raises Problem: 422 for another word, 404 for no run."""
    runs = latest_runs(store)
    if day == "latest":
        if not runs:
            raise no_run_yet()
        return runs[-1]
    try:
        wanted = date.fromisoformat(day) if _DATE.fullmatch(day) else None
    except ValueError:
        wanted = None
    if wanted is None:
        raise Problem("wrong-shape", "日期请写成 2026-03-02，或 latest。", "Write the date as 2026-03-02, or latest.")
    found = next((r for r in runs if r.run_date == wanted), None)
    if found is not None:
        return found
    if not runs:
        raise no_run_yet()
    there = ", ".join(r.run_date.isoformat() for r in runs[-5:])
    raise Problem(
        "no-run",
        f"{wanted} 没有发布过结果。最近有：{there}。",
        f"No run of {wanted} is published. The latest: {there}.",
    )


class ReportPages:
    """Report pages by run and language, made once each: a published run never changes. Holds the last few."""

    def __init__(self, size: int = CACHED_PAGES) -> None:
        self._size = size
        self._pages: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._held = threading.Lock()
        self._making = threading.Lock()

    def page(self, run: PublishedRun, lang: Lang) -> bytes:
        """The page of ``run`` in ``lang``, as UTF-8."""
        stat = run.path.stat()
        key = (run.path, stat.st_ino, stat.st_mtime_ns, lang)
        found = self._find(key)
        if found is not None:
            return found
        # One at a time: many readers who come at once wait for one page to be made, not for many.
        with self._making:
            found = self._find(key)
            if found is None:
                with open_run(run) as con:
                    found = render_html(con, lang).encode()
                self._keep(key, found)
            return found

    def _find(self, key: tuple[object, ...]) -> bytes | None:
        with self._held:
            page = self._pages.get(key)
            if page is not None:
                self._pages.move_to_end(key)
            return page

    def _keep(self, key: tuple[object, ...], page: bytes) -> None:
        with self._held:
            self._pages[key] = page
            while len(self._pages) > self._size:
                self._pages.popitem(last=False)


def report_json(run: PublishedRun, lang: Lang) -> tuple[int, Iterator[bytes]]:
    """The report of ``run`` as the JSON that the command line writes: its size in bytes, and its chunks."""
    with tempfile.TemporaryDirectory(prefix="learnguard-report-") as folder, open_run(run) as con:
        (file,) = write_report(con, Path(folder) / "report.json", format="json", lang=lang)
        # The open handle outlives the folder: nothing stays behind, however the reader leaves.
        handle = file.open("rb")
    size = handle.seek(0, 2)
    handle.seek(0)
    return size, _chunks(handle)


def _chunks(handle: IO[bytes]) -> Iterator[bytes]:
    with handle:
        while chunk := handle.read(_CHUNK):
            yield chunk


@contextmanager
def _all_runs(runs: list[PublishedRun]) -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect(config={"threads": 1})
    try:
        con.execute("SET TimeZone = 'UTC'")
        attach_runs(con, runs, ("decisions", "findings", "strikes"))
        yield con
    finally:
        con.close()


def record_answer(store: Path, record_id: str, platform_id: str | None) -> dict[str, Any]:
    """What the latest run that assessed a record says of it, and what earlier ones decided.

    Raises Problem 404 where no run did, 409 where several platforms have the id and none is named.
    """
    runs = latest_runs(store)
    if not runs:
        raise no_run_yet()
    versions = {r.run_date: r.version for r in runs}
    with _all_runs(runs) as con:
        decisions = fetch(con, _DECISIONS, {"record": record_id, "platform": platform_id})
        platform = _one_platform(decisions, record_id)
        last = decisions[0]
        earlier = decisions[1:] + _before_the_claim(con, last)
        asked = {"date": last["run_date"], "record": record_id, "platform": platform}
        findings = fetch(con, _FINDINGS, asked)
        strikes = fetch(con, _STRIKES, asked)
    return STATEMENT_RECORD | {
        "platform_id": platform,
        "record_id": record_id,
        "latest": _said(last, versions)
        | {
            "findings": [json_row(r, RESULTS["findings"]) for r in findings],
            "strikes": [json_row(r, RESULTS["strikes"]) for r in strikes],
        },
        "history": [_said(d, versions) for d in sorted(earlier, key=lambda d: d["run_date"], reverse=True)],
    }


def _before_the_claim(con: duckdb.DuckDBPyConnection, last: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Decisions from when no claim had arrived, and account and course were the record's id."""
    pair = f"{last['account_id']}/{last['course_id']}"
    if pair == last["record_id"]:
        return []
    rows = fetch(con, _DECISIONS, {"record": pair, "platform": last["platform_id"]})
    return [r for r in rows if r["run_date"] < last["run_date"]]


def _said(decision: Mapping[str, Any], versions: Mapping[date, int]) -> dict[str, Any]:
    on = decision["run_date"]
    return {"run_date": on, "run_version": versions[on], "decision": json_row(decision, RESULTS["decisions"])}


def _one_platform(decisions: list[dict[str, Any]], record_id: str) -> str:
    platforms = sorted({d["platform_id"] for d in decisions})
    if not platforms:
        raise Problem(
            "no-record",
            f"已发布的结果中没有记录 {record_id}。",
            f"No published run holds the record {record_id}.",
        )
    if len(platforms) > 1:
        names = ", ".join(platforms)
        raise Problem(
            "several-platforms",
            f"请用参数 platform_id 指明平台：{names}。",
            f"Name the platform with platform_id: {names}.",
        )
    return str(platforms[0])


def record_page(store: Path, record_id: str, platform_id: str | None, lang: Lang) -> str:
    """The case page of a record, from the latest run that assessed it. Raises Problem as :func:`record_answer` does."""
    runs = latest_runs(store)
    if not runs:
        raise no_run_yet()
    with _all_runs(runs) as con:
        decisions = fetch(con, _DECISIONS, {"record": record_id, "platform": platform_id})
    platform = _one_platform(decisions, record_id)
    run = next(r for r in runs if r.run_date == decisions[0]["run_date"])
    with open_run(run) as con:
        return render_record(con, platform, record_id, lang=lang)
