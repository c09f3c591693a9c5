"""The run: what it publishes, that it can be repeated, and that it survives being killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from learnguard import pipeline
from learnguard.errors import StoreError
from learnguard.opening import open_store
from learnguard.runs import latest_runs, open_run, published_runs
from learnguard.schema import RESULTS
from learnguard.settings import Settings
from learnguard.simulate import World


def _ingest(settings: Settings, world: World, *, until: date | None = None) -> None:
    for delivery in world.deliveries:
        if until is None or delivery.day <= until:
            pipeline.ingest(settings, delivery.path)


def _csv(path: Path, table: str) -> bytes:
    """A result table as bytes, in the order in which it is stored."""
    con = duckdb.connect(str(path), read_only=True)
    try:
        con.execute("SET TimeZone = 'UTC'")
        return con.sql(f"SELECT * FROM {table}").pl().write_csv().encode()
    finally:
        con.close()


def test_every_record_has_one_decision_and_the_ledger_adds_up(small_store: Path, small_world: World) -> None:
    last = latest_runs(small_store)[-1]
    with open_run(last) as con:
        records, twice = con.execute(
            "SELECT count(*), count(*) - count(DISTINCT (platform_id, record_id)) FROM decisions"
        ).fetchone() or (0, 0)
        assert records > 0
        assert twice == 0
        wrong = con.execute("""
            SELECT count(*) FROM decisions
            WHERE claimed_s IS NOT NULL
              AND claimed_s <> credited_s + unsupported_s
                  + coalesce(list_sum(map_values(CAST(CAST(struck AS JSON) AS MAP(VARCHAR, BIGINT)))), 0)
        """).fetchone()
        assert wrong == (0,)
        unexplained = con.execute(
            "SELECT count(*) FROM findings WHERE explanation_zh IS NULL OR explanation_en IS NULL OR clause IS NULL"
        ).fetchone()
        assert unexplained == (0,)


def test_findings_and_decisions_have_the_contracts_columns(small_store: Path) -> None:
    con = open_store(small_store)
    try:
        for name in ("findings", "decisions", "strikes"):
            assert tuple(con.sql(f"SELECT * FROM {name} LIMIT 0").columns) == RESULTS[name].names
    finally:
        con.close()


def test_running_again_gives_the_same_bytes_in_a_new_version(small_world: World, tmp_path: Path) -> None:
    first = Settings(store=tmp_path / "one", threads=1, memory_limit="1GB")
    second = Settings(
        store=tmp_path / "two", threads=4, memory_limit="1GB", identity_key_file=tmp_path / "one" / "identity.key"
    )
    last = small_world.start + timedelta(days=small_world.days - 1)
    for settings in (first, second):
        _ingest(settings, small_world)
    one = pipeline.run(first, last)
    again = pipeline.run(first, last)
    other = pipeline.run(second, last)
    assert (one.run.version, again.run.version) == (1, 2)
    assert one.findings > 0
    for table in ("findings", "strikes", "decisions", "days", "not_assessed", "timeline"):
        assert _csv(one.run.path, table) == _csv(again.run.path, table), table
        assert _csv(one.run.path, table) == _csv(other.run.path, table), f"{table}: another store, other threads"
    with open_run(again.run) as con:
        told = dict(con.execute("SELECT key, value FROM run").fetchall())
    assert told["changed_from"] == one.run.path.name
    assert told["changes"] == '{"added": 0, "gone": 0, "decided_otherwise": 0, "changed": 0}'


def test_a_day_assesses_only_what_it_touches(small_world: World, tmp_path: Path) -> None:
    settings = Settings(store=tmp_path / "store", memory_limit="1GB")
    day = small_world.start
    _ingest(settings, small_world, until=day)
    first = pipeline.run(settings, day)
    quiet = pipeline.run(settings, day + timedelta(days=1))
    assert first.records > 0
    assert quiet.records == 0, "nothing arrived on the second day"
    assert quiet.condensed == 0


def test_a_date_before_everything_says_so(small_world: World, tmp_path: Path) -> None:
    settings = Settings(store=tmp_path / "store", memory_limit="1GB")
    pipeline.ingest(settings, small_world.deliveries[0].path)
    with pytest.raises(StoreError, match="nothing had arrived"):
        pipeline.run(settings, small_world.start - timedelta(days=3))


def test_the_valid_word_on_a_record_is_the_latest(small_store: Path) -> None:
    con = open_store(small_store)
    try:
        dates = con.execute("SELECT count(DISTINCT run_date) FROM decisions").fetchone()
        assert dates is not None
        assert dates[0] == len(latest_runs(small_store))
    finally:
        con.close()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_leaves_the_store_whole(small_world: World, tmp_path: Path) -> None:
    settings = Settings(store=tmp_path / "store", memory_limit="1GB")
    _ingest(settings, small_world)
    last = small_world.start + timedelta(days=small_world.days - 1)
    command = [sys.executable, "-m", "learnguard", "run", "--date", last.isoformat(), "--store", str(settings.store)]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.monotonic() - started
    reference = latest_runs(settings.store)[-1]
    draw = random.Random(5)
    for _ in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.2, 0.98) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for run in published_runs(settings.store):
            with open_run(run) as con:
                assert con.execute("SELECT count(*) FROM decisions").fetchone() != (0,)
    after = pipeline.run(settings, last)
    for table in ("findings", "decisions"):
        assert _csv(after.run.path, table) == _csv(reference.path, table)
    assert not list((settings.store / "runs").glob(".building-*")), "what died is cleaned away"
    assert [p.name for p in (settings.store / "work").iterdir() if str(os.getpid()) not in p.name] == []


def test_a_reader_works_beside_a_run(small_world: World, tmp_path: Path) -> None:
    settings = Settings(store=tmp_path / "store", memory_limit="1GB")
    _ingest(settings, small_world)
    last = small_world.start + timedelta(days=small_world.days - 1)
    pipeline.run(settings, last)
    reader = open_store(settings.store)
    try:
        before = reader.execute("SELECT count(*) FROM findings").fetchone()
        pipeline.run(settings, last)
        assert reader.execute("SELECT count(*) FROM findings").fetchone() == before
    finally:
        reader.close()
