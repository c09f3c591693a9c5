"""``learnguard shell``: a plain prompt over every table of the store."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import duckdb

from learnguard.errors import StoreError
from learnguard.opening import open_store

_WELCOME = """\
Every table of the store is a view: events, sessions, records, roster …, segments, checks, completions,
findings, decisions, deliveries, quarantine, runs. SHOW TABLES; lists all.
End a query with ; and leave with .quit or Ctrl-D."""


def run_shell(store: Path, command: str | None) -> None:
    """Run ``command``, or read queries until the end. A faulty query says so; StoreError when a single one fails."""
    con = open_store(store)
    try:
        if command is not None:
            try:
                _show(con, command)
            except duckdb.Error as error:
                raise StoreError(f"the query failed: {error}", hint="Correct the SQL.") from error
            return
        _prompt(con)
    finally:
        con.close()


def _show(con: duckdb.DuckDBPyConnection, query: str) -> None:
    relation = con.sql(query)
    if relation is not None:
        relation.show(max_width=200)


def _prompt(con: duckdb.DuckDBPyConnection) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - line editing where the platform has it
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        print(_WELCOME)
    lines: list[str] = []
    while True:
        try:
            line = input(("learnguard> " if not lines else "        ... ") if is_terminal else "")
        except EOFError:
            break
        if not lines and line.strip() in {".quit", ".exit", "exit", "quit"}:
            return
        lines.append(line)
        if line.rstrip().endswith(";"):
            _try(con, "\n".join(lines))
            lines = []
    if any(line.strip() for line in lines):
        _try(con, "\n".join(lines))


def _try(con: duckdb.DuckDBPyConnection, query: str) -> None:
    try:
        _show(con, query)
    except duckdb.Error as error:
        print(f"error: {error}", file=sys.stderr)
