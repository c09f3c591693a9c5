"""Opening deliveries, safely, and finding the source that reads them."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from learnguard import sources
from learnguard.errors import DeliveryError
from learnguard.sources.contract import table_of


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "delivery"
    folder.mkdir()
    return folder


def test_files_are_listed_and_hashed(folder: Path, workdir: Path) -> None:
    (folder / "b.csv").write_bytes(b"x" * 3_000_000)
    (folder / "sub").mkdir()
    (folder / "sub" / "a.csv").write_bytes(b"y")
    (folder / ".hidden").write_bytes(b"z")
    (folder / ".git").mkdir()
    (folder / ".git" / "c.csv").write_bytes(b"z")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "d.csv").write_bytes(b"z")
    seen: list[tuple[str, int, int]] = []
    delivery = sources.open_delivery(folder, workdir=workdir, progress=lambda *step: seen.append(step))
    assert [(f.name, f.bytes, f.sha256) for f in delivery.files] == [
        ("b.csv", 3_000_000, hashlib.sha256(b"x" * 3_000_000).hexdigest()),
        ("sub/a.csv", 1, hashlib.sha256(b"y").hexdigest()),
    ]
    assert seen[-1][1:] == (3_000_001, 3_000_001)
    assert len(seen) == 4


def test_delivery_toml(folder: Path, workdir: Path) -> None:
    (folder / "events.csv").write_bytes(b"x")
    right = hashlib.sha256(b"x").hexdigest()
    (folder / "delivery.toml").write_text(
        'platform_id = "p"\ntimezone = "Asia/Urumqi"\ndelivered_at = "2026-03-02T08:00:00"\ncontact = "office"\n'
        f'[sha256]\n"events.csv" = "{right.upper()}"\n"./lost.csv" = "00"\n',
        encoding="utf-8-sig",
    )
    delivery = sources.open_delivery(folder, workdir=workdir)
    assert (delivery.platform_id, delivery.timezone) == ("p", "Asia/Urumqi")
    assert delivery.delivered_at is not None
    assert delivery.delivered_at.astimezone(UTC) == datetime(2026, 3, 2, 2, tzinfo=UTC)
    assert (delivery.missing, delivery.files[0].sum_mismatch) == (("lost.csv",), False)
    assert dict(delivery.extras) == {"contact": "office"}
    (folder / "events.csv").write_bytes(b"changed")
    assert sources.open_delivery(folder, workdir=workdir).sum_mismatches == ("events.csv", "lost.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("platform_id = ", "is not valid TOML"),
        ("platform_id = 3", "platform_id must be text"),
        ('timezone = "China/Beijing"', "'China/Beijing' is not a time zone"),
        ('delivered_at = "soon"', "delivered_at is not an ISO 8601 time"),
        ("delivered_at = 5", "delivered_at must be a time"),
        ('sha256 = "ab"', r"\[sha256\] must hold lines"),
    ],
)
def test_a_wrong_description_is_refused(folder: Path, workdir: Path, text: str, message: str) -> None:
    (folder / "events.csv").write_bytes(b"x")
    (folder / "delivery.toml").write_text(text)
    with pytest.raises(DeliveryError, match=message) as caught:
        sources.open_delivery(folder, workdir=workdir)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["../out.csv", "/abs.csv", "a/../../out.csv", "C:/x.csv", "..\\out.csv"])
def test_archives_do_not_leave_their_folder(tmp_path: Path, workdir: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as z:
        z.writestr(name, "x")
    with pytest.raises(DeliveryError, match=r"leads out of the archive|holds no files"):
        sources.open_delivery(tmp_path / "d.zip", workdir=workdir)
    assert list(tmp_path.rglob("*.csv")) == []


def test_links_are_refused(tmp_path: Path, folder: Path, workdir: Path) -> None:
    info = zipfile.ZipInfo("events.csv")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as z:
        z.writestr(info, "/etc/passwd")
    with pytest.raises(DeliveryError, match="is a link"):
        sources.open_delivery(tmp_path / "d.zip", workdir=workdir)
    (folder / "events.csv").symlink_to("/etc/passwd")
    with pytest.raises(DeliveryError, match="is a link that leads out"):
        sources.open_delivery(folder, workdir=workdir)


def test_archives_have_limits(tmp_path: Path, workdir: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for i in range(4):
            z.writestr(f"events-{i}.csv", "0" * 1000)
    with pytest.raises(DeliveryError, match="holds 4 files, more than 3"):
        sources.open_delivery(tmp_path / "d.zip", workdir=workdir, max_members=3)
    with pytest.raises(DeliveryError, match="would unpack to"):
        sources.open_delivery(tmp_path / "d.zip", workdir=workdir, max_bytes=3999)
    assert len(sources.open_delivery(tmp_path / "d.zip", workdir=workdir, max_bytes=4000).files) == 4


def test_broken_archives_are_refused(tmp_path: Path, workdir: Path) -> None:
    (tmp_path / "d.zip").write_bytes(b"PK no archive")
    with pytest.raises(DeliveryError, match=r"d\.zip cannot be unpacked"):
        sources.open_delivery(tmp_path / "d.zip", workdir=workdir)
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as z:
        z.writestr("events.csv", "0" * 1000)
    data = (tmp_path / "e.zip").read_bytes()
    (tmp_path / "e.zip").write_bytes(data.replace(b"0" * 100, b"1" * 100, 1))
    with pytest.raises(DeliveryError, match=r"e\.zip cannot be unpacked"):
        sources.open_delivery(tmp_path / "e.zip", workdir=workdir)


def test_names_written_by_chinese_windows(tmp_path: Path, workdir: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as z:
        z.writestr("events-XXXX.csv", "x")
    data = (tmp_path / "d.zip").read_bytes()
    (tmp_path / "d.zip").write_bytes(data.replace(b"XXXX", "三月".encode("gbk")))
    assert [f.name for f in sources.open_delivery(tmp_path / "d.zip", workdir=workdir).files] == ["events-三月.csv"]


def test_absent_and_empty_deliveries_are_refused(folder: Path, workdir: Path) -> None:
    with pytest.raises(DeliveryError, match="there is no delivery at"):
        sources.open_delivery(folder / "nothing", workdir=workdir)
    with pytest.raises(DeliveryError, match="holds no files"):
        sources.open_delivery(folder, workdir=workdir)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("events.parquet", "events"),
        ("events-0001.jsonl.gz", "events"),
        ("deep/er/Group_Sessions-2026-03.CSV.zst", "group_sessions"),
        ("roster.xlsx", "roster"),
        ("items.ndjson", "items"),
        ("events.parquet.gz", None),
        ("roster.xlsx.gz", None),
        ("eventsX.csv", None),
        ("events.txt", None),
        ("findings.csv", None),
        ("events", None),
    ],
)
def test_the_table_is_in_the_name(name: str, table: str | None) -> None:
    found = table_of(name)
    assert (found and found.name) == table


def test_sources_are_found_by_name_and_by_files(folder: Path, workdir: Path) -> None:
    assert list(sources.sources())[:2] == ["contract", "xapi"]
    assert sources.find_source("xapi").name == "xapi"
    with pytest.raises(DeliveryError, match="no source mapping called 'scorm'") as caught:
        sources.find_source("scorm")
    assert "contract, xapi" in caught.value.hint
    (folder / "log.jsonl").write_text('{"actor": {}, "verb": {}}\n')
    (folder / "readme.md").write_text("x")
    delivery = sources.open_delivery(folder, workdir=workdir)
    assert sources.guess_source(delivery.files).name == "xapi"
    (folder / "events.csv").write_text("x")
    (folder / "lessons.csv").write_text("x")
    assert sources.guess_source(sources.open_delivery(folder, workdir=workdir).files).name == "contract"


def test_unknown_columns_and_files_are_named(folder: Path, workdir: Path) -> None:
    (folder / "lessons.csv").write_text("platform_id,course_id,lesson_id,titel,Kind \np,c,l,x,video\n")
    (folder / "notes.csv").write_text("x\n")
    delivery = sources.open_delivery(folder, workdir=workdir)
    with duckdb.connect() as con:
        reading = sources.find_source("contract").extracts(delivery, con=con, workdir=workdir)
        (extract,) = reading.extracts
        rows = con.execute(extract.sql, dict(extract.params)).fetchall()
    assert reading.unknown_columns == {"lessons.csv": ("titel",)}
    assert reading.unrecognised == ("notes.csv",)
    assert (extract.table, extract.file, rows) == ("lessons", "lessons.csv", [(2, False, None, "p", "c", "l", "video")])
