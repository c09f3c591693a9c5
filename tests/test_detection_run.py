"""Running detectors: the same findings whatever the order of rows, buckets and threads; missing data is said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from learnguard.detection.cases import load_cases
from learnguard.detection.fill import fill
from learnguard.detection.model import Detector
from learnguard.detection.packs import load_detector, load_packs
from learnguard.detection.run import run_detectors
from learnguard.errors import PackError
from learnguard.schema import CONDENSED, RESULTS

DETECTORS = load_packs()
DAY = date(2026, 3, 31)
TABLES = (*CONDENSED, "lessons")


Crowd = dict[str, pa.Table]


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    """A crowd made of the detectors' own cases, each with ids of its own, so that every detector finds something."""
    parts: dict[str, list[pa.Table]] = {table: [] for table in TABLES}
    for detector in DETECTORS:
        for number, case in enumerate(load_cases(detector)):
            plain = not case.params and case.logs is None and not {"registry", "capabilities"} & set(case.rows)
            if not plain or not (case.expect or case.lookalike):
                continue
            with duckdb.connect() as one:
                one.execute("SET TimeZone = 'UTC'")
                fill(one, case.rows, logs=None, shown=case.name)
                for table in TABLES:
                    names = one.sql(f'SELECT * FROM "{table}"').columns
                    select = _renamed(f"{detector.id}-{number}-", names)
                    parts[table].append(one.sql(f'SELECT {select} FROM "{table}"').to_arrow_table())
    return {table: pa.concat_tables(tables) for table, tables in parts.items()}


def _load(con: duckdb.DuckDBPyConnection, crowd: Crowd) -> None:
    for table, rows in crowd.items():
        con.register("rows", rows)
        con.execute(f'CREATE OR REPLACE TABLE "{table}" AS SELECT * FROM rows')
        con.unregister("rows")
    con.execute("""
        CREATE OR REPLACE TABLE registry AS
        SELECT DISTINCT learner_id, TIMESTAMPTZ '2026-01-01 00:00:00+00' AS registered_at
        FROM claims WHERE hash(learner_id) % 5 > 0
    """)


def _renamed(tag: str, columns: list[str]) -> str:
    own = {"platform_id", "account_id", "learner_id", "record_id", "course_id"}
    return ", ".join(f'\'{tag}\' || "{c}" AS "{c}"' if c in own else f'"{c}"' for c in columns)


def _results(con: duckdb.DuckDBPyConnection) -> list[list[tuple[object, ...]]]:
    return [con.execute(f"SELECT * FROM {t}").fetchall() for t in ("findings", "strikes", "not_assessed")]


def _shuffled(con: duckdb.DuckDBPyConnection) -> None:
    for (table,) in con.execute("SELECT table_name FROM duckdb_tables() WHERE NOT temporary").fetchall():
        if table in {*TABLES, "registry"}:
            con.execute(f'CREATE OR REPLACE TABLE "{table}" AS SELECT * FROM "{table}" AS t ORDER BY hash(t)')


def test_the_same_bytes_whatever_the_order_buckets_and_threads(con: duckdb.DuckDBPyConnection, crowd: Crowd) -> None:
    _load(con, crowd)
    con.execute("SET threads = 1")
    run_detectors(con, DETECTORS, run_date=DAY)
    base = _results(con)
    found = {row[2] for row in base[0]}
    assert found == {d.id for d in DETECTORS}, "the crowd must give every detector something to find"
    _shuffled(con)
    con.execute("SET threads = 2")
    run_detectors(con, DETECTORS, run_date=DAY)
    assert _results(con) == base
    run_detectors(con, DETECTORS, run_date=DAY, buckets=7)
    assert _results(con) == base


def test_the_same_evidence_has_one_id_in_every_run(con: duckdb.DuckDBPyConnection, crowd: Crowd) -> None:
    _load(con, crowd)
    run_detectors(con, DETECTORS, run_date=DAY)
    first = con.execute("SELECT finding_id FROM findings").fetchall()
    run_detectors(con, DETECTORS, run_date=date(2026, 4, 1), timezone="Asia/Urumqi")
    assert con.execute("SELECT finding_id FROM findings").fetchall() == first
    assert len(set(first)) == len(first)
    assert all(re.fullmatch(r"[0-9a-f]{16}", i) for (i,) in first)
    con.execute("UPDATE segments SET ended_at = ended_at + INTERVAL 1 SECOND, active_s = active_s + 1")
    run_detectors(con, DETECTORS, run_date=DAY)
    assert con.execute("SELECT finding_id FROM findings").fetchall() != first


def test_findings_and_strikes_are_as_the_schema_says(con: duckdb.DuckDBPyConnection, crowd: Crowd) -> None:
    _load(con, crowd)
    seen: list[tuple[str, int, int]] = []
    run_detectors(con, DETECTORS, run_date=DAY, progress=lambda name, i, n: seen.append((name, i, n)))
    assert seen == [(d.id, i, len(DETECTORS)) for i, d in enumerate(DETECTORS, 1)]
    for table in ("findings", "strikes"):
        made = con.sql(f"SELECT * FROM {table} LIMIT 0")
        assert list(zip(made.columns, map(str, made.types), strict=True)) == [
            (c.name, str(duckdb.sqltype(c.sql_type))) for c in RESULTS[table].columns
        ]
    rows = con.execute(
        "SELECT detector, facts, institution_id, explanation_zh, explanation_en FROM findings"
    ).fetchall()
    lookalikes = {d.id: set(d.lookalikes) for d in DETECTORS}
    for detector, facts, institution, zh, en in rows:
        examined = json.loads(facts)["examined"]
        assert set(examined) == lookalikes[detector]
        assert all(type(e["found"]) is bool for e in examined.values())
        assert institution == "i"
        assert "{" not in zh + en
        assert "not logged" not in en, "an explanation names a fact that is null"
    assert con.execute(
        "SELECT count(*) FROM strikes AS s ANTI JOIN findings AS f USING (finding_id, record_id, detector)"
    ).fetchone() == (0,)


def test_what_a_time_strikes_is_the_records_own_union(con: duckdb.DuckDBPyConnection, crowd: Crowd) -> None:
    _load(con, crowd)
    run_detectors(con, [d for d in DETECTORS if d.id in {"concurrent_sessions", "idle_playback"}], run_date=DAY)
    wrong = con.execute("""
        SELECT f.finding_id FROM findings AS f JOIN strikes AS s USING (finding_id)
        GROUP BY f.finding_id, f.struck_s HAVING abs(f.struck_s - sum(epoch(s.ended_at) - epoch(s.started_at))) > 0.001
    """).fetchall()
    assert wrong == []
    overlapping = con.execute("""
        SELECT finding_id FROM (
            SELECT finding_id, started_at, lag(ended_at) OVER (PARTITION BY finding_id ORDER BY started_at) AS before
            FROM strikes) AS s WHERE started_at < before
    """).fetchall()
    assert overlapping == []


def test_records_out_of_scope_get_no_finding(con: duckdb.DuckDBPyConnection, crowd: Crowd) -> None:
    _load(con, crowd)
    con.execute("DELETE FROM claims WHERE hash(record_id) % 2 = 0")
    run_detectors(con, DETECTORS, run_date=DAY)
    assert con.execute("SELECT count(*) FROM findings").fetchone() != (0,)
    assert con.execute(
        "SELECT count(*) FROM findings AS f ANTI JOIN claims AS c USING (platform_id, record_id)"
    ).fetchone() == (0,)


def test_what_most_of_the_time_was_not_logged_counts_as_missing(con: duckdb.DuckDBPyConnection) -> None:
    hour = "CAST('2026-03-01 09:00:00+00' AS TIMESTAMPTZ)"
    fill(con, {}, logs=[], shown="mixed clients")
    for account, pc_minutes in (("mostly_pc", 40), ("mostly_app", 20)):
        for terminal, start, length in (("pc", 0, pc_minutes), ("app", pc_minutes, 60 - pc_minutes)):
            con.execute(
                "INSERT INTO segments BY NAME SELECT 'p' AS platform_id, $account AS account_id, "
                f"$account || '/c' AS record_id, 'c' AS course_id, $terminal AS terminal, "
                f"{hour} + to_minutes($start) AS started_at, "
                f"{hour} + to_minutes($start + $length) AS ended_at, $length * 60 AS active_s",
                {"account": account, "terminal": terminal, "start": start, "length": length},
            )
        con.execute("INSERT INTO claims BY NAME SELECT 'p' AS platform_id, $a AS account_id, $a || '/c' AS record_id, "
                    "'c' AS course_id", {"a": account})  # fmt: skip
    con.execute("INSERT INTO capabilities BY NAME SELECT 'p' AS platform_id, 'pc' AS terminal, 'visible' AS \"column\"")
    con.execute(
        "INSERT INTO capabilities BY NAME SELECT 'p' AS platform_id, 'app' AS terminal, 'page_id' AS \"column\""
    )
    con.execute(
        "INSERT INTO capabilities BY NAME SELECT 'p' AS platform_id, unnest(['pc', 'app']) AS terminal, "
        "'clock_order' AS \"column\""
    )
    run_detectors(con, [d for d in DETECTORS if d.id == "background_playback"], run_date=DAY)
    assert con.execute("SELECT record_id, missing FROM not_assessed ORDER BY ALL").fetchall() == [
        ("mostly_app/c", "visible"),
        ("mostly_pc/c", "page_id"),
    ]


# What a pack's SQL may not do -----------------------------------------------------------------------------------------
TOML = """
title = { zh = "甲", en = "A" }
clause = "第一条"
strength = "proof"
severity = "high"
status = "stable"
version = 1
reads = ["segments", "group_sessions"]
partition_by = "account"
false_positives = { zh = ["一"], en = ["one"] }
triage = { zh = ["一"], en = ["one"] }
[lookalikes.pause]
zh = "暂停"
en = "a pause"
[explain]
zh = "{account} 学习 {active_s|minutes} 分钟（{share|percent}，{first|time}，{first|date}，{gone}）"
en = "{account} learned {active_s|minutes} min ({share|percent}, {first|time}, {first|date}, {gone})"
"""
SQL = """
SELECT platform_id, account_id, record_id, course_id, started_at, ended_at, 1 AS score, active_s AS struck_s,
    [strike_time(lesson_id, started_at, ended_at)] AS strikes,
    {'account': account_id, 'active_s': active_s, 'share': 1 / (1 + 1 + 1), 'first': started_at, 'gone': NULL::VARCHAR,
     'examined': {'pause': {'found': FALSE}}} AS facts
FROM segments
"""


def _detector(tmp_path: Path, *, toml: str = TOML, sql: str = SQL) -> Detector:
    folder = tmp_path / "demo" / "long_segment"
    folder.mkdir(parents=True)
    (folder / "detector.toml").write_text(toml, encoding="utf-8")
    (folder / "detector.sql").write_text(sql, encoding="utf-8")
    return load_detector(folder)


def _one_segment(con: duckdb.DuckDBPyConnection, account: str = "a") -> None:
    con.execute("SET TimeZone = 'UTC'")
    row = {"account_id": account, "started_at": _at(9), "ended_at": _at(10)}
    fill(con, {"segments": [row]}, logs=None, shown="one segment")


def _at(hour: int) -> object:
    from datetime import time

    return time(hour)


def test_explanations_show_numbers_times_and_gaps(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    detector = _detector(tmp_path)
    _one_segment(con, account="{active_s} <b>'")
    run_detectors(con, [detector], run_date=DAY)
    texts = con.execute("SELECT explanation_zh, explanation_en FROM findings").fetchone()
    assert texts == (
        "{active_s} <b>' 学习 60 分钟（33%，3月1日 17:00，2026年3月1日，未记录）",
        "{active_s} <b>' learned 60 min (33%, 1 Mar 17:00, 1 Mar 2026, not logged)",
    )
    run_detectors(con, [detector], run_date=DAY, timezone="UTC")
    assert "1 Mar 09:00" in str(con.execute("SELECT explanation_en FROM findings").fetchone())


def test_facts_are_printed_in_utc_whatever_the_session(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    _one_segment(con)
    con.execute("SET TimeZone = 'Asia/Shanghai'")
    run_detectors(con, [_detector(tmp_path)], run_date=DAY)
    row = con.execute("SELECT facts FROM findings").fetchone()
    assert row is not None
    assert json.loads(row[0])["first"] == "2026-03-01T09:00:00Z"


@pytest.mark.parametrize(
    ("toml", "sql", "says"),
    [
        (TOML.replace("{gone}", "{nothing}"), SQL, "names {nothing}, but the facts have no such field"),
        (TOML.replace("{gone}", "{gone|loud}"), SQL, "placeholder {gone|loud} is not known"),
        (TOML.replace("{gone}", "{gone"), SQL, "stray brace"),
        (TOML.replace("lookalikes.pause", "lookalikes.nap"), SQL, "facts.examined and [lookalikes] differ: nap, pause"),
        (TOML, SQL.replace("'found'", "'seen'"), "facts.examined.pause must be a STRUCT with found"),
        (TOML, SQL.replace(" AS score", " AS scor"), "score is missing; scor is not known"),
        (TOML, SQL.replace("FROM segments", "FROM segments, (SELECT unnest([0, 1])) AS t"), "is put out twice"),
        (TOML, SQL.replace("account_id, record_id", "acount_id, record_id"), "the SQL does not run"),
        (TOML.replace("[explain]", "[explain.other]"), SQL.replace("{'account'", "{'variant': 'this', 'account'"),
         "facts.variant has a value without an explanation"),
    ],
)  # fmt: skip
def test_a_detector_that_breaks_the_rules_is_refused(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, toml: str, sql: str, says: str
) -> None:
    detector = _detector(tmp_path, toml=toml, sql=sql)
    _one_segment(con)
    with pytest.raises(PackError, match=re.escape(says)) as caught:
        run_detectors(con, [detector], run_date=DAY)
    assert str(caught.value).startswith("detector long_segment: ")
    assert caught.value.hint


def test_a_table_nobody_delivered_is_empty_while_the_detector_runs(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    toml = TOML + '[[requires]]\ntable = "group_sessions"\n'
    sql = SQL + "WHERE NOT EXISTS (SELECT 1 FROM group_sessions)"
    _one_segment(con)
    run_detectors(con, [_detector(tmp_path, toml=toml, sql=sql)], run_date=DAY)
    assert con.execute("SELECT count(*) FROM findings").fetchone() == (1,)
    assert con.execute("SELECT record_id, missing FROM not_assessed").fetchall() == [("a/c", "group_sessions")]
    assert con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'group_sessions'").fetchone() == (0,)
