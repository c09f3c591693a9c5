"""The report as files: CSV, Excel and JSON that other programs read right, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import re
from decimal import Decimal
from pathlib import Path

import duckdb
import fastexcel
import pytest

from learnguard.errors import ReportError
from learnguard.report import FORMATS, write_report
from learnguard.report.files import write_whole
from learnguard.report.sample import build_sample
from learnguard.schema import RESULTS

DANGEROUS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1")


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    build_sample(con, records=90, flags=21)
    return con


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def value(con: duckdb.DuckDBPyConnection, sql: str) -> object:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row[0]


def test_csv_holds_every_decision_and_finding(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    paths = write_report(con, tmp_path / "r.csv", format="csv", lang="zh")
    assert [p.name for p in paths] == ["r.csv", "r-findings.csv"]
    assert all(p.read_bytes().startswith(b"\xef\xbb\xbf") for p in paths)
    decisions, findings = (rows(p) for p in paths)
    assert tuple(decisions[0]) == RESULTS["decisions"].names
    assert tuple(findings[0]) == RESULTS["findings"].names
    assert len(decisions) == 90
    assert len(findings) == value(con, "SELECT count(*) FROM findings")
    assert {d["decision"] for d in decisions} == {"clear", "review", "withhold"}
    assert sum(Decimal(d["withheld_cny"]) for d in decisions) == value(con, "SELECT sum(withheld_cny) FROM decisions")


def test_csv_keeps_the_contracts_forms(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    decisions, findings = (rows(p) for p in write_report(con, tmp_path / "r.csv", format="csv", lang="zh"))
    for d in decisions:
        assert d["run_date"] == "2026-03-16"
        struck = json.loads(d["struck"])
        assert isinstance(json.loads(d["reasons"]), list)
        assert int(d["claimed_s"]) == int(d["credited_s"]) + sum(struck.values()) + int(d["unsupported_s"])
    found = next(f for f in findings if f["detector"] == "concurrent_sessions")
    assert found["started_at"] == "2026-03-05T01:20:00Z"
    assert json.loads(found["facts"])["overlap_s"] == 5400


def test_json_is_one_document_with_exact_money(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (path,) = write_report(con, tmp_path / "r.json", format="json", lang="en")
    said = json.loads(path.read_text(encoding="utf-8"))
    assert list(said) == ["run", "figures", "decisions", "findings"]
    assert said["run"]["run_date"] == "2026-03-16"
    assert len(said["decisions"]) == 90 == said["figures"]["records"]
    assert sum(Decimal(d["withheld_cny"]) for d in said["decisions"]) == Decimal(said["figures"]["withheld_cny"])
    assert all(isinstance(d["subsidy_cny"], str) for d in said["decisions"])
    first = said["decisions"][0]
    assert first["decision"] == "withhold"
    assert isinstance(first["reasons"], list)
    assert isinstance(first["struck"], dict)
    times = [f[k] for f in said["findings"] for k in ("started_at", "ended_at") if f[k]]
    assert times
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", t) for t in times)
    assert [f["record_id"] for f in said["findings"]][-1] is None


def test_json_survives_odd_values(tmp_path: Path) -> None:
    con = duckdb.connect()
    build_sample(con, records=7, flags=7)
    con.execute(
        "UPDATE findings SET score = 'nan', p_value = 'inf', facts = '{broken',"
        " started_at = started_at + INTERVAL 5 MICROSECOND"
    )
    con.execute("UPDATE decisions SET note_zh = chr(10) || '\"\\' WHERE record_id = 'R-000000'")
    con.execute("DELETE FROM findings WHERE record_id IS NULL")
    with pytest.raises(ReportError, match="cannot be read"):
        write_report(con, tmp_path / "r.html", format="html", lang="zh")
    (path,) = write_report(con, tmp_path / "r.json", format="json", lang="zh")
    said = json.loads(path.read_text(encoding="utf-8"))
    assert {(f["score"], f["p_value"], f["facts"]) for f in said["findings"]} == {(None, None, "{broken")}
    assert said["findings"][0]["started_at"] == "2026-03-05T01:20:00.000005Z"
    assert '\n"\\' in {d["note_zh"] for d in said["decisions"]}


@pytest.mark.parametrize(
    ("lang", "sheets"),
    [("zh", ["决定", "发现", "未评估", "说明"]), ("en", ["Decisions", "Findings", "Not assessed", "Notes"])],
)
def test_excel_has_words_first_and_numbers_as_numbers(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, lang: str, sheets: list[str]
) -> None:
    (path,) = write_report(con, tmp_path / "r.xlsx", format="xlsx", lang=lang)  # type: ignore[arg-type]  # either
    book = fastexcel.read_excel(path)
    assert book.sheet_names == sheets
    decisions = book.load_sheet(sheets[0]).to_polars()
    assert set(RESULTS["decisions"].names) <= set(decisions.columns)
    assert decisions.height == 90
    assert decisions["withheld_cny"].sum() == pytest.approx(
        float(str(value(con, "SELECT sum(withheld_cny) FROM decisions")))
    )
    assert decisions["claimed_s"].sum() == value(con, "SELECT sum(claimed_s) FROM decisions")
    first = decisions.row(0)
    assert first[0] in {"扣留待核", "Withheld"}
    assert "unregistered" not in first[1]
    findings = book.load_sheet(sheets[1]).to_polars()
    # 01:20 UTC is 09:20 in the run's zone.
    assert {str(t) for t in findings["started_at"].drop_nulls()} == {"2026-03-05 09:20:00"}
    assert book.load_sheet(sheets[2]).to_polars().height == value(con, "SELECT count(*) FROM not_assessed")
    notes = book.load_sheet(sheets[3], header_row=None).to_polars()
    assert set(RESULTS["decisions"].names) <= set(notes.to_series(0))


@pytest.mark.parametrize("format_", ["csv", "xlsx"])
def test_no_cell_opens_a_formula(tmp_path: Path, format_: str) -> None:
    con = duckdb.connect()
    build_sample(con, records=7, flags=7)
    names = list(DANGEROUS)
    con.execute("UPDATE decisions SET institution_id = $n[CAST(account_id[5:] AS INT) + 1]", {"n": names})
    con.execute("UPDATE people SET name_masked = '=cmd', course_title = '+x'")
    con.execute("UPDATE findings SET explanation_zh = '@x', struck_s = -5, institution_id = '-1'")
    if format_ == "csv":
        decisions, findings = (rows(p) for p in write_report(con, tmp_path / "r.csv", format="csv", lang="zh"))
        assert {f["struck_s"] for f in findings} == {"-5.0"}
        cells = [v for r in (*decisions, *findings) for k, v in r.items() if k not in {"struck_s"}]
    else:
        (path,) = write_report(con, tmp_path / "r.xlsx", format="xlsx", lang="zh")
        book = fastexcel.read_excel(path)
        sheets = [book.load_sheet(s).to_polars() for s in ("决定", "发现")]
        assert set(sheets[1]["struck_s"]) == {-5}
        cells = [str(v) for s in sheets for r in s.iter_rows() for v in r if isinstance(v, str)]
        decisions = sheets[0].to_dicts()
        assert b"<f>" not in path.read_bytes()
    # What a spreadsheet would compute stands behind an apostrophe.
    assert {str(d["institution_id"]).replace("\n", "\r") for d in decisions} >= {
        "'" + n for n in DANGEROUS if "\r" not in n
    }
    assert not [c for c in cells if re.match(r"[=+\-@\t\r＝]", c)]


def test_a_long_cell_is_cut_in_excel_only(tmp_path: Path) -> None:
    con = duckdb.connect()
    build_sample(con, records=7, flags=7)
    con.execute("UPDATE findings SET facts = to_json({'x': repeat('长', 40000)})")
    (path,) = write_report(con, tmp_path / "r.xlsx", format="xlsx", lang="zh")
    cells = fastexcel.read_excel(path).load_sheet("发现").to_polars()["facts"]
    assert set(cells.str.len_chars()) == {32_000 + len("……（已截短，全文见 JSON 导出）")}
    (whole,) = write_report(con, tmp_path / "r.json", format="json", lang="zh")
    assert len(json.loads(whole.read_text(encoding="utf-8"))["findings"][0]["facts"]["x"]) == 40_000


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_run_gives_the_same_file(con: duckdb.DuckDBPyConnection, tmp_path: Path, format_: str) -> None:
    first = write_report(con, tmp_path / f"a.{format_}", format=format_, lang="zh")  # type: ignore[arg-type]  # listed
    second = write_report(con, tmp_path / f"b.{format_}", format=format_, lang="zh")  # type: ignore[arg-type]  # listed
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    old, other = tmp_path / "a.txt", tmp_path / "b.txt"
    old.write_text("old")

    def half(path: Path) -> None:
        path.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(ReportError, match="No space left"):
        write_whole({old: lambda path: _note(path, "new"), other: half})
    assert old.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert write_whole({old: lambda path: _note(path, "new")}) == [old]
    assert old.read_text() == "new"


def _note(path: Path, text: str) -> None:
    path.write_text(text)


def test_reports_make_their_folder_and_respect_the_umask(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        (path,) = write_report(con, tmp_path / "new" / "r.html", format="html", lang="en")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_wrong_wishes_are_named(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="format 'pdf'"):
        write_report(con, tmp_path / "r.pdf", format="pdf", lang="zh")  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ReportError, match="is a folder"):
        write_report(con, tmp_path, format="html", lang="zh")
