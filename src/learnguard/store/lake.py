"""The lake: immutable Parquet files, found through the manifest only, and seen through DuckDB views."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from learnguard.errors import StoreError
from learnguard.schema import DELIVERED, Column, Table, lake_columns
from learnguard.store import manifest
from learnguard.store.manifest import DeliveryEntry

QUARANTINE: Final = "quarantine"
QUARANTINE_COLUMNS: Final = (
    *(Column(n) for n in ("delivery_id", "table", "file")),
    Column("row", "integer", doc="row or line number in the file, as the source counts"),
    *(Column(n) for n in ("column", "reason", "value")),
    Column("row_json", "json", doc="the row as delivered, personal data masked; null: the row could not be read"),
)
_FOLDERS: Final = ("lake", QUARANTINE, "manifest", "work")


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file: ``path`` absolute, ``date`` the day in the delivery's zone (logs only), ``seq`` the place
    of its delivery in the manifest, ``rows`` in it, ``first_at``/``last_at`` the first and last time in it."""

    table: str
    path: Path
    delivery_id: str
    seq: int
    rows: int
    date: date | None
    platform_id: str | None
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Lake:
    """A store's lake below ``root``. Reading needs no lock: files never change, and the manifest only grows."""

    root: Path

    @classmethod
    def create(cls, root: Path) -> Lake:
        """The lake at ``root``, made when there is none (safe with several processes at once)."""
        for name in _FOLDERS:
            (root / name).mkdir(parents=True, exist_ok=True)
        return cls(root.resolve())

    @classmethod
    def open(cls, root: Path) -> Lake:
        """The lake at ``root``; StoreError when there is none."""
        if not (root / "manifest").is_dir():
            raise StoreError(f"there is no store at {root}", hint="Ingest a delivery first, or name the right folder.")
        return cls(root.resolve())

    @property
    def lock_file(self) -> Path:
        """The file whose lock a commit holds."""
        return self.root / "work.lock"

    def deliveries(self) -> tuple[DeliveryEntry, ...]:
        """Every delivery, oldest first. Raises StoreError on a damaged manifest entry."""
        return manifest.read(self.root / "manifest")

    def find(self, delivery_id: str) -> DeliveryEntry | None:
        """The delivery of this id, None when it is not in the lake."""
        return next((e for e in self.deliveries() if e.delivery_id == delivery_id), None)

    def parts(self, table: str, deliveries: Collection[str] | None = None) -> list[Part]:
        """The Parquet files of ``table`` (or ``quarantine``), oldest delivery first; ``deliveries`` limits them to
        the deliveries of these ids."""
        return _parts(self.root, self._chosen(deliveries), table)

    def verify(self) -> list[str]:
        """Check the manifest's chain and the hash of every Parquet file; the faults, one sentence each."""
        entries = self.deliveries()
        faults = manifest.chain_faults(entries)
        for entry in entries:
            for part in entry.parts:
                file = self.root / part.path
                if not file.is_file():
                    faults.append(f"{part.path} is missing (delivery {entry.delivery_id[:12]})")
                elif manifest.sha256_of(file) != part.sha256:
                    faults.append(f"{part.path} was changed after it was written (delivery {entry.delivery_id[:12]})")
        return faults

    def register(self, con: duckdb.DuckDBPyConnection, deliveries: Collection[str] | None = None) -> None:
        """Create a view per contract table on ``con``, and the views ``deliveries`` and ``quarantine``.

        A view has ``lake_columns(table)`` and ``delivery_id``; it is empty where nothing was delivered. Of tables
        with a key it shows the row of the latest delivery per key (of one delivery: the last row); all rows, with
        the place of their delivery as ``delivery_seq``, are in ``all_<table>``. ``deliveries`` limits everything to
        these ids.
        """
        con.execute("SET TimeZone = 'UTC'")
        chosen = self._chosen(deliveries)
        _register_deliveries(con, chosen)
        for table in DELIVERED.values():
            parts = _parts(self.root, chosen, table.name)
            _register_raw(con, f"all_{table.name}", (*lake_columns(table.name), Column("delivery_id")), parts)
            _register_current(con, table, bool(parts))
        _register_raw(con, "all_quarantine", QUARANTINE_COLUMNS, _parts(self.root, chosen, QUARANTINE))
        names = ", ".join(f'"{c.name}"' for c in QUARANTINE_COLUMNS)
        con.execute(f"CREATE OR REPLACE VIEW quarantine AS SELECT {names} FROM all_quarantine")

    def _chosen(self, deliveries: Collection[str] | None) -> tuple[DeliveryEntry, ...]:
        entries = self.deliveries()
        if deliveries is None:
            return entries
        wanted = set(deliveries)
        unknown = wanted - {e.delivery_id for e in entries}
        if unknown:
            raise StoreError(
                f"the store holds no delivery {sorted(unknown)[0]}", hint="List the deliveries that it holds."
            )
        return tuple(e for e in entries if e.delivery_id in wanted)


def _parts(root: Path, entries: Iterable[DeliveryEntry], table: str) -> list[Part]:
    return [
        Part(p.table, root / p.path, e.delivery_id, e.seq, p.rows, p.date, p.platform_id, p.first_at, p.last_at)
        for e in entries
        for p in e.parts
        if p.table == table
    ]


_DELIVERIES: Final = pa.schema(
    [
        ("seq", pa.int64()),
        ("delivery_id", pa.string()),
        ("platform_ids", pa.list_(pa.string())),
        ("timezone", pa.string()),
        ("source", pa.string()),
        ("delivered_at", pa.timestamp("us", tz="UTC")),
        ("ingested_at", pa.timestamp("us", tz="UTC")),
        ("ingested_by", pa.string()),
        ("rows", pa.int64()),
        ("good", pa.int64()),
        ("bad", pa.int64()),
        ("sum_mismatches", pa.list_(pa.string())),
    ]
)


def _register_deliveries(con: duckdb.DuckDBPyConnection, entries: Iterable[DeliveryEntry]) -> None:
    rows = [
        {
            "seq": e.seq,
            "delivery_id": e.delivery_id,
            "platform_ids": list(e.platform_ids),
            "timezone": e.timezone,
            "source": e.source,
            "delivered_at": e.delivered_at,
            "ingested_at": e.ingested_at,
            "ingested_by": e.ingested_by,
            "rows": sum(f.rows for f in e.files),
            "good": sum(f.good for f in e.files),
            "bad": sum(f.bad for f in e.files),
            "sum_mismatches": [f.name for f in e.files if f.sum_mismatch] + list(e.missing_files),
        }
        for e in entries
    ]
    con.register("_deliveries_rows", pa.Table.from_pylist(rows, schema=_DELIVERIES))
    # A table of its own: a registered Arrow table is not seen by cursors of this connection.
    con.execute("CREATE OR REPLACE TABLE _deliveries AS SELECT * FROM _deliveries_rows ORDER BY seq")
    con.unregister("_deliveries_rows")
    con.execute("CREATE OR REPLACE VIEW deliveries AS SELECT * FROM _deliveries")


def _register_raw(con: duckdb.DuckDBPyConnection, name: str, columns: tuple[Column, ...], parts: list[Part]) -> None:
    if parts:
        # Through the relation's own interface: a view cannot have bound parameters, and paths are not ours.
        relation = con.read_parquet([str(p.path) for p in parts], hive_partitioning=False, file_row_number=True)
        relation.create_view(f"_files_{name}", replace=True)
        typed = ", ".join(f'f."{c.name}"' for c in columns)
        con.execute(
            f'CREATE OR REPLACE VIEW "{name}" AS SELECT {typed}, d.seq AS delivery_seq, f.file_row_number AS _order '
            f'FROM "_files_{name}" AS f JOIN _deliveries AS d USING (delivery_id)'
        )
        return
    typed = ", ".join(f'CAST(NULL AS {c.sql_type}) AS "{c.name}"' for c in columns)
    con.execute(
        f'CREATE OR REPLACE VIEW "{name}" AS SELECT {typed}, CAST(NULL AS BIGINT) AS delivery_seq, '
        "CAST(NULL AS BIGINT) AS _order WHERE false"
    )


def _register_current(con: duckdb.DuckDBPyConnection, table: Table, has_parts: bool) -> None:
    names = ", ".join(f'"{c.name}"' for c in (*lake_columns(table.name), Column("delivery_id")))
    latest = ""
    # Logs are read without the join that gives each row its seq: they are the large tables.
    origin = f"all_{table.name}" if table.key or not has_parts else f"_files_all_{table.name}"
    if table.key:
        key = ", ".join(f'"{k}"' for k in table.key)
        within = f'"{table.time}" DESC, _order DESC' if table.time else "_order DESC"
        latest = f" QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY delivery_seq DESC, {within}) = 1"
    con.execute(f'CREATE OR REPLACE VIEW "{table.name}" AS SELECT {names} FROM "{origin}"{latest}')
