"""Rows of the ledger's tables, a few seconds long, for tests of the hour ledger."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from learnguard.hours import Ledger, Limits, keep_ledger
from learnguard.schema import CONDENSED, RESULTS, Table

#: Four minutes around midnight in Asia/Shanghai.
START = datetime(2026, 3, 1, 15, 58, tzinfo=UTC)
HORIZON = 240
KINDS: dict[str, Any] = {
    "text": pl.String, "time": pl.Datetime("us", "UTC"), "number": pl.Float64, "integer": pl.Int64,
    "boolean": pl.Boolean, "money": pl.Decimal(14, 2), "json": pl.String, "date": pl.Date,
}  # fmt: skip
Row = dict[str, Any]


def frame(table: Table, rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={c.name: KINDS[c.kind] for c in table.columns})


def segment(
    record: str | None,
    lesson: str | None,
    begin: float,
    end: float,
    *,
    platform: str = "p",
    person: str | None = "ann",
    **more: Any,
) -> Row:
    return {
        "platform_id": platform, "record_id": record, "account_id": f"{platform}-{person}", "learner_id": person,
        "course_id": more.pop("course_id", f"course-{record}"), "lesson_id": lesson, "terminal": "pc",
        "started_at": START + timedelta(seconds=begin), "ended_at": START + timedelta(seconds=end),
        "active_s": more.pop("active_s", float(end - begin)), "n_interactions": 0, "n_passed": 0,
        "day": date(2026, 3, 1), **more,
    }  # fmt: skip


def claim(record: str, claimed_s: float | None, **more: Any) -> Row:
    return {"platform_id": "p", "record_id": record, "course_id": f"course-{record}", "claimed_s": claimed_s, **more}


def strike(detector: str, record: str, begin: float | None = None, end: float | None = None, **more: Any) -> Row:
    at = {} if begin is None or end is None else {
        "started_at": START + timedelta(seconds=begin), "ended_at": START + timedelta(seconds=end),
    }  # fmt: skip
    return {"platform_id": "p", "record_id": record, "detector": detector, **at, **more}


def lesson(record: str, lesson_id: str, duration_s: float | None, kind: str = "video") -> Row:
    return {
        "platform_id": "p",
        "course_id": f"course-{record}",
        "lesson_id": lesson_id,
        "kind": kind,
        "duration_s": duration_s,
    }


LESSON = {
    "platform_id": pl.String,
    "course_id": pl.String,
    "lesson_id": pl.String,
    "kind": pl.String,
    "duration_s": pl.Float64,
}


def keep(
    claims: list[Row],
    segments: list[Row],
    strikes: list[Row] | None = None,
    lessons: list[Row] | None = None,
    *,
    presence: bool = False,
    limits: Limits | None = None,
) -> Ledger:
    signs = pl.DataFrame(
        {"platform_id": ["p"], "terminal": ["pc"]} if presence else {"platform_id": [], "terminal": []}
    )
    return keep_ledger(
        frame(CONDENSED["claims"], claims),
        frame(CONDENSED["segments"], segments),
        frame(RESULTS["strikes"], strikes or []),
        pl.DataFrame(lessons or [], schema=LESSON),
        logs_presence=signs.cast(pl.String),
        limits=limits,
    )


def entry(ledger: Ledger, record: str = "r") -> dict[str, int]:
    """What a record's ledger says, without the reasons that took nothing."""
    (found,) = ledger.records.filter(pl.col("record_id") == record).to_dicts()
    kept = ("claimed_s", "credited_s", "struck_s", "unsupported_s")
    return {k: v for k, v in found.items() if k in kept or (v and k not in {"platform_id", "record_id"})}
