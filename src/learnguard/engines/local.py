"""Run one SELECT on a DuckDB connection, whole or bucket by bucket so that memory stays bounded.

A bucket holds all rows of some keys (a learner, a device, a class): what one key needs lies in one bucket, so
any number of buckets gives the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from learnguard.errors import PackError, StoreError
from learnguard.schema import CONDENSED, DELIVERED

if TYPE_CHECKING:
    import duckdb

_LOGIN: Final = "platform_id || '/' || account_id"

#: What a detector may partition by: the columns a table needs to be split, and the SQL of the key. A table that lacks
#: them is offered whole in every bucket. ``account`` keeps all accounts of one learner together, ``login`` does not.
PARTITIONS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = MappingProxyType(
    {
        "account": (("learner_id", "platform_id", "account_id"), f"coalesce(learner_id, {_LOGIN})"),
        "login": (("platform_id", "account_id"), _LOGIN),
        "device": (("device_id",), "device_id"),
        "class": (("platform_id", "class_id"), "platform_id || '/' || class_id"),
        "institution": (("platform_id", "institution_id"), "platform_id || '/' || institution_id"),
        "exam": (("platform_id", "exam_id"), "platform_id || '/' || exam_id"),
        "none": ((), ""),
    }
)

#: The type of a detector's ``strikes``.
STRIKES: Final = "STRUCT(lesson_id VARCHAR, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, seconds DOUBLE)[]"

#: The only words that detector SQL uses beyond DuckDB's own.
MACROS: Final = (
    # Exact to the millisecond, so that a sum does not depend on the order in which rows arrive.
    "exact(x) AS CAST(x AS DECIMAL(18, 3))",
    "seconds_between(a, b) AS CAST(epoch(b) - epoch(a) AS DECIMAL(18, 3))",
    """strike_time(lesson, a, b) AS struct_pack(
        lesson_id := CAST(lesson AS VARCHAR), started_at := a, ended_at := b, seconds := CAST(NULL AS DOUBLE))""",
    """strike_seconds(lesson, a, b, s) AS struct_pack(
        lesson_id := CAST(lesson AS VARCHAR), started_at := a, ended_at := b, seconds := CAST(s AS DOUBLE))""",
    f"no_strikes() AS CAST([] AS {STRIKES})",
)


def install_macros(con: duckdb.DuckDBPyConnection) -> None:
    """Define on ``con`` the macros that detector SQL may use.

    ``exact(x)``: to the thousandth, as DECIMAL; ``seconds_between(from, to)``: seconds, exact;
    ``strike_time(lesson, from, to)``: a stretch of time (lesson null: of whatever was learned then);
    ``strike_seconds(lesson, from, to, s)``: seconds of a lesson; ``no_strikes()``: an empty list of them.
    """
    for macro in MACROS:
        con.execute(f"CREATE OR REPLACE TEMP MACRO {macro}")


def bucket_key(table: str, partition_by: str) -> str | None:
    """SQL expression that places a row of ``table`` in a bucket; None: the table is offered whole."""
    needs, key = PARTITIONS[partition_by]
    columns = set((CONDENSED.get(table) or DELIVERED[table]).names)
    return key if needs and columns.issuperset(needs) else None


def select_into(
    con: duckdb.DuckDBPyConnection,
    sql: str,
    params: Mapping[str, object],
    *,
    target: str,
    reads: Sequence[str],
    partition_by: str = "none",
    buckets: int = 1,
) -> None:
    """Run ``sql`` (one SELECT over the tables in ``reads``) and leave its rows in the temp table ``target``.

    ``params`` are bound by name. With ``buckets`` > 1 each table that has the partition's key is seen through a
    temp view of its name that shows one bucket at a time. Raises PackError when the SQL does not run.
    """
    split = {}
    if buckets > 1:
        split = {t: key for t, key in ((t, bucket_key(t, partition_by)) for t in reads) if key is not None}
    n = buckets if split else 1
    con.execute(f'DROP TABLE IF EXISTS temp."{target}"')
    sources = {}
    try:
        for table in split:
            sources[table] = _set_aside(con, table)
        for bucket in range(n):
            for table, key in split.items():
                # A view cannot bind parameters; both numbers are our own.
                con.execute(
                    f'CREATE OR REPLACE TEMP VIEW "{table}" AS SELECT * FROM {sources[table]} '
                    f"WHERE hash({key}) % {int(n)} = {int(bucket)}"
                )
            verb = f'CREATE TEMP TABLE "{target}" AS' if bucket == 0 else f'INSERT INTO temp."{target}"'
            _execute(con, f"{verb}\n{sql}", params)
    finally:
        for table, source in sources.items():
            con.execute(f'DROP VIEW IF EXISTS temp."{table}"')
            _put_back(con, table, source)


def _execute(con: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, object]) -> None:
    import duckdb  # noqa: PLC0415 - only the error classes are needed, and only here

    try:
        con.execute(sql, dict(params))
    except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
        raise PackError(f"the SQL does not run: {error}", hint="Correct detector.sql.") from error


_ASIDE: Final = "_whole"


def _set_aside(con: duckdb.DuckDBPyConnection, table: str) -> str:
    """The qualified name under which all of ``table`` can be read while a temp view bears its name.

    A stored table keeps its name, for temp names come first; a temp one makes way under another.
    """
    found = con.execute(
        "SELECT kind, database_name, schema_name, temporary FROM ("
        "SELECT 'TABLE' AS kind, database_name, schema_name, temporary FROM duckdb_tables() WHERE table_name = $name "
        "UNION ALL "
        "SELECT 'VIEW', database_name, schema_name, temporary FROM duckdb_views() WHERE view_name = $name) AS homes "
        "ORDER BY temporary DESC, database_name = current_database() DESC, schema_name = current_schema() DESC, 2, 3",
        {"name": table},
    ).fetchone()
    if found is None:
        raise StoreError(f"there is no table {table} to run detectors on", hint="Condense the logs first.")
    kind, database, schema, is_temp = found
    if not is_temp:
        return f'"{database}"."{schema}"."{table}"'
    con.execute(f'ALTER {kind} temp."{table}" RENAME TO "{table}{_ASIDE}"')
    return f'temp."{table}{_ASIDE}"'


def _put_back(con: duckdb.DuckDBPyConnection, table: str, source: str) -> None:
    if source == f'temp."{table}{_ASIDE}"':
        is_view = con.execute(
            "SELECT 1 FROM duckdb_views() WHERE view_name = $name AND temporary", {"name": f"{table}{_ASIDE}"}
        ).fetchone()
        con.execute(f'ALTER {"VIEW" if is_view else "TABLE"} {source} RENAME TO "{table}"')
