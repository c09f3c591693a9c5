"""A report as files."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, get_args

import duckdb

from learnguard.errors import ReportError
from learnguard.report.data import DETAIL_LIMIT, load_report
from learnguard.report.files import write_whole
from learnguard.report.page import render_data
from learnguard.report.tables import write_csv, write_json
from learnguard.report.words import Lang
from learnguard.report.workbook import write_excel

Format = Literal["html", "csv", "xlsx", "json"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def write_report(
    con: duckdb.DuckDBPyConnection,
    out: Path,
    *,
    format: Format,  # noqa: A002  the command line's word
    lang: Lang,
) -> list[Path]:
    """Write the report of the run that ``con`` shows to ``out``; the paths written.

    ``csv`` gives two files: ``out`` with the decisions and ``<stem>-findings.csv`` beside it. Files appear whole or not
    at all. Raises ReportError when the run cannot be read or the files cannot be written.
    """
    if format not in FORMATS:
        raise ReportError(f"no report in format {format!r}", hint=f"Choose one of {', '.join(FORMATS)}.")
    if out.is_dir():
        raise ReportError(f"{out} is a folder", hint=f"Name a file in it, such as report.{format}.")
    data = load_report(con, lang=lang, detail_limit=DETAIL_LIMIT if format == "html" else 0)
    if format == "html":
        page = render_data(data)
        return write_whole({out: lambda path: _write_text(path, page)})
    if format == "json":
        return write_whole({out: lambda path: write_json(con, data, path)})
    if format == "xlsx":
        return write_whole({out: lambda path: write_excel(con, data, path, lang)})
    beside = out.with_name(f"{out.stem}-findings{out.suffix or '.csv'}")
    return write_whole(
        {out: lambda path: write_csv(con, "decisions", path), beside: lambda path: write_csv(con, "findings", path)}
    )


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
