"""The store as such: the same delivery twice, several writers, sudden death, tampering, keys and views."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from learnguard import sources, store
from learnguard.errors import DeliveryError, StoreError
from learnguard.schema import DELIVERED, lake_columns
from learnguard.store import manifest

KEY = bytes(range(32))
#: The same call as in this process, for the processes that are killed or race.
SCRIPT = """
import sys
from pathlib import Path
from learnguard import sources, store
root, path = Path(sys.argv[1]), Path(sys.argv[2])
lake = store.Lake.create(root)
with store.workspace(lake, memory_limit="500MB", threads=1) as room:
    delivery = sources.open_delivery(path, workdir=room.path)
    reading = sources.find_source("contract").extracts(delivery, con=room.con, workdir=room.path)
    print("ready", flush=True)
    if len(sys.argv) > 3:
        sys.stdin.readline()
    outcome = store.write_delivery(room, files=delivery.files, extracts=reading.extracts, source="contract",
        timezone="Asia/Shanghai", key=bytes(range(32)))
print(outcome.is_new, outcome.delivery_id, flush=True)
"""


def ingest(root: Path, path: Path) -> store.Outcome:
    lake = store.Lake.create(root)
    with store.workspace(lake, memory_limit="500MB", threads=1) as room:
        delivery = sources.open_delivery(path, workdir=room.path)
        reading = sources.find_source("contract").extracts(delivery, con=room.con, workdir=room.path)
        return store.write_delivery(
            room,
            files=delivery.files,
            extracts=reading.extracts,
            source="contract",
            timezone="Asia/Shanghai",
            key=KEY,
            missing_files=delivery.missing,
        )


def write(folder: Path, *, rows: int = 200, platforms: int = 2, tag: str = "e") -> Path:
    """A delivery of ``rows`` events over 12 days, with a bad row and lessons."""
    folder.mkdir(parents=True, exist_ok=True)
    header = "platform_id,event_id,ts,account_id,verb,client_ts\n"
    lines = [f"p{i % platforms},{tag}{i},2026-03-{i % 12 + 1:02}T09:00:00,a{i % 50},play," for i in range(rows)]
    (folder / "events.csv").write_text(header + "\n".join([*lines, "p0,x,never,a,play,"]) + "\n")
    (folder / "lessons.csv").write_text("platform_id,course_id,lesson_id,title\np0,c,l1,old\np0,c,l2,two\n")
    return folder


def leftovers(root: Path) -> set[str]:
    """Files in the store that no manifest entry names."""
    known = {p.path for e in store.Lake.open(root).deliveries() for p in e.parts}
    there = {p.relative_to(root).as_posix() for d in ("lake", "quarantine", "work") for p in (root / d).rglob("*")}
    return {t for t in there if (root / t).is_file()} - known


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        yield con


def test_there_must_be_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at") as caught:
        store.Lake.open(tmp_path)
    assert caught.value.hint


def test_the_same_delivery_twice_changes_nothing(root: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "d")
    first = ingest(root, folder)
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
    second = ingest(root, folder)
    assert (first.is_new, second.is_new) == (True, False)
    assert (second.since, second.rows, second.bad) == (first.since, first.rows, 1)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()} == before
    renamed = tmp_path / "e"
    folder.rename(renamed)
    assert ingest(root, renamed).is_new is False


def test_manifest_entry_says_what_was_read(root: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "d")
    (folder / "delivery.toml").write_text('[sha256]\n"events.csv" = "00"\n"gone.csv" = "00"\n')
    outcome = ingest(root, folder)
    assert outcome.sum_mismatches == ("events.csv", "gone.csv")
    (entry,) = store.Lake.open(root).deliveries()
    events, lessons = entry.files
    assert (events.table, events.rows, events.good, events.bad, events.sum_mismatch) == ("events", 201, 200, 1, True)
    assert events.sha256 == manifest.sha256_of(folder / "events.csv")
    assert events.bytes == (folder / "events.csv").stat().st_size
    assert (lessons.table, lessons.good, lessons.sum_mismatch) == ("lessons", 2, False)
    assert (entry.seq, entry.platform_ids, entry.prev_hash) == (1, ("p0", "p1"), manifest.GENESIS)
    assert entry.missing_files == ("gone.csv",)
    assert {p.table for p in entry.parts} == {"events", "lessons", "quarantine"}
    file = root / "manifest" / f"00000001-{entry.delivery_id[:12]}.json"
    assert json.loads(file.read_text())["hash"] == entry.hash == entry.digest()


def test_tampering_shows(root: Path, tmp_path: Path) -> None:
    for number in range(3):
        ingest(root, write(tmp_path / f"d{number}", tag=f"t{number}-"))
    lake = store.Lake.open(root)
    assert lake.verify() == []
    part = lake.parts("events")[3].path
    data = part.read_bytes()
    part.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    id_ = lake.deliveries()[0].delivery_id[:12]
    assert lake.verify() == [f"{part.relative_to(lake.root)} was changed after it was written (delivery {id_})"]
    part.unlink()
    assert "is missing" in lake.verify()[0]
    part.write_bytes(data)
    files = sorted((root / "manifest").iterdir())
    kept = files[1].read_bytes()
    files[1].write_bytes(kept.replace(b'"rows": 201', b'"rows": 200'))
    assert lake.verify() == ["manifest entry 2 was changed after it was written"]
    with pytest.raises(StoreError, match="nothing can be added: manifest entry 2 was changed"):
        ingest(root, write(tmp_path / "d9", tag="t9-"))
    files[1].unlink()
    assert lake.verify() == [
        "manifest entry 2 is missing (found 3)",
        "manifest entry 3 does not follow the one before it",
    ]
    files[1].write_bytes(kept[:50])
    with pytest.raises(StoreError, match="is damaged"):
        lake.deliveries()


def test_two_processes_with_the_same_delivery(root: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "d")
    both = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(root), str(folder), "wait"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    said = [p.communicate("\n", timeout=60)[0].split() for p in both for _ in [p.stdin and p.stdin.flush()]]
    assert sorted(s[0] for s in said) == ["False", "True"]
    assert len({s[1] for s in said}) == 1
    assert len(store.Lake.open(root).deliveries()) == 1
    assert store.Lake.open(root).verify() == []
    assert leftovers(root) == set()


def test_many_processes_with_their_own_deliveries(root: Path, tmp_path: Path) -> None:
    folders = [write(tmp_path / f"d{i}", tag=f"t{i}-") for i in range(4)]
    running = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(root), str(f)], stdout=subprocess.PIPE, text=True)
        for f in folders
    ]
    said = [p.communicate(timeout=60)[0].split() for p in running]
    assert [s[1] for s in said] == ["True"] * 4
    entries = store.Lake.open(root).deliveries()
    assert [e.seq for e in entries] == [1, 2, 3, 4]
    assert store.Lake.open(root).verify() == []


def test_a_process_killed_at_any_moment_leaves_the_store_whole(root: Path, tmp_path: Path) -> None:
    ingest(root, write(tmp_path / "first", tag="first"))
    folder = write(tmp_path / "d", rows=60_000)
    whole = time.monotonic()
    ingest(tmp_path / "other", folder)
    took = time.monotonic() - whole
    seen = set()
    pick = random.Random(7)
    for _ in range(7):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(root), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pick.random() * took)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        lake = store.Lake.open(root)
        assert lake.verify() == []
        seen.add(len(lake.deliveries()))
        with duckdb.connect() as con:
            lake.register(con)
            assert con.execute("SELECT count(*) FROM events").fetchone() in {(200,), (60_200,)}
    outcome = ingest(root, folder)
    assert (outcome.good, outcome.bad) == (60_002, 1)
    assert len(store.Lake.open(root).deliveries()) == 2
    assert store.Lake.open(root).verify() == []
    assert leftovers(root) == set()
    assert 1 in seen


def test_killed_between_the_files_and_the_manifest(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "d")
    child = os.fork()
    if child == 0:  # the process that dies at the worst moment
        monkeypatch.setattr(manifest, "encode", lambda _: os._exit(9))
        try:
            ingest(root, folder)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert store.Lake.open(root).deliveries() == ()
    assert any(t.startswith("lake/events/") for t in leftovers(root))
    ingest(root, write(tmp_path / "other", tag="o"))
    assert leftovers(root) == set()
    assert ingest(root, folder).is_new
    assert store.Lake.open(root).verify() == []


def test_a_living_writers_room_is_left_alone(root: Path, tmp_path: Path) -> None:
    lake = store.Lake.create(root)
    (root / "work" / "123-dead").mkdir()
    (root / "work" / "123-dead" / "roster.csv").write_text("old")
    with store.workspace(lake) as room:
        (room.path / "mine").write_text("here")
        assert [p.name for p in (root / "work").iterdir()] == [room.path.name]
        with store.workspace(lake) as second:
            assert (room.path / "mine").read_text() == "here"
            assert second.path != room.path
    assert list((root / "work").iterdir()) == []


def test_settings_that_the_engine_does_not_take(root: Path) -> None:
    lake = store.Lake.create(root)
    with pytest.raises(StoreError, match="memory_limit cannot be 'much'"), store.workspace(lake, memory_limit="much"):
        pass
    assert list((root / "work").iterdir()) == []


def test_a_file_that_changes_meanwhile_is_refused(root: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "d")
    lake = store.Lake.create(root)
    with store.workspace(lake) as room:
        delivery = sources.open_delivery(folder, workdir=room.path)
        reading = sources.find_source("contract").extracts(delivery, con=room.con, workdir=room.path)
        with (folder / "events.csv").open("a") as more:
            more.write("p0,y,2026-03-01T09:00:00,a,play,\n")
        with pytest.raises(DeliveryError, match=r"events\.csv changed while it was read"):
            store.write_delivery(
                room, files=delivery.files, extracts=reading.extracts, source="contract", timezone="UTC", key=KEY
            )
    assert lake.deliveries() == ()


# --------------------------------------------------------------------------------------------------------- views


def test_every_table_is_a_view_with_its_columns(root: Path, con: duckdb.DuckDBPyConnection) -> None:
    store.Lake.create(root).register(con)
    for name in DELIVERED:
        found = con.execute(f'SELECT column_name, column_type FROM (DESCRIBE "{name}")').fetchall()
        want = [(c.name, c.sql_type.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")) for c in lake_columns(name)]
        assert found == [*want, ("delivery_id", "VARCHAR")]
        assert con.execute(f'SELECT count(*) FROM "{name}"').fetchone() == (0,)
    assert con.execute("SELECT count(*) FROM deliveries").fetchone() == (0,)
    found = con.execute("SELECT column_name FROM (DESCRIBE quarantine)").fetchall()
    assert [f[0] for f in found] == [c.name for c in store.QUARANTINE_COLUMNS]


def test_filled_tables_have_the_same_types_as_empty_ones(
    root: Path, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    ingest(root, write(tmp_path / "d"))
    store.Lake.open(root).register(con)
    for name in ("events", "lessons", "quarantine"):
        columns = store.QUARANTINE_COLUMNS if name == "quarantine" else lake_columns(name)
        types = con.execute(f'SELECT column_type FROM (DESCRIBE "{name}")').fetchall()
        want = [c.sql_type.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE") for c in columns]
        assert [t[0] for t in types][: len(want)] == want


def test_the_latest_row_of_a_key_counts(root: Path, tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    first = ingest(root, write(tmp_path / "d"))
    folder = tmp_path / "later"
    folder.mkdir()
    (folder / "lessons.csv").write_text("platform_id,course_id,lesson_id,title\np0,c,l1,draft\np0,c,l1,new\n")
    ingest(root, folder)
    lake = store.Lake.open(root)
    lake.register(con)
    found = "SELECT lesson_id, title FROM lessons ORDER BY 1"
    assert con.execute(found).fetchall() == [("l1", "new"), ("l2", "two")]
    assert con.execute("SELECT delivery_seq, title FROM all_lessons ORDER BY 1, 2").fetchall() == [
        (1, "old"),
        (1, "two"),
        (2, "draft"),
        (2, "new"),
    ]
    cursor = con.cursor()
    assert cursor.execute(found).fetchall() == [("l1", "new"), ("l2", "two")]
    lake.register(con, [first.delivery_id])
    assert con.execute(found).fetchall() == [("l1", "old"), ("l2", "two")]
    assert con.execute("SELECT count(*) FROM deliveries").fetchone() == (1,)
    assert [p.seq for p in lake.parts("lessons")] == [1, 2]
    assert [p.seq for p in lake.parts("lessons", [first.delivery_id])] == [1]
    with pytest.raises(StoreError, match="the store holds no delivery nope"):
        lake.parts("lessons", ["nope"])


def test_rows_of_a_keyed_table_without_their_optional_key_are_one(
    root: Path, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    for number, name in enumerate(("one", "two")):
        folder = tmp_path / name
        folder.mkdir()
        data = {"platform_id": ["p"], "account_id": ["a"], "learner_id": [f"L{number}"]}
        pq.write_table(pa.table(data), folder / "roster.parquet")
        ingest(root, folder)
    store.Lake.open(root).register(con)
    assert con.execute("SELECT account_id, class_id, learner_id FROM roster").fetchall() == [("a", None, "L1")]


def test_entries_survive_their_file() -> None:
    entry = manifest.DeliveryEntry(
        seq=0,
        delivery_id="a" * 64,
        platform_ids=("平台",),
        timezone="Asia/Shanghai",
        source="contract",
        delivered_at=None,
        ingested_at=datetime(2026, 3, 1, 1, 2, 3, 4, tzinfo=UTC),
        ingested_by="someone",
        files=(manifest.FileEntry("events.csv", "events", "0" * 64, 1, 2, 1, 1, ("typo",), True, "1" * 64),),
        parts=(manifest.PartEntry("lessons", "lake/lessons/a-0.parquet", 1, "2" * 64),),
    ).sealed(1, manifest.GENESIS)
    back = manifest.decode(manifest.encode(entry), "here")
    assert back == entry
    assert manifest.chain_faults([back]) == []
    assert manifest.chain_faults([replace(back, timezone="UTC")]) == [
        "manifest entry 1 was changed after it was written"
    ]
