"""Run detectors on one connection: findings, what they strike, and what could not be assessed.

The connection holds the tables of ``schema.CONDENSED`` and what else the detectors read, in UTC. All work is done by
the database; no row passes through Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from learnguard.detection import explain, facts, missing
from learnguard.detection.model import Detector, offered
from learnguard.detection.packs import OPTIONAL_OUTPUT, OUTPUT
from learnguard.engines import local
from learnguard.errors import PackError
from learnguard.schema import RESULTS, create_sql

if TYPE_CHECKING:
    import duckdb

Progress = Callable[[str, int, int], None]
_PLACES: Final = 3


def run_detectors(
    con: duckdb.DuckDBPyConnection,
    detectors: Sequence[Detector],
    *,
    run_date: date,
    overrides: Mapping[str, Mapping[str, float]] | None = None,
    buckets: int = 1,
    timezone: str = "Asia/Shanghai",
    progress: Progress | None = None,
) -> None:
    """Make the tables ``findings``, ``strikes`` (as in ``schema.RESULTS``) and ``not_assessed`` on ``con``.

    ``not_assessed`` has platform_id, record_id, detector and missing (what the record's logs lack for it).
    ``overrides`` maps detector to parameter to value; ``buckets`` bounds memory without changing any answer;
    ``timezone`` is the zone of calendar days and of times shown in explanations; ``progress`` is called with the
    detector's id, its number from 1 and the number of detectors before each starts.
    A record outside ``claims`` gets no finding: it is not assessed in this run. ``findings`` are sorted.

    Raises PackError when a detector's SQL does not run, puts out other columns than it must, names a fact in its
    explanation that it does not have, leaves out a look-alike from ``facts.examined``, or finds one thing twice.
    """
    local.install_macros(con)
    explain.install_macros(con)
    for table in ("findings", "strikes"):
        con.execute(f'DROP TABLE IF EXISTS "{table}"')
        con.execute(create_sql(RESULTS[table]))
    missing.prepare(con)
    for number, detector in enumerate(detectors, 1):
        if progress is not None:
            progress(detector.id, number, len(detectors))
        made = _stand_in(con, detector)
        try:
            missing.add(con, detector)
            values = detector.values((overrides or {}).get(detector.id))
            _find(con, detector, values | {"run_date": run_date, "timezone": timezone}, buckets=buckets)
        except PackError as error:
            raise PackError(f"detector {detector.id}: {error}", hint=error.hint) from error
        finally:
            for table in made:
                con.execute(f'DROP TABLE IF EXISTS temp."{table}"')
    missing.finish(con)
    for table in ("found_raw", "found"):
        con.execute(f'DROP TABLE IF EXISTS temp."{table}"')


def _stand_in(con: duckdb.DuckDBPyConnection, detector: Detector) -> list[str]:
    """Empty temp tables for what the detector reads and nobody delivered: *not observed* is no rows."""
    present = {row[0] for row in con.execute("SELECT table_name FROM information_schema.tables").fetchall()}
    needed = dict.fromkeys(detector.reads)
    needed |= dict.fromkeys(r.names[0] for r in detector.requires if r.kind == "table")
    needed |= dict.fromkeys("lessons" for r in detector.requires if r.kind == "lesson")
    absent = [t for t in needed if t not in present]
    for table in absent:
        con.execute(create_sql(offered(table)).replace("CREATE TABLE", "CREATE TEMP TABLE", 1))
    return absent


def _find(con: duckdb.DuckDBPyConnection, detector: Detector, values: Mapping[str, object], *, buckets: int) -> None:
    local.select_into(
        con,
        detector.sql,
        {name: values[name] for name in sorted(detector.bound)},
        target="found_raw",
        reads=detector.reads,
        partition_by=detector.partition_by,
        buckets=buckets,
    )
    types = _columns(con)
    known = facts.tree(types["facts"])
    _check_examined(detector, known)
    texts = [explain.compile_explain(detector.explain, lang, known=known) for lang in ("zh", "en")]
    # Rounded and ordered once, so that id, facts and strikes are the same bytes whatever the order of the rows.
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE found AS
        SELECT
            f.platform_id, f.record_id, f.account_id, f.course_id, c.institution_id, f.started_at, f.ended_at,
            {"f.strength" if "strength" in types else "NULL::VARCHAR"} AS strength,
            {"f.p_value::DOUBLE" if "p_value" in types else "NULL::DOUBLE"} AS p_value,
            round(least(1, greatest(0, f.score))::DOUBLE, {_PLACES}) AS score,
            CAST(coalesce(f.struck_s, 0) AS DECIMAL(18, {_PLACES})) AS struck_s,
            list_sort(CAST(coalesce(f.strikes, no_strikes()) AS {local.STRIKES})) AS strikes,
            {facts.tidy("f.facts", types["facts"], places=_PLACES)} AS facts
        FROM found_raw AS f
        LEFT JOIN claims AS c USING (platform_id, record_id)
        WHERE f.record_id IS NULL OR c.record_id IS NOT NULL
    """)
    gates = [r.missing for r in detector.requires if r.is_gate]
    if gates:
        con.execute(
            "DELETE FROM found WHERE (platform_id, record_id) IN (SELECT (platform_id, record_id) FROM lacking "
            "WHERE detector = $detector AND list_contains($gates, missing))",
            {"detector": detector.id, "gates": gates},
        )
    _number(con, detector)
    _write_findings(con, detector, facts.printable("facts", types["facts"]), texts, values)
    _write_strikes(con, detector, values["run_date"])


def _columns(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    made = con.sql("SELECT * FROM found_raw LIMIT 0")
    types = dict(zip(made.columns, made.types, strict=True))
    lacking = [c for c in OUTPUT if c not in types]
    unknown = [c for c in types if c not in (*OUTPUT, *OPTIONAL_OUTPUT)]
    if lacking or unknown:
        raise PackError(
            "the SELECT must put out other columns: "
            + "; ".join([f"{c} is missing" for c in lacking] + [f"{c} is not known" for c in unknown]),
            hint=f"It puts out {', '.join(OUTPUT)} and may add {', '.join(OPTIONAL_OUTPUT)}.",
        )
    if types["facts"].id != "struct":
        raise PackError("facts must be a STRUCT", hint="Write {'name': value, …}.")
    return types


def _check_examined(detector: Detector, known: Mapping[str, object]) -> None:
    examined = known.get("examined")
    names = set(examined) if isinstance(examined, Mapping) else set()
    if names != set(detector.lookalikes):
        raise PackError(
            "facts.examined and [lookalikes] differ: " + ", ".join(sorted(names ^ set(detector.lookalikes))),
            hint="Each look-alike is tested by the SQL and reported as {'found': …}.",
        )
    for name in names:
        entry = examined[name] if isinstance(examined, Mapping) else None
        if not isinstance(entry, Mapping) or "found" not in entry:
            raise PackError(f"facts.examined.{name} must be a STRUCT with found", hint="Write {'found': …}.")


_ID_SQL: Final = """
    ALTER TABLE found ADD COLUMN finding_id VARCHAR;
    UPDATE found SET finding_id = left(sha256(array_to_string(list_concat(
        [$detector, platform_id, coalesce(record_id, ''), coalesce(account_id, ''), coalesce(course_id, ''),
         coalesce(epoch_us(started_at)::VARCHAR, ''), coalesce(epoch_us(ended_at)::VARCHAR, ''), struck_s::VARCHAR],
        list_transform(strikes, lambda s: concat_ws(
            chr(30), coalesce(s.lesson_id, ''), coalesce(epoch_us(s.started_at)::VARCHAR, ''),
            coalesce(epoch_us(s.ended_at)::VARCHAR, ''),
            coalesce(CAST(CAST(s.seconds AS DECIMAL(18, 3)) AS VARCHAR), '')))
    ), chr(31))), 16)
"""


def _number(con: duckdb.DuckDBPyConnection, detector: Detector) -> None:
    """Give each finding an id that follows from its evidence alone: not from the run, the order or the threads."""
    add, update = _ID_SQL.split(";")
    con.execute(add)
    con.execute(update, {"detector": detector.id})
    twice = con.execute("SELECT finding_id FROM found GROUP BY ALL HAVING count(*) > 1 LIMIT 1").fetchone()
    if twice:
        raise PackError(f"finding {twice[0]} is put out twice", hint="One row per record and stretch of evidence.")


def _write_findings(
    con: duckdb.DuckDBPyConnection,
    detector: Detector,
    json_facts: str,
    texts: Sequence[explain.Compiled],
    values: Mapping[str, object],
) -> None:
    zh, en = texts
    params = {
        "run_date": values["run_date"],
        "detector": detector.id,
        "version": detector.version,
        "strength": detector.strength,
        "severity": detector.severity,
        "status": detector.status,
        "clause": detector.clause,
        **zh.params,
        **en.params,
    }
    sql = f"""
        INSERT INTO findings
        SELECT
            $run_date, finding_id, $detector, $version, platform_id, record_id, account_id, course_id, institution_id,
            started_at, ended_at, coalesce(strength, $strength), $severity, $status, p_value, score,
            CAST(struck_s AS DOUBLE), CAST(to_json({json_facts}) AS VARCHAR), {zh.sql}, {en.sql}, $clause
        FROM found
        ORDER BY platform_id, record_id, account_id, course_id, started_at, finding_id
    """
    if "$timezone" in sql:
        params["timezone"] = values["timezone"]
    con.execute(sql, params)
    unsaid = con.execute(
        "SELECT finding_id FROM findings "
        "WHERE detector = $detector AND (explanation_zh IS NULL OR explanation_en IS NULL)",
        {"detector": detector.id},
    ).fetchone()
    if unsaid:
        raise PackError("facts.variant has a value without an explanation", hint="Add it to [explain].")


def _write_strikes(con: duckdb.DuckDBPyConnection, detector: Detector, run_date: object) -> None:
    con.execute(
        f"""
        INSERT INTO strikes
        SELECT $run_date, finding_id, $detector, platform_id, record_id, s.lesson_id, s.started_at, s.ended_at,
               round(s.seconds, {_PLACES})
        FROM (SELECT platform_id, record_id, finding_id, unnest(strikes) AS s FROM found)
        ORDER BY platform_id, record_id, finding_id, s.lesson_id, s.started_at, s.ended_at
        """,
        {"run_date": run_date, "detector": detector.id},
    )
