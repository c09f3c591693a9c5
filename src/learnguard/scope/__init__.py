"""From condensed days to the tables that detectors read: records, the people behind them, and what is news.

The connection holds the lake's views in its main schema and the temp views ``condensed_<output>``; every function
leaves temp tables on it (see the SQL files beside this one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from learnguard.schema import DELIVERED, LAKE_EXTRA, PERSONAL, TABLES_OF_NEWS
from learnguard.sql import run_file

#: Of all openings of pages, so large a share after the page was in use means that times contradict one another.
ORDER_RULES: Final = {"tolerance_s": 300, "fewest_pages": 20, "share": 0.2}
_ORDER_SAMPLE: Final = 500_000

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import duckdb


def find_people(con: duckdb.DuckDBPyConnection, *, class_hour_s: float) -> None:
    """Temp tables ``accounts``, ``known_records`` and ``record_spans``."""
    run_file(con, __package__, "people.sql", {"class_hour_s": class_hour_s})


def find_touched(
    con: duckdb.DuckDBPyConnection, *, known: Collection[str] | None, new_logs: Sequence[Path] | None = None
) -> None:
    """Temp table ``touched``: the records (platform_id, record_id) to which something arrived.

    ``known``: the deliveries that the last run had read; None: there was no run before, and all is news.
    ``new_logs``: the lake's log files that the last run had not read, or not whole; None: every account of a new or
    reopened day is news. Needs the temp views ``new_segments``, ``new_completions`` and ``new_checks`` unless ``known``
    is None: the condensed days of those files, whole.
    """
    if known is None:
        con.execute("CREATE OR REPLACE TEMP TABLE touched AS SELECT DISTINCT platform_id, record_id FROM known_records")
        return
    for table in TABLES_OF_NEWS:
        names = [c.name for c in DELIVERED[table].columns if c.name not in PERSONAL]
        names += [c.name for c in LAKE_EXTRA.get(table, ())]
        columns = ", ".join(f'"{n}"' for n in names)
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE new_{table} AS "
            f"SELECT {columns} FROM main.all_{table} WHERE NOT list_contains($known, delivery_id) "
            f"EXCEPT SELECT {columns} FROM main.all_{table} WHERE list_contains($known, delivery_id)",
            {"known": sorted(known)},
        )
    if new_logs is None:
        accounts = " UNION ".join(
            f"SELECT platform_id, account_id FROM {view}" for view in ("new_segments", "new_completions", "new_checks")
        )
        con.execute(f"CREATE OR REPLACE TEMP TABLE new_accounts AS {accounts}")
    else:
        con.execute("CREATE OR REPLACE TEMP TABLE new_accounts (platform_id VARCHAR, account_id VARCHAR)")
    if new_logs:
        con.execute(
            "INSERT INTO new_accounts SELECT DISTINCT platform_id, account_id "
            "FROM read_parquet($files, hive_partitioning = FALSE, union_by_name = TRUE)",
            {"files": [str(p) for p in new_logs]},
        )
    run_file(con, __package__, "touched.sql", {})


def check_clock_order(con: duckdb.DuckDBPyConnection, files: Sequence[Path], rows: int) -> None:
    """Temp table ``disordered``: platforms whose rows stand in an order that cannot be (see clock_order.sql).

    ``files`` are event files of the lake, ``rows`` how many rows they hold: a sample of whole accounts is looked at.
    """
    columns = "platform_id, account_id, page_id, session_id, lesson_id, ts, verb"
    if files:
        listed = ", ".join("'" + str(f).replace("'", "''") + "'" for f in files)
        one_in = max(1, rows // _ORDER_SAMPLE)
        con.execute(
            f"CREATE OR REPLACE TEMP VIEW order_sample AS SELECT {columns} "
            f"FROM read_parquet([{listed}], hive_partitioning = FALSE, union_by_name = TRUE) "
            f"WHERE hash(account_id) % {one_in}::UBIGINT = 0"
        )
    else:
        con.execute(f"CREATE OR REPLACE TEMP VIEW order_sample AS SELECT {columns} FROM main.events WHERE FALSE")
    run_file(con, __package__, "clock_order.sql", ORDER_RULES)


def lay_tables(con: duckdb.DuckDBPyConnection, *, timezone: str) -> None:
    """Temp tables ``lessons``, ``capabilities``, ``segments``, ``checks``, ``completions`` and ``claims``."""
    con.execute("CREATE TEMP TABLE IF NOT EXISTS disordered (platform_id VARCHAR)")
    run_file(con, __package__, "tables.sql", {"timezone": timezone})


def publish_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Tables ``people``, ``timeline`` and ``timeline_checks`` for report and case page."""
    run_file(con, __package__, "published.sql", {})
