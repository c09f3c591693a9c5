"""The local engine: whole or in buckets, the same rows; tables are restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from learnguard.engines.local import PARTITIONS, bucket_key, install_macros, select_into
from learnguard.errors import PackError
from learnguard.schema import CONDENSED, create_sql

SQL = """
SELECT coalesce(learner_id, account_id) AS who, count(*) AS n, $least AS least
FROM segments GROUP BY ALL HAVING n >= $least
"""


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(create_sql(CONDENSED["segments"]))
        connection.execute(
            "INSERT INTO segments BY NAME SELECT 'p' || i % 3 AS platform_id, 'a' || i % 50 AS account_id, "
            "CASE WHEN i % 50 < 30 THEN 'person' || i % 10 END AS learner_id FROM range(500) AS r(i)"
        )
        yield connection


def _rows(con: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    return con.execute("SELECT * FROM out ORDER BY ALL").fetchall()


@pytest.mark.parametrize("buckets", [2, 7, 64])
def test_buckets_give_what_the_whole_gives(con: duckdb.DuckDBPyConnection, buckets: int) -> None:
    select_into(con, SQL, {"least": 30}, target="out", reads=["segments"], partition_by="account")
    whole = _rows(con)
    assert len(whole) == 10
    select_into(con, SQL, {"least": 30}, target="out", reads=["segments"], partition_by="account", buckets=buckets)
    assert _rows(con) == whole
    assert con.execute("SELECT count(*) FROM duckdb_views() WHERE view_name = 'segments'").fetchone() == (0,)
    assert con.execute("SELECT count(*) FROM segments").fetchone() == (500,)


def test_views_are_dropped_when_the_query_fails(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(PackError, match="the SQL does not run"):
        select_into(con, "SELECT nothing FROM segments", {}, target="out", reads=["segments"],
                    partition_by="account", buckets=3)  # fmt: skip
    assert con.execute("SELECT count(*) FROM segments").fetchone() == (500,)


def test_a_view_is_split_like_a_table(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("ALTER TABLE segments RENAME TO stored")
    con.execute("CREATE VIEW segments AS SELECT * FROM stored")
    select_into(con, SQL, {"least": 1}, target="out", reads=["segments"], partition_by="account", buckets=5)
    assert con.execute("SELECT sum(n) FROM out").fetchone() == (500,)


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_temp_tables_and_views_are_split_and_put_back(con: duckdb.DuckDBPyConnection, kind: str) -> None:
    con.execute("ALTER TABLE segments RENAME TO stored")
    con.execute(f"CREATE TEMP {kind} segments AS SELECT * FROM stored")
    for _ in range(2):
        select_into(con, SQL, {"least": 30}, target="out", reads=["segments"], partition_by="account", buckets=4)
        assert len(_rows(con)) == 10
    with pytest.raises(PackError):
        select_into(con, "SELECT nothing FROM segments", {}, target="out", reads=["segments"],
                    partition_by="account", buckets=3)  # fmt: skip
    assert con.execute("SELECT count(*) FROM segments").fetchone() == (500,)


def test_keys_by_table() -> None:
    assert bucket_key("segments", "account") == "coalesce(learner_id, platform_id || '/' || account_id)"
    assert bucket_key("attempts", "login") == "platform_id || '/' || account_id"
    assert bucket_key("attempts", "account") is None
    assert bucket_key("lessons", "account") is None
    assert bucket_key("segments", "none") is None
    assert set(PARTITIONS) >= {"account", "device", "class", "exam"}


def test_macros(con: duckdb.DuckDBPyConnection) -> None:
    install_macros(con)
    row = con.execute(
        "SELECT seconds_between(TIMESTAMPTZ '2026-03-01 00:00:00+00', TIMESTAMPTZ '2026-03-02 00:00:00.25+00'), "
        "exact(1.00049), len(no_strikes()), typeof(no_strikes())"
    ).fetchone()
    assert row is not None
    assert [float(row[0]), float(row[1]), row[2]] == [86400.25, 1.0, 0]
    made = con.sql("SELECT [strike_time(NULL, now(), now())] AS a, [strike_seconds('l', now(), now(), 5)] AS b LIMIT 0")
    assert [str(t) for t in made.types] == [row[3], row[3]]
