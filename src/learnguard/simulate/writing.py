"""Deliveries on disk: the same frames always give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Final

import polars as pl
import xlsxwriter

from learnguard.simulate.schedule import TIMEZONE

#: Every table is delivered on the evening of its day, a second before midnight.
DELIVERED: Final = time(23, 59, 59, tzinfo=timezone(timedelta(hours=8)))
_WITH_OFFSET: Final = "%Y-%m-%dT%H:%M:%S%.3f%:z"
_LOCAL: Final = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery on disk: a folder or a .zip, of one platform (or the authority), for one local day."""

    path: Path
    platform_id: str
    day: date


def _as_text(frame: pl.DataFrame, layout: str) -> pl.DataFrame:
    """Times as local text: with the offset, or without one as many platforms have it."""
    times = [n for n, t in frame.schema.items() if isinstance(t, pl.Datetime)]
    return frame.with_columns(pl.col(times).dt.convert_time_zone(TIMEZONE).dt.strftime(layout))


def _csv(frame: pl.DataFrame) -> bytes:
    return _as_text(frame, _LOCAL).write_csv().encode()


def _jsonl(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    _as_text(frame, _WITH_OFFSET).write_ndjson(buffer)
    return buffer.getvalue()


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", row_group_size=200_000)
    return buffer.getvalue()


def _xlsx(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    # Without a fixed date the workbook would hold the moment of writing.
    book.set_properties({"created": datetime(2026, 1, 1)})  # noqa: DTZ001 - the format knows no zone
    _as_text(frame, _LOCAL).write_excel(book)
    book.close()
    return buffer.getvalue()


def encode(frame: pl.DataFrame, suffix: str) -> bytes:
    """``frame`` in the format that ``suffix`` names: csv, jsonl, jsonl.gz, parquet or xlsx."""
    if suffix == "jsonl.gz":
        return gzip.compress(_jsonl(frame), compresslevel=6, mtime=0)
    return {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet, "xlsx": _xlsx}[suffix](frame)


def _manifest(platform_id: str, day: date, files: Mapping[str, bytes]) -> bytes:
    lines = [
        "# Invented data: no such platform, person or record exists.",
        f'platform_id = "{platform_id}"',
        f'timezone = "{TIMEZONE}"',
        f"delivered_at = {datetime.combine(day, DELIVERED).isoformat()}",
        "",
        "[sha256]",
        *(f'"{name}" = "{hashlib.sha256(content).hexdigest()}"' for name, content in files.items()),
        "",
    ]
    return "\n".join(lines).encode()


def write_delivery(
    root: Path, platform_id: str, day: date, tables: Mapping[str, tuple[pl.DataFrame, str]], *, is_zipped: bool = False
) -> Delivery:
    """Writes ``tables`` (name to frame and format) as one delivery below ``root/<platform_id>``."""
    files = {f"{name}.{suffix}": encode(frame, suffix) for name, (frame, suffix) in tables.items()}
    files["delivery.toml"] = _manifest(platform_id, day, files)
    folder = root / platform_id
    if is_zipped:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{day.isoformat()}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                moment = (day.year, day.month, day.day, 23, 59, 58)
                entry = zipfile.ZipInfo(name, moment)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
    else:
        path = folder / day.isoformat()
        path.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (path / name).write_bytes(content)
    return Delivery(path, platform_id, day)
