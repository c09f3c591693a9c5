"""Writing a run down: its results, what it read, and the rules it judged by, in one file that explains itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from learnguard import scope
from learnguard.detection.model import Detector
from learnguard.runs import PublishedRun, latest_runs, new_run_file, open_run, publish

if TYPE_CHECKING:
    import duckdb

_PUBLISHED: Final = (
    "findings",
    "strikes",
    "decisions",
    "days",
    "not_assessed",
    "people",
    "timeline",
    "timeline_checks",
)


def publish_run(
    con: duckdb.DuckDBPyConnection,
    store: Path,
    run_date: date,
    *,
    facts: Mapping[str, str],
    inputs: Sequence[tuple[str, str]],
    detectors: Sequence[Detector],
    overrides: Mapping[str, Mapping[str, float]],
) -> PublishedRun:
    """Write the result tables on ``con`` and what explains them into a new run file, and publish it.

    ``facts`` go to the table ``run``; ``inputs`` are (kind, name) of what was read, for the next run to know.
    """
    scope.publish_tables(con)
    _describe_detectors(con, detectors, overrides)
    same_date = [r for r in latest_runs(store) if r.run_date == run_date]
    path = new_run_file(store, run_date)
    con.execute(f"ATTACH '{_quoted(path)}' AS built")
    for table in (*_PUBLISHED, "detectors"):
        con.execute(f'CREATE TABLE built."{table}" AS SELECT * FROM "{table}"')
    con.execute("CREATE TABLE built.inputs (kind VARCHAR, name VARCHAR)")
    _insert(con, "built.inputs", inputs)
    told = {
        **facts,
        "run_date": run_date.isoformat(),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "learnguard_version": _version(),
        **(_changes(con, same_date[-1]) if same_date else {}),
    }
    con.execute("CREATE TABLE built.run (key VARCHAR, value VARCHAR)")
    _insert(con, "built.run", sorted(told.items()))
    con.execute("DETACH built")
    return publish(store, path, run_date)


def read_inputs(run: PublishedRun) -> tuple[set[str], set[str]]:
    """The deliveries and log parts that a published run had read."""
    with open_run(run) as con:
        rows = con.execute("SELECT kind, name FROM inputs").fetchall()
    return {n for k, n in rows if k == "delivery"}, {n for k, n in rows if k == "part"}


def _quoted(path: Path) -> str:
    """A path inside an SQL string: ATTACH cannot bind one."""
    return str(path).replace("'", "''")


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: Collection[tuple[str, str]]) -> None:
    if rows:
        con.execute(
            f"INSERT INTO {table} SELECT unnest($a), unnest($b)",
            {"a": [r[0] for r in rows], "b": [r[1] for r in rows]},
        )


def _version() -> str:
    try:
        return version("learnguard")
    except PackageNotFoundError:
        return "source"


def _describe_detectors(
    con: duckdb.DuckDBPyConnection, detectors: Sequence[Detector], overrides: Mapping[str, Mapping[str, float]]
) -> None:
    """Table ``detectors``: the rules in force, as text, so that a run explains itself years later."""
    rows = [
        {
            "detector": d.id,
            "version": d.version,
            "title_zh": d.title.zh,
            "title_en": d.title.en,
            "clause": d.clause,
            "strength": d.strength,
            "severity": d.severity,
            "status": d.status,
            "triage_zh": json.dumps(d.triage.zh, ensure_ascii=False),
            "triage_en": json.dumps(d.triage.en),
            "false_positives_zh": json.dumps(d.false_positives.zh, ensure_ascii=False),
            "false_positives_en": json.dumps(d.false_positives.en),
            "lookalikes_zh": json.dumps({k: v.zh for k, v in d.lookalikes.items()}, ensure_ascii=False),
            "lookalikes_en": json.dumps({k: v.en for k, v in d.lookalikes.items()}),
            "params": json.dumps(
                {
                    p.name: {
                        "value": overrides.get(d.id, {}).get(p.name, p.value),
                        "unit": p.unit,
                        "why_zh": p.why.zh,
                        "why_en": p.why.en,
                    }
                    for p in d.params
                },
                ensure_ascii=False,
            ),
            "sql": d.sql,
            "requires": json.dumps([{"kind": r.kind, "names": r.names, "missing": r.missing} for r in d.requires]),
        }
        for d in detectors
    ]
    con.register("_frame", pl.DataFrame(rows).to_arrow())
    con.execute("CREATE OR REPLACE TABLE detectors AS SELECT * FROM _frame")
    con.unregister("_frame")


def _changes(con: duckdb.DuckDBPyConnection, last: PublishedRun) -> dict[str, str]:
    """How this run of a date differs from the version published before."""
    con.execute(f"ATTACH '{_quoted(last.path)}' AS last (READ_ONLY)")
    row = con.execute("""
        SELECT
            count(*) FILTER (WHERE o.record_id IS NULL)                                    AS added,
            count(*) FILTER (WHERE n.record_id IS NULL)                                    AS gone,
            count(*) FILTER (WHERE n.decision <> o.decision)                               AS decided_otherwise,
            count(*) FILTER (WHERE n.decision = o.decision
                             AND (n.credited_s, n.struck, n.withheld_cny, n.reasons)
                              IS DISTINCT FROM (o.credited_s, o.struck, o.withheld_cny, o.reasons)) AS changed
        FROM built.decisions AS n
        FULL JOIN last.decisions AS o USING (platform_id, record_id)
    """).fetchone()
    con.execute("DETACH last")
    names = ("added", "gone", "decided_otherwise", "changed")
    counts = dict(zip(names, row or (0,) * len(names), strict=True))
    return {"changed_from": last.path.name, "changes": json.dumps(counts)}
