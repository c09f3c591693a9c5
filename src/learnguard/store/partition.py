"""Writing the lake's Parquet files: one per platform and local day for logs, one per delivery for other tables."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import duckdb

from learnguard.errors import DeliveryError
from learnguard.schema import Table, lake_columns
from learnguard.store import manifest
from learnguard.store.manifest import PartEntry

#: Up to so many parts each is sorted out of the source by itself; above, all is sorted once and then cut.
FEW_PARTS: Final = 8
MAX_PARTS: Final = 100_000
#: Every zone's offset is a multiple of this, so a day begins where a bucket begins.
_BUCKET_US: Final = 900_000_000


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows ready for the lake: a SELECT's ``sql`` with its ``params`` (the lake's columns and ``_fail``)."""

    sql: str
    params: Mapping[str, object]
    has_bad: bool = True

    @property
    def where(self) -> str:
        """The condition that leaves the good rows."""
        return "_fail IS NULL" if self.has_bad else "true"


@dataclass(frozen=True, slots=True)
class Slot:
    """The rows of one platform on one day."""

    platform_id: str
    date: date
    rows: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    """A Parquet file in the work room, on its way to ``entry.path`` in the store."""

    file: Path
    entry: PartEntry


def buckets_sql(table: Table, source: str) -> str:
    """Rows of ``source`` counted by platform, quarter hour and failure, with the first and last time of each."""
    return (
        f'SELECT platform_id, epoch_us("{table.time}") // {_BUCKET_US} AS bucket, _fail, count(*) AS n, '
        f'min("{table.time}") AS first_at, max("{table.time}") AS last_at FROM {source} GROUP BY ALL'
    )


def slots(con: duckdb.DuckDBPyConnection, buckets: str, zone: str) -> list[Slot]:
    """Fold the counts in the table ``buckets`` to platforms and days in ``zone``, in order."""
    found = con.execute(
        f"SELECT platform_id, CAST(timezone($zone, make_timestamptz(bucket * {_BUCKET_US})) AS DATE) AS day, "
        "CAST(sum(n) AS BIGINT), epoch_us(min(first_at)), epoch_us(max(last_at)) "
        f"FROM {buckets} WHERE _fail IS NULL GROUP BY ALL ORDER BY ALL",
        {"zone": zone},
    ).fetchall()
    if len(found) > MAX_PARTS:
        raise DeliveryError(
            f"the delivery holds {len(found)} pairs of platform and day, more than {MAX_PARTS}",
            hint="Check that platform_id names platforms; else split the delivery by year.",
        )
    return [Slot(p, d, n, instant(first), instant(last)) for p, d, n, first, last in found]


def instant(microseconds: int) -> datetime:
    """A time in UTC from microseconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def slug(platform_id: str) -> str:
    """A file name's share of a platform id: itself where it is plain, else a plain stand-in."""
    plain = re.sub(r"[^a-z0-9]+", "-", platform_id.lower()).strip("-")[:32]
    if plain == platform_id:
        return plain
    return f"{plain or 'p'}-{hashlib.sha256(platform_id.encode()).hexdigest()[:6]}"


class Writer:
    """Writes drafts one after another; each is hashed and synced beside the writing of the next."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        folder: Path,
        delivery_id: str,
        *,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._con = con
        self._folder = folder
        self._delivery_id = delivery_id
        self._progress = progress
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._drafts: list[tuple[PartEntry, Path, Future[str]]] = []

    def write_log(self, table: Table, rows: Rows, slots: list[Slot], zone: str, scratch: Path) -> None:
        """One part per slot, sorted by account and time; ``rows`` are read once per slot where slots are few,
        else once to sort all into ``scratch``."""
        order = _order(table)
        if len(slots) > FEW_PARTS:
            day = f'CAST(timezone($sort_zone, "{table.time}") AS DATE)'
            self._con.execute(
                f"COPY (SELECT * FROM ({rows.sql}) WHERE {rows.where} ORDER BY platform_id, {day}, {order}) "
                "TO $target (FORMAT parquet, COMPRESSION zstd, PRESERVE_ORDER true)",
                {**rows.params, "sort_zone": zone, "target": str(scratch)},
            )
            rows = Rows("SELECT * FROM read_parquet($sorted)", {"sorted": str(scratch)}, has_bad=False)
            order = ""
        for number, slot in enumerate(slots):
            self._write(self._entry(table, slot, number), *_of_slot(table, rows, slot, zone, order))
            if self._progress:
                self._progress(f"writing {table.name}", number + 1, len(slots))
        scratch.unlink(missing_ok=True)

    def _entry(self, table: Table, slot: Slot, number: int) -> PartEntry:
        folder = f"lake/{table.name}/date={slot.date.isoformat()}"
        path = f"{folder}/{slug(slot.platform_id)}-{self._delivery_id[:12]}-{number}.parquet"
        return PartEntry(table.name, path, slot.rows, "", slot.date, slot.platform_id, slot.first_at, slot.last_at)

    def write_table(self, table: Table, rows: Rows, count: int) -> None:
        """One part for all rows of a table without a time column, ordered by key and place in the delivery."""
        entry = PartEntry(table.name, f"lake/{table.name}/{self._delivery_id[:12]}-0.parquet", count, "")
        order = ", ".join([*(f'"{k}"' for k in table.key), "_file", "_row"])
        self._write(entry, f"{_select(table)} FROM ({rows.sql}) WHERE {rows.where}", order, rows.params)

    def write_quarantine(self, count: int) -> None:
        """The rows that are not good: what the table ``_bad`` holds."""
        entry = PartEntry("quarantine", f"quarantine/{self._delivery_id[:12]}.parquet", count, "")
        sql = "SELECT CAST($delivery_id AS VARCHAR) AS delivery_id, * EXCLUDE (delivery_id) FROM _bad"
        self._write(entry, sql, "file, row", {})

    def _write(self, entry: PartEntry, sql: str, order: str, params: Mapping[str, object]) -> None:
        file = self._folder / f"{len(self._drafts)}.parquet"
        sorting = f" ORDER BY {order}" if order else ""
        written = self._con.execute(
            f"COPY ({sql}{sorting}) TO $target (FORMAT parquet, COMPRESSION zstd, PRESERVE_ORDER true)",
            {**params, "delivery_id": self._delivery_id, "target": str(file)},
        ).fetchone()
        if written is None or written[0] != entry.rows:
            raise DeliveryError(
                f"{entry.table}: {entry.rows} rows were counted but {written and written[0]} written",
                hint="A file changed while it was read: ingest the delivery again when it is complete.",
            )
        self._drafts.append((entry, file, self._pool.submit(_sealed, file)))

    def finish(self) -> list[Draft]:
        """All drafts, synced to disk, with their hashes."""
        with self._pool:
            return [Draft(f, replace(e, sha256=sha.result())) for e, f, sha in self._drafts]

    def close(self) -> None:
        """Stop the hashing of what is not wanted any more."""
        self._pool.shutdown(cancel_futures=True)


def _sealed(file: Path) -> str:
    manifest.sync(file)
    return manifest.sha256_of(file)


def _of_slot(table: Table, rows: Rows, slot: Slot, zone: str, order: str) -> tuple[str, str, dict[str, object]]:
    where = (
        f"{rows.where} AND platform_id = $slot_platform "
        f'AND "{table.time}" >= $slot_begin AND "{table.time}" < $slot_end'
    )
    params = {
        **rows.params,
        "slot_platform": slot.platform_id,
        "slot_begin": _midnight(slot.date, zone),
        "slot_end": _midnight(slot.date + timedelta(days=1), zone),
    }
    return f"{_select(table)} FROM ({rows.sql}) WHERE {where}", order, params


def _select(table: Table) -> str:
    names = ", ".join(f'"{c.name}"' for c in lake_columns(table.name))
    return f"SELECT {names}, CAST($delivery_id AS VARCHAR) AS delivery_id"


def _order(table: Table) -> str:
    names = {c.name for c in table.columns}
    return ", ".join(f'"{n}"' for n in ("account_id", table.time, "event_id") if n in names)


def _midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)
