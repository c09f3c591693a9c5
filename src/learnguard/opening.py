"""Opening a store: every table of it as a view on one DuckDB connection, and its condensed days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb

from learnguard.condense import OUTPUTS, CondenseRules
from learnguard.condense.units import Unit, plan_units
from learnguard.runs import attach_runs, latest_runs
from learnguard.schema import CONDENSED, RESULTS, create_sql
from learnguard.store import Lake, Part

#: How this version of LearnGuard reads logs.
RULES: Final = CondenseRules()
#: Tables of a published run that ``open_store`` offers over all runs.
RUN_TABLES: Final = ("findings", "strikes", "decisions")


def units_of(
    events: Sequence[Part], sessions: Sequence[Part], lake: Lake, cutoffs: Mapping[Path, datetime] | None = None
) -> list[Unit]:
    """The days that these log files of ``lake`` make (see condense.units.plan_units)."""
    timezones = {d.delivery_id: d.timezone for d in lake.deliveries()}
    return plan_units(events, sessions, timezones=timezones, cutoffs=cutoffs or {}, rules=RULES)


def offer_condensed(
    con: duckdb.DuckDBPyConnection, units: Sequence[Unit], root: Path, prefix: str = "condensed"
) -> None:
    """Temp views ``<prefix>_<output>`` over the units' files."""
    for output in OUTPUTS:
        files = [str(u.file(root / "condensed", output)) for u in units]
        name = f"{prefix}_{output}"
        if files:
            # Through the relation's own interface: a view cannot have bound parameters.
            con.read_parquet(files, hive_partitioning=False).create_view(name, replace=True)
        else:
            con.execute(
                create_sql(CONDENSED[output], name=name).replace("CREATE TABLE", "CREATE OR REPLACE TEMP TABLE", 1)
            )


def open_store(path: Path | str) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection on which every table of the contract is a view: raw, condensed and results.

    Raw tables are as delivered (of keyed tables the latest row per key; ``all_<table>`` has every row); ``segments``,
    ``checks``, ``completions`` and ``capabilities`` as last condensed; ``findings``, ``strikes`` and ``decisions`` of
    all published runs; ``deliveries``, ``quarantine`` and ``runs``. Days that no run has condensed yet are listed in
    ``days_to_condense``: their segments are missing until the next run. Reads only; times are UTC. One connection per
    thread: take ``con.cursor()`` for another. Raises StoreError when there is no store at ``path``.
    """
    root = Path(path)
    lake = Lake.open(root)
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    lake.register(con)
    units = units_of(lake.parts("events"), lake.parts("sessions"), lake)
    ready = [u for u in units if all(u.file(lake.root / "condensed", o).exists() for o in OUTPUTS)]
    for output in OUTPUTS:
        offer_condensed(con, ready, lake.root, "condensed")
        con.execute(f"CREATE OR REPLACE VIEW {output} AS SELECT * FROM condensed_{output}")
    con.execute("CREATE TABLE days_to_condense (platform_id VARCHAR, day DATE)")
    if waiting := [(u.platform_id, u.day) for u in units if u not in ready]:
        con.executemany("INSERT INTO days_to_condense VALUES (?, ?)", waiting)
    runs = latest_runs(root)
    if runs:
        attach_runs(con, runs, RUN_TABLES)
    else:
        for table in RUN_TABLES:
            con.execute(create_sql(RESULTS[table]))
    con.execute("CREATE TABLE runs (run_date DATE, version BIGINT, file VARCHAR)")
    if runs:
        con.executemany("INSERT INTO runs VALUES (?, ?, ?)", [(r.run_date, r.version, r.path.name) for r in runs])
    return con
