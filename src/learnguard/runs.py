"""Published runs: one immutable DuckDB file each, ``runs/<date>.v<N>.duckdb``, put in place by a rename.

A run writes under ``runs/.building-…`` where nobody looks; :func:`publish` gives the file its name. Re-running a
date adds a version; the latest version of a date is its valid word. Readers attach the files read-only.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from learnguard.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = re.compile(r"^(\d{4}-\d{2}-\d{2})\.v(\d+)\.duckdb$")


@dataclass(frozen=True, slots=True, order=True)
class PublishedRun:
    """One published run: its date, version (from 1) and file."""

    run_date: date
    version: int
    path: Path


def published_runs(store: Path) -> list[PublishedRun]:
    """Every published run of ``store``, in order of date and version."""
    folder = store / "runs"
    if not folder.is_dir():
        return []
    found = ((_NAME.match(p.name), p) for p in folder.iterdir())
    return sorted(PublishedRun(date.fromisoformat(m[1]), int(m[2]), p) for m, p in found if m)


def latest_runs(store: Path) -> list[PublishedRun]:
    """The latest version of every date, in order of date."""
    return list({r.run_date: r for r in published_runs(store)}.values())


def run_of(store: Path, run_date: date | None) -> PublishedRun:
    """The valid run of ``run_date`` (None: of the latest date). StoreError says which dates there are."""
    runs = latest_runs(store)
    if not runs:
        raise StoreError(f"no run has been published in {store}", hint="Run: learnguard run --date YYYY-MM-DD")
    if run_date is None:
        return runs[-1]
    for run in runs:
        if run.run_date == run_date:
            return run
    dates = ", ".join(r.run_date.isoformat() for r in runs[-5:])
    raise StoreError(f"no run of {run_date} has been published in {store}", hint=f"The latest there are: {dates}.")


def new_run_file(store: Path, run_date: date) -> Path:
    """A path to build a run in; leftovers of writers that died are removed."""
    folder = store / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".building-*"):
        pid = left.name.split("-")[1]
        if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
            left.unlink(missing_ok=True)
    path = folder / f".building-{os.getpid()}-{run_date.isoformat()}.duckdb"
    path.unlink(missing_ok=True)
    return path


def publish(store: Path, built: Path, run_date: date) -> PublishedRun:
    """Give the closed database ``built`` the next version of ``run_date``: readers see all of it or nothing."""
    while True:
        version = max((r.version for r in published_runs(store) if r.run_date == run_date), default=0) + 1
        final = store / "runs" / f"{run_date.isoformat()}.v{version}.duckdb"
        _sign(built, version)
        try:
            # A link fails where the name is taken: two runs of one date never write over each other.
            os.link(built, final)
        except FileExistsError:
            continue
        built.unlink()
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return PublishedRun(run_date, version, final)


def _sign(built: Path, version: int) -> None:
    """Write the version into the run itself, so that a copy of the file still says which it is."""
    con = duckdb.connect(str(built))
    try:
        con.execute("DELETE FROM run WHERE key = 'version'")
        con.execute("INSERT INTO run VALUES ('version', $version)", {"version": str(version)})
    finally:
        con.close()
    with built.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def open_run(run: PublishedRun) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection on a published run, in UTC."""
    con = duckdb.connect(str(run.path), read_only=True, config={"threads": 2})
    try:
        con.execute("SET TimeZone = 'UTC'")
        yield con
    finally:
        con.close()


def attach_runs(con: duckdb.DuckDBPyConnection, runs: Sequence[PublishedRun], tables: Sequence[str]) -> None:
    """Views ``tables`` on ``con`` over all ``runs`` together, each row with its ``run_date``."""
    for run in runs:
        alias = f"run_{run.run_date:%Y%m%d}"
        path = str(run.path).replace("'", "''")
        con.execute(f"ATTACH IF NOT EXISTS '{path}' AS {alias} (READ_ONLY)")
    for table in tables:
        parts = [f"SELECT * FROM run_{r.run_date:%Y%m%d}.{table}" for r in runs]
        con.execute(f"CREATE OR REPLACE TEMP VIEW {table} AS " + " UNION ALL BY NAME ".join(parts))
