"""The report as an Excel workbook: words for people in the first columns, then the contract's own columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import duckdb
import xlsxwriter

from learnguard.errors import ReportError
from learnguard.report.model import ReportData
from learnguard.report.tables import FORMULA, ORDER, columns, safe
from learnguard.report.words import Lang, column_meanings, reason_title, texts
from learnguard.schema import STRIKE_ORDER, Kind

#: Rows below the header that an Excel sheet holds.
EXCEL_ROWS: Final = 1_048_575
#: Excel refuses longer cells; longer JSON is cut there and whole in the JSON export.
EXCEL_CHARS: Final = 32_000
_BATCH: Final = 5_000

_FORMATS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "money": "#,##0.00",
        "integer": "#,##0",
        "date": "yyyy-mm-dd",
        "time": "yyyy-mm-dd hh:mm:ss",
    }
)
_WIDTHS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "explanation_zh": 60, "explanation_en": 60, "facts": 40, "struck": 30, "reasons": 34, "not_assessed": 30,
        "note_zh": 40, "note_en": 40, "record_id": 18, "account_id": 18, "learner_id": 20, "institution_id": 20,
        "started_at": 19, "ended_at": 19, "clause": 30, "finding_id": 19, "detector": 26, "missing": 22,
        "_sentence": 70, "_behaviours": 40, "_course": 28, "_id": 21, "_decision": 12, "_strength": 14,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Shown:
    """One column of a sheet: name in the query, header, kind, and the SQL that gives it."""

    name: str
    title: str
    kind: Kind
    sql: str


def _words(column: str, words: str) -> str:
    """SQL that turns a column's known values into words (``$<words>_ids`` to ``$<words>_words``)."""
    return f"coalesce(map(${words}_ids, ${words}_words)[{column}], {column})"


def _contract(table: str) -> list[_Shown]:
    def sql(name: str, kind: Kind) -> str:
        return (
            safe(name)
            if kind in {"text", "json"}
            else f'"{name}" AT TIME ZONE $zone'
            if kind == "time"
            else f'"{name}"'
        )

    return [_Shown(c.name, c.name, c.kind, sql(c.name, c.kind)) for c in columns(table)]


def _decisions(t: Mapping[str, str]) -> tuple[list[_Shown], str]:
    human = [
        _Shown("_decision", t["decision"], "text", _words("decision", "decision")),
        _Shown(
            "_behaviours", t["behaviour"], "text",
            "array_to_string(list_transform(CAST(CAST(reasons AS JSON) AS VARCHAR[]),"
            f" lambda r: {_words('r', 'reason')}), $comma)",
        ),
        _Shown("_name", t["learner"], "text", safe("name_masked")),
        _Shown("_id", t["identity"], "text", safe("id_masked")),
        _Shown("_course", t["course"], "text", safe("course_title")),
        _Shown("_claimed", t["claimed_hours"], "number", "round(claimed_s / $hour, 2)"),
        _Shown("_credited", t["credited_hours"], "number", "round(credited_s / $hour, 2)"),
    ]  # fmt: skip
    source = """decisions LEFT JOIN (
      SELECT platform_id, record_id, min(name_masked) AS name_masked, min(id_masked) AS id_masked,
             min(course_title) AS course_title FROM people GROUP BY ALL) AS p USING (platform_id, record_id)"""
    return human + _contract("decisions"), source


def _findings(t: Mapping[str, str], lang: Lang) -> tuple[list[_Shown], str]:
    human = [
        _Shown("_behaviours", t["behaviour"], "text", _words("detector", "reason")),
        _Shown("_strength", t["note_strength"], "text", _words("strength", "strength")),
        _Shown("_sentence", t["sentence"], "text", safe("explanation_zh" if lang == "zh" else "explanation_en")),
    ]
    return human + _contract("findings"), "findings"


def _gaps(t: Mapping[str, str]) -> tuple[list[_Shown], str]:
    human = [_Shown("_behaviours", t["check"], "text", _words("detector", "reason"))]
    names = ("platform_id", "record_id", "detector", "missing")
    return human + [_Shown(n, n, "text", safe(n)) for n in names], "not_assessed"


def _bound(data: ReportData, t: Mapping[str, str], lang: Lang) -> dict[str, object]:
    titles = {r: reason_title(r, lang) for r in STRIKE_ORDER} | {k: r.title for k, r in data.rules.items()}
    words = {
        "decision": {k: t[f"decision_{k}_short"] for k in ("clear", "review", "withhold")},
        "strength": {k: t[f"strength_{k}"] for k in ("proof", "statistical")},
        "reason": titles,
    }
    bound: dict[str, object] = {f"{n}_ids": list(w) for n, w in words.items()}
    bound |= {f"{n}_words": list(w.values()) for n, w in words.items()}
    return bound | {
        "formula": FORMULA, "zone": data.run.timezone, "hour": data.run.class_hour_s,
        "comma": "、" if lang == "zh" else ", ", "most": EXCEL_CHARS, "cut": t["cut_text"],
    }  # fmt: skip


class _Book:
    """A workbook being written row by row, so that memory does not grow with the rows."""

    def __init__(self, book: Any, con: duckdb.DuckDBPyConnection, bound: Mapping[str, object]) -> None:
        self.book, self.con, self.bound = book, con, bound
        self.header = book.add_format({"bold": True, "bg_color": "#E6EAEE", "bottom": 1, "valign": "top"})
        self.formats = {k: book.add_format({"num_format": f}) for k, f in _FORMATS.items()}

    def sheet(self, name: str, shown: list[_Shown], source: str, order: str) -> None:
        """One sheet from a query. Raises ReportError when the rows do not fit."""
        count = self.con.execute(f"SELECT count(*) FROM {source}").fetchone()
        rows = int(count[0]) if count else 0
        if rows > EXCEL_ROWS:
            raise ReportError(
                f"{rows:,} rows do not fit the Excel sheet {name}", hint="Choose csv or json: they have no such limit."
            )
        sheet = self.book.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, max(rows, 1), len(shown) - 1)
        for at, column in enumerate(shown):
            sheet.set_column(at, at, _WIDTHS.get(column.name, 14), self.formats.get(column.kind))
            sheet.write_string(0, at, column.title, self.header)
        write = [self._writer(sheet, c.kind) for c in shown]
        sql = f"SELECT {', '.join(self._cut(c) for c in shown)} FROM {source} ORDER BY {order}"
        result = self.con.execute(sql, {k: v for k, v in self.bound.items() if f"${k}" in sql})
        done = 1
        while batch := result.fetchmany(_BATCH):
            for row, values in enumerate(batch, done):
                for at, value in enumerate(values):
                    if value is not None:
                        write[at](row, at, value)
            done += len(batch)

    @staticmethod
    def _cut(column: _Shown) -> str:
        if column.kind in {"text", "json"}:
            return (
                f"CASE WHEN length({column.sql}) > $most THEN left({column.sql}, $most) || $cut ELSE {column.sql} END"
            )
        return f"CASE WHEN isfinite({column.sql}) THEN {column.sql} END" if column.kind == "number" else column.sql

    @staticmethod
    def _writer(sheet: Any, kind: Kind) -> Any:
        if kind in {"number", "integer", "money"}:
            return sheet.write_number
        if kind in {"date", "time"}:
            return sheet.write_datetime
        return sheet.write_boolean if kind == "boolean" else sheet.write_string


def _notes(book: Any, data: ReportData, t: Mapping[str, str], lang: Lang) -> None:
    sheet = book.add_worksheet(t["sheet_notes"])
    sheet.set_column(0, 0, 26, book.add_format({"bold": True, "valign": "top"}))
    sheet.set_column(1, 1, 100, book.add_format({"text_wrap": True, "valign": "top"}))
    f = data.figures
    rows: list[tuple[str, str | float]] = [
        (t["title"], data.run.date),
        ("", t["stance_title"] + ("" if lang == "zh" else " ") + t["stance"]),
        (t["made_at"], data.run.created_at),
        (t["policy"], data.run.policy),
        (t["program"], f"LearnGuard {data.run.learnguard_version}"),
        (t["records_assessed"], f.records),
        (t["decision_withhold"], f.withhold),
        (t["decision_review"], f.review),
        (t["withheld_sum"], float(f.withheld_cny)),
        (t["note_person"], t["next_withhold"]),
        (t["note_objection"], t["next_objection"]),
        (t["note_ledger"], t["note_ledger_text"].format(minutes=f"{data.run.class_hour_s / 60:g}")),
        *(
            (t["note_strength"], f"{k}: {t[f'strength_{k}']}, {t[f'strength_{k}_doc']}")
            for k in ("proof", "statistical")
        ),
        *((t["decision"], f"{k}: {t[f'decision_{k}']}") for k in ("withhold", "review", "clear")),
        (t["zone"], t["times_in"].format(zone=data.run.timezone)),
        (t["note_risk"], t["note_risk_text"]),
        (t["note_privacy"], t["note_privacy_text"]),
        (t["column_name"], t["column_meaning"]),
        *column_meanings(lang).items(),
    ]
    for at, (name, value) in enumerate(rows):
        sheet.write_string(at, 0, name)
        if isinstance(value, str):
            sheet.write_string(at, 1, value)
        else:
            sheet.write_number(at, 1, value)


def write_excel(con: duckdb.DuckDBPyConnection, data: ReportData, out: Path, lang: Lang) -> None:
    """Sheets of decisions, findings, what was not assessed, and notes. Times stand in the run's zone.

    Raises ReportError when a table has more rows than a sheet.
    """
    t = texts(lang)
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(str(out), options) as book:
        # The run's own moment, so that one run gives one file.
        book.set_properties({"title": f"{t['title']} {data.run.date}", "created": _moment(data)})
        sheets = _Book(book, con, _bound(data, t, lang))
        sheets.sheet(t["sheet_decisions"], *_decisions(t), ORDER["decisions"])
        sheets.sheet(t["sheet_findings"], *_findings(t, lang), ORDER["findings"])
        sheets.sheet(t["sheet_gaps"], *_gaps(t), "platform_id, record_id, detector, missing")
        _notes(book, data, t, lang)


def _moment(data: ReportData) -> datetime:
    try:
        at = datetime.fromisoformat(data.run.created_at)
    except ValueError:
        at = datetime.fromisoformat(data.run.date)
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
