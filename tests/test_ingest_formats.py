"""Deliveries in every format: what comes in is what the lake holds, and bad rows are told by file and row."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from learnguard import sources, store
from learnguard.errors import DeliveryError

KEY = bytes(range(32))
CSV = (
    "platform_id,event_id,ts,account_id,verb,position_s\n"
    "p,e1,2026-03-01T09:00:00,a1,play,0\n"
    "p,e2,2026-03-01T09:00:30,a1,heartbeat,30\n"
)


@dataclass
class Store:
    """A store of the test, and the ways in and out of it."""

    root: Path
    con: duckdb.DuckDBPyConnection
    seen: int = -1

    def ingest(self, path: Path, *, source: str | None = None, platform_id: str | None = None) -> store.Outcome:
        lake = store.Lake.create(self.root)
        with store.workspace(lake, memory_limit="1GB", threads=2) as room:
            delivery = sources.open_delivery(path, workdir=room.path)
            mapping = sources.find_source(source) if source else sources.guess_source(delivery.files)
            platform = platform_id or delivery.platform_id
            reading = mapping.extracts(delivery, con=room.con, workdir=room.path, platform_id=platform)
            return store.write_delivery(
                room,
                files=delivery.files,
                extracts=reading.extracts,
                source=mapping.name,
                timezone=delivery.timezone or "Asia/Shanghai",
                key=KEY,
                platform_id=platform,
                delivered_at=delivery.delivered_at,
                unknown_columns=reading.unknown_columns,
                missing_files=delivery.missing,
                unrecognised=reading.unrecognised,
            )

    def rows(self, sql: str) -> list[Any]:
        lake = store.Lake.open(self.root)
        if len(lake.deliveries()) != self.seen:
            lake.register(self.con)
            self.seen = len(lake.deliveries())
        return self.con.execute(sql).fetchall()

    def quarantine(self) -> list[Any]:
        return self.rows('SELECT file, row, "column", reason, value FROM quarantine ORDER BY file, row')


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Store]:
    with duckdb.connect() as con:
        yield Store(tmp_path / "store", con)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "delivery"
    target.mkdir()
    return target


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


EVENTS = [
    ("e1", datetime(2026, 3, 1, 1, 0, tzinfo=UTC), "a1", "play", 0.0),
    ("e2", datetime(2026, 3, 1, 1, 0, 30, tzinfo=UTC), "a1", "heartbeat", 30.0),
]
LINES = (
    '{"platform_id":"p","event_id":"e1","ts":"2026-03-01T01:00:00Z","account_id":"a1","verb":"play","position_s":0}\n'
    '{"platform_id":"p","event_id":"e2","ts":"2026-03-01T01:00:30Z","account_id":"a1","verb":"heartbeat","position_s":30.0}\n'
)


def parquet_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    columns = list(zip(*EVENTS, strict=True))
    data = pa.table(
        {
            "platform_id": ["p", "p"],
            "event_id": columns[0],
            "ts": pa.array(columns[1], pa.timestamp("us", tz="UTC")),
            "account_id": columns[2],
            "verb": columns[3],
            "position_s": columns[4],
        }
    )
    pq.write_table(data, sink)
    return bytes(sink.getvalue())


FORMATS: dict[str, Callable[[], bytes]] = {
    "events.csv": CSV.encode,
    "events-0001.csv.gz": lambda: gzip.compress(CSV.encode()),
    "EVENTS-x.CSV.ZST": lambda: zstd(CSV.encode()),
    "events.jsonl": LINES.encode,
    "events-a-b.ndjson.gz": lambda: gzip.compress(LINES.encode()),
    "events.jsonl.zst": lambda: zstd(LINES.encode()),
    "events.parquet": parquet_bytes,
    "sub/events-é(1)[2].csv": CSV.encode,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(lake: Store, folder: Path, name: str) -> None:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(FORMATS[name]())
    outcome = lake.ingest(folder)
    assert (outcome.is_new, outcome.rows, outcome.good, outcome.bad) == (True, 2, 2, 0)
    assert [f.name for f in outcome.files] == [name]
    assert lake.rows("SELECT event_id, ts, account_id, verb, position_s FROM events ORDER BY event_id") == EVENTS
    assert store.Lake.open(lake.root).verify() == []


def test_text_variants_of_csv(lake: Store, folder: Path) -> None:
    (folder / "events-bom.csv").write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    (folder / "events-semi.csv").write_text(CSV.replace(",", ";").replace("e1", "e3").replace("e2", "e4"))
    (folder / "events-tab.csv").write_text(CSV.replace(",", "\t").replace("e1", "e5").replace("e2", "e6"))
    (folder / "events-utf16.csv").write_bytes(CSV.replace("e1", "e7").replace("e2", "e8").encode("utf-16"))
    outcome = lake.ingest(folder)
    assert (outcome.good, outcome.bad) == (8, 0)
    assert lake.rows("SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM events") == [("e1 e2 e3 e4 e5 e6 e7 e8",)]


def test_gbk_is_converted(lake: Store, folder: Path) -> None:
    text = "platform_id,course_id,lesson_id,title,duration_s\np,c,l1,第一课（音频）,600\np,c,l2,工作票与操作票,900\n"
    (folder / "lessons.csv").write_bytes(text.encode("gbk"))
    (folder / "lessons-2.csv.gz").write_bytes(
        gzip.compress(text.replace(",l1", ",m1").replace(",l2", ",m2").encode("gb18030"))
    )
    assert lake.ingest(folder).good == 4
    found = lake.rows("SELECT lesson_id, title, duration_s FROM lessons ORDER BY lesson_id")
    assert found == [
        ("l1", "第一课（音频）", 600.0),
        ("l2", "工作票与操作票", 900.0),
        ("m1", "第一课（音频）", 600.0),
        ("m2", "工作票与操作票", 900.0),
    ]


def test_neither_utf8_nor_gbk_is_refused(lake: Store, folder: Path) -> None:
    (folder / "events.csv").write_bytes(CSV.encode() + b"p,e3,2026-03-01T09:00:00,\xff\xff,play,1\n")
    with pytest.raises(DeliveryError, match=r"events\.csv is neither UTF-8 .* nor GB18030"):
        lake.ingest(folder)


def test_xlsx_keeps_numbers_and_dates_as_written(lake: Store, folder: Path) -> None:
    book = xlsxwriter.Workbook(str(folder / "records-2026.xlsx"))
    sheet = book.add_worksheet("records")
    stamp, day = book.add_format({"num_format": "yyyy-mm-dd hh:mm"}), book.add_format({"num_format": "yyyy/m/d"})
    names = [
        "Platform_ID ",
        "record_id",
        "account_id",
        "course_id",
        "claimed_hours",
        "completed_at",
        "claimed_at",
        "skill_level",
        "subsidy_cny",
        "备注",
    ]
    sheet.write_row(0, 0, names)
    sheet.write_row(1, 0, ["p", 12345, 20260001, "c1", 24])
    sheet.write_datetime(1, 5, datetime(2026, 3, 1, 9, 30), stamp)  # noqa: DTZ001 - a spreadsheet has no zones
    sheet.write_datetime(1, 6, datetime(2026, 3, 2), day)  # noqa: DTZ001
    sheet.write_row(1, 7, [3, 800.5])
    sheet.write_row(3, 0, ["p", "r2", "a2", "c1", -1, "2026-03-01"])
    book.add_worksheet("notes").write(0, 0, "not a table")
    book.close()
    outcome = lake.ingest(folder)
    assert (outcome.rows, outcome.bad) == (2, 1)
    assert outcome.unknown_columns == {"records-2026.xlsx": ("备注",)}
    assert lake.quarantine() == [("records-2026.xlsx", 4, "claimed_hours", "below the lowest value allowed", "-1")]
    found = lake.rows(
        "SELECT record_id, account_id, claimed_hours, completed_at, claimed_at, skill_level, subsidy_cny::VARCHAR "
        "FROM records"
    )
    at = datetime(2026, 3, 1, 1, 30, tzinfo=UTC), datetime(2026, 3, 1, 16, 0, tzinfo=UTC)
    assert found == [("12345", "20260001", 24.0, *at, 3, "800.50")]


def test_zip_of_a_folder(lake: Store, tmp_path: Path) -> None:
    archive = tmp_path / "march.zip"
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("march/events.csv", CSV)
        z.writestr("march/delivery.toml", 'platform_id = "p"\ndelivered_at = 2026-03-02T08:00:00\n')
        z.writestr("march/.DS_Store", "x")
        z.writestr("__MACOSX/march/events.csv", "x")
        z.writestr("march/readme.txt", "hello")
    outcome = lake.ingest(archive)
    assert (outcome.good, outcome.unrecognised) == (2, ("readme.txt",))
    assert lake.rows("SELECT delivered_at, good FROM deliveries") == [(datetime(2026, 3, 2, 0, 0, tzinfo=UTC), 2)]
    assert list((lake.root / "work").iterdir()) == []


def test_single_file(lake: Store, folder: Path) -> None:
    (folder / "events.csv").write_text(CSV)
    assert lake.ingest(folder / "events.csv").good == 2


def test_csv_rows_of_the_wrong_width_are_told_by_row(lake: Store, folder: Path) -> None:
    rows = [
        "p,e1,2026-03-01 09:00,a1,play,0",
        "p,e2,2026-03-01 09:00,a1",
        "",
        "p,e3,2026-03-01 09:00,a1,play,0,x,y",
        ",,,,,",
        'p,e4,2026-03-01 09:00,"a,1",play,0',
    ]
    (folder / "events.csv").write_text(CSV.split("\n", 1)[0] + "\n" + "\n".join(rows) + "\n")
    outcome = lake.ingest(folder)
    assert (outcome.rows, outcome.good, outcome.bad) == (4, 2, 2)
    assert lake.quarantine() == [
        ("events.csv", 3, None, "too few fields", None),
        ("events.csv", 4, None, "too many fields", None),
    ]
    assert outcome.reasons == {("events.csv", "", "too few fields"): 1, ("events.csv", "", "too many fields"): 1}
    assert lake.rows("SELECT account_id FROM events WHERE event_id = 'e4'") == [("a,1",)]


def test_csv_with_a_broken_quote_goes_on(lake: Store, folder: Path) -> None:
    rows = [
        "p,e1,2026-03-01 09:00,a1,play,0",
        'p,"e2,2026-03-01 09:00,a1,play,0',
        'p,"e""3",2026-03-01 09:00,a1,play,0',
        "p,e4,2026-03-01 09:00,a1,play",
        'p,"e5"x,2026-03-01 09:00,a1,play,0',
        'p,,2026-03-01 09:00,"a,2",play,',
    ]
    (folder / "events.csv").write_text(CSV.split("\n", 1)[0] + "\n" + "\n".join(rows))
    lake.ingest(folder)
    assert lake.quarantine() == [
        ("events.csv", 3, None, "a quote does not close", None),
        ("events.csv", 5, None, "too few fields", None),
        ("events.csv", 6, None, "a quote does not close", None),
    ]
    assert lake.rows("SELECT event_id, account_id, position_s FROM events ORDER BY event_id") == [
        ('e"3', "a1", 0.0),
        ("e1", "a1", 0.0),
        (None, "a,2", None),
    ]


def test_csv_values_over_several_lines(lake: Store, folder: Path) -> None:
    (folder / "items.csv").write_text('platform_id,item_id,key\np,i1,"A\nB"\np,i2,C\n')
    lake.ingest(folder)
    assert lake.rows("SELECT item_id, key FROM items ORDER BY item_id") == [("i1", "A\nB"), ("i2", "C")]


def test_json_lines_are_told_by_line(lake: Store, folder: Path) -> None:
    good = LINES.splitlines()
    bad = ["", "{not json", '["a"]', "null", good[0].replace('"ts"', '"t"'), '{"platform_id":"p"}', good[1]]
    (folder / "events.jsonl").write_text("\ufeff" + "\n".join([good[0], *bad]) + "\n", encoding="utf-8")
    outcome = lake.ingest(folder)
    assert (outcome.rows, outcome.good, outcome.bad) == (7, 2, 5)
    assert lake.quarantine() == [
        ("events.jsonl", 3, None, "not a JSON object", None),
        ("events.jsonl", 4, None, "not a JSON object", None),
        ("events.jsonl", 5, None, "not a JSON object", None),
        ("events.jsonl", 6, "ts", "missing", None),
        ("events.jsonl", 7, "ts", "missing", None),
    ]
    assert outcome.unknown_columns == {"events.jsonl": ("t",)}


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_line_numbers_hold_in_a_file_read_in_parallel(lake: Store, folder: Path, suffix: str) -> None:
    line = (
        '{"platform_id":"p","ts":"2026-03-01T09:00:00","account_id":"%d","verb":"play","user_agent":"'
        + "x" * 400
        + '"}'
    )
    lines = ["" if i % 997 == 0 else "{oops" if i % 20_011 == 0 else line % i for i in range(1, 120_001)]
    data = "\n".join(lines).encode()
    pack = {"": bytes, ".gz": lambda d: gzip.compress(d, 1), ".zst": zstd}[suffix]
    (folder / f"events.jsonl{suffix}").write_bytes(pack(data))
    outcome = lake.ingest(folder)
    assert outcome.good == sum(1 for x in lines if x.startswith('{"'))
    assert [r[1] for r in lake.quarantine()] == [i for i, x in enumerate(lines, 1) if x == "{oops"]


def test_a_cut_off_archive_is_refused(lake: Store, folder: Path) -> None:
    data = gzip.compress(LINES.encode() * 2000)
    (folder / "events.jsonl.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DeliveryError, match=r"events\.jsonl\.gz cannot be read to its end"):
        lake.ingest(folder)
    (folder / "events.jsonl.gz").unlink()
    data = zstd(LINES.encode() * 2000)
    (folder / "events.jsonl.zst").write_bytes(data[: len(data) // 2])
    with pytest.raises(DeliveryError, match=r"events\.jsonl\.zst cannot be read to its end"):
        lake.ingest(folder)
    assert store.Lake.open(lake.root).deliveries() == ()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("events.jsonl", b"no json\n", r"events\.jsonl holds no JSON objects"),
        ("events.parquet", b"PAR1 nothing PAR1", r"events\.parquet cannot be read"),
        ("events.parquet", b"", r"events\.parquet cannot be read"),
        ("events.csv", b"", r"events\.csv is empty: it has no header"),
        ("events.csv", b"\n\n", r"events\.csv is empty: it has no header"),
        ("roster.xlsx", b"no workbook", r"roster\.xlsx cannot be read as a workbook"),
        (
            "events.csv",
            b"platform_id,account_id,verb\np,a,play\n",
            r"events\.csv lacks ts; its columns are: platform_id, account_id, verb",
        ),
        ("roster.csv", b"platform_id,account_id\np,a\n", r"roster\.csv lacks learner_id or id_number"),
        ("events.csv", b"ts,account_id,verb\n2026-03-01,a,play\n", r"events\.csv lacks platform_id"),
        ("events.csv", b"ts,ts,account_id,verb\n", r"events\.csv has the column ts twice"),
        ("events.jsonl", b'{"platform_id":"p","verb":"x"}\n', r"events\.jsonl lacks ts, account_id"),
    ],
)
def test_what_cannot_be_read_refuses_the_delivery(
    lake: Store, folder: Path, name: str, data: bytes, message: str
) -> None:
    (folder / "lessons.csv").write_text("platform_id,course_id,lesson_id\np,c,l\n")
    (folder / name).write_bytes(data)
    with pytest.raises(DeliveryError, match=message) as caught:
        lake.ingest(folder)
    assert caught.value.hint
    assert store.Lake.open(lake.root).deliveries() == ()
    assert list((lake.root / "work").iterdir()) == []
    assert not any(p.is_file() for p in (lake.root / "lake").rglob("*"))


def test_platform_from_outside_fills_what_rows_do_not_say(lake: Store, folder: Path) -> None:
    (folder / "events.csv").write_text("platform_id,ts,account_id,verb\n,2026-03-01,a,play\nq,2026-03-01,b,play\n")
    (folder / "lessons.csv").write_text("course_id,lesson_id\nc,l\n")
    lake.ingest(folder, platform_id="平台一")
    assert lake.rows("SELECT platform_id, account_id FROM events ORDER BY 2") == [("平台一", "a"), ("q", "b")]
    assert lake.rows("SELECT platform_id FROM lessons") == [("平台一",)]
    parts = store.Lake.open(lake.root).parts("events")
    assert sorted((p.platform_id or "", p.rows) for p in parts) == [("q", 1), ("平台一", 1)]
    assert all(p.path.name.isascii() for p in parts)


def test_files_without_rows_are_fine(lake: Store, folder: Path) -> None:
    (folder / "events.csv").write_text(CSV.split("\n", 1)[0] + "\n")
    (folder / "lessons.jsonl").write_text("")
    outcome = lake.ingest(folder, platform_id="p")
    assert (outcome.is_new, outcome.rows) == (True, 0)
    assert lake.rows("SELECT count(*) FROM events") == [(0,)]


def test_files_of_no_table_are_refused(lake: Store, folder: Path) -> None:
    (folder / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DeliveryError, match=r"no file of the delivery is named after a table .*: notes\.csv"):
        lake.ingest(folder)


def test_many_days_and_files_make_one_part_per_platform_and_day(lake: Store, folder: Path) -> None:
    header = "platform_id,event_id,ts,account_id,verb\n"
    for number in range(3):
        text = [f"p{i % 2},{number}-{i},2026-03-{i % 20 + 1:02}T23:59:59.5,a{i % 7},play" for i in range(200)]
        (folder / f"events-{number}.csv").write_text(header + "\n".join(text) + "\n")
    assert lake.ingest(folder).good == 600
    parts = store.Lake.open(lake.root).parts("events")
    assert len(parts) == 20
    assert sum(p.rows for p in parts) == 600
    for part in parts:
        found = duckdb.sql("SELECT * FROM read_parquet($file)", params={"file": str(part.path)})
        rows: list[Any] = found.project("platform_id, account_id, ts, event_id").fetchall()
        assert {r[0] for r in rows} == {part.platform_id}
        assert [r[1:] for r in rows] == sorted(r[1:] for r in rows)
        days = found.project("CAST(timezone('Asia/Shanghai', ts) AS DATE)").distinct().fetchall()
        assert days == [(part.date,)]
        times = [r[2] for r in rows]
        assert [part.first_at, part.last_at] == [min(times), max(times)]
