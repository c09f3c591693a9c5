"""The report for other programs: CSV and JSON. Every decision, clear ones too, and every finding.

Text that a spreadsheet would take for a formula gets a leading apostrophe; numbers stay numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import polars as pl

from learnguard.report.model import ReportData
from learnguard.schema import RESULTS, Column

_JSON_ROWS: Final = 20_000

#: What opens a formula in a spreadsheet, the full-width forms of East Asian input included.
FORMULA: Final = r"^[=+\-@\t\r\n＝＋－＠]"

ORDER: Final = {
    "decisions": (
        "CASE decision WHEN 'withhold' THEN 0 WHEN 'review' THEN 1 ELSE 2 END, withheld_cny DESC NULLS LAST,"
        " risk DESC NULLS LAST, platform_id, record_id"
    ),
    "findings": "record_id IS NULL, platform_id, record_id, detector, finding_id",
}


def _iso(name: str) -> str:
    """A time column as ISO 8601 in UTC with Z, with a fraction only where it has one."""
    at = f"(\"{name}\" AT TIME ZONE 'UTC')"
    return (
        f"CASE WHEN microsecond({at}) % 1000000 = 0 THEN strftime({at}, '%Y-%m-%dT%H:%M:%SZ')"
        f" ELSE strftime({at}, '%Y-%m-%dT%H:%M:%S.%fZ') END"
    )


def columns(table: str) -> tuple[Column, ...]:
    """The contract's columns of a results table."""
    return RESULTS[table].columns


def safe(name: str) -> str:
    """SQL for a text column that no spreadsheet takes for a formula (binds ``$formula``)."""
    return f'CASE WHEN regexp_matches("{name}", $formula) THEN \'\'\'\' || "{name}" ELSE "{name}" END'


def csv_frame(con: duckdb.DuckDBPyConnection, table: str) -> pl.DataFrame:
    """A results table as it goes to CSV: contract's columns, ISO times in UTC, JSON columns as JSON text."""

    def shown(c: Column) -> str:
        if c.kind == "text":
            return safe(c.name)
        if c.kind == "time":
            return _iso(c.name)
        return f'CAST("{c.name}" AS VARCHAR)' if c.kind == "date" else f'"{c.name}"'

    names = ", ".join(f'{shown(c)} AS "{c.name}"' for c in columns(table))
    return con.sql(f'SELECT {names} FROM "{table}" ORDER BY {ORDER[table]}', params={"formula": FORMULA}).pl()


def write_csv(con: duckdb.DuckDBPyConnection, table: str, out: Path) -> None:
    """One results table as CSV with a byte order mark, so that Excel reads Chinese."""
    csv_frame(con, table).write_csv(out, include_bom=True, line_terminator="\r\n")


def _json_value(c: Column) -> str:
    name = f'"{c.name}"'
    if c.kind == "json":
        return f"CASE WHEN json_valid({name}) THEN CAST({name} AS JSON) ELSE to_json({name}) END"
    if c.kind in {"money", "date"}:
        return f"CAST({name} AS VARCHAR)"
    if c.kind == "number":
        return f"CASE WHEN isfinite({name}) THEN {name} END"
    return _iso(c.name) if c.kind == "time" else name


def _json_rows(con: duckdb.DuckDBPyConnection, table: str) -> Iterator[str]:
    """The rows of a table as JSON text, many at a time."""
    fields = ", ".join(f'"{c.name}" := {_json_value(c)}' for c in columns(table))
    sql = f"""
    WITH numbered AS (SELECT *, row_number() OVER (ORDER BY {ORDER[table]}) - 1 AS _nth FROM "{table}"),
    lines AS (SELECT _nth, CAST(to_json(struct_pack({fields})) AS VARCHAR) AS line FROM numbered)
    SELECT string_agg(line, ',\n' ORDER BY _nth) AS lines FROM lines GROUP BY _nth // $rows ORDER BY min(_nth)
    """
    result = con.execute(sql, {"rows": _JSON_ROWS})
    while (row := result.fetchone()) is not None:
        yield row[0]


def figures_json(data: ReportData) -> dict[str, Any]:
    """The headline figures as JSON values: money as text, shares 0 to 1."""
    f = data.figures
    return {
        "records": f.records, "flagged": f.flagged, "withhold": f.withhold, "review": f.review, "clear": f.clear,
        "subsidy_cny": str(f.subsidy_cny), "withheld_cny": str(f.withheld_cny), "claimed_s": f.claimed_s,
        "credited_s": f.credited_s, "struck_s": f.struck_s, "unsupported_s": f.unsupported_s, "struck": dict(f.struck),
        "credited_share": f.credited_share, "findings": f.findings, "not_fully_assessed": f.not_fully_assessed,
        "behaviours": [_group(g) for g in data.behaviours],
        "institutions": [_group(g) for g in data.institutions],
        "platforms": [_group(g) for g in data.platforms],
        "not_assessed": [
            {"detector": g.detector, "missing": g.missing, "records": g.records, "platforms": list(g.platforms)}
            for g in data.gaps
        ],
    }  # fmt: skip


def _group(group: Any) -> dict[str, Any]:
    return {
        "id": group.id or None, "records": group.records, "withhold": group.withhold, "review": group.review,
        "struck_s": group.struck_s, "withheld_cny": str(group.withheld_cny),
    }  # fmt: skip


def run_json(data: ReportData) -> dict[str, Any]:
    """What the run says of itself."""
    r = data.run
    return {
        "run_date": r.date, "version": r.version, "created_at": r.created_at, "timezone": r.timezone,
        "policy": r.policy,
        "learnguard_version": r.learnguard_version, "seconds": r.seconds, "deliveries": r.deliveries,
        "changed_from": r.changed_from or None, "changes": dict(r.changes),
    }  # fmt: skip


def write_json(con: duckdb.DuckDBPyConnection, data: ReportData, out: Path) -> None:
    """``{run, figures, decisions, findings}``: times ISO in UTC with Z, money as text, one row per line."""
    with out.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"run": ' + json.dumps(run_json(data), ensure_ascii=False, allow_nan=False))
        file.write(',\n"figures": ' + json.dumps(figures_json(data), ensure_ascii=False, allow_nan=False))
        for table in ("decisions", "findings"):
            file.write(f',\n"{table}": [\n')
            for i, lines in enumerate(_json_rows(con, table)):
                file.write((",\n" if i else "") + lines)
            file.write("\n]")
        file.write("}\n")
