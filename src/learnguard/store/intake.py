"""Taking a delivery in: every row checked, good rows into the lake, bad rows into the quarantine, then the commit.

A delivery counts when its manifest entry is written, and before that not at all. What cannot be read refuses the
whole delivery.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from learnguard.errors import DeliveryError, StoreError
from learnguard.schema import DELIVERED, Extract
from learnguard.store import manifest
from learnguard.store.manifest import DeliveryEntry, FileEntry
from learnguard.store.partition import Draft, Writer
from learnguard.store.staging import Staging, Taken, TakenTable, reading
from learnguard.store.workspace import Workspace

Progress = Callable[[str, int, int], None]


class FileFacts(Protocol):
    """What the store must know of a delivered file."""

    @property
    def name(self) -> str:
        """Its name in the delivery."""

    @property
    def path(self) -> Path:
        """Where it is read."""

    @property
    def bytes(self) -> int:
        """Its size."""

    @property
    def sha256(self) -> str:
        """Its sum, 64 hex digits."""

    @property
    def declared_sha256(self) -> str | None:
        """The sum that the platform declares, if it does."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery. ``since``: when it was ingested (for one already there: back then).

    ``reasons`` counts bad rows by (file, column, reason); the column is empty where the row could not be read.
    """

    delivery_id: str
    is_new: bool
    since: datetime
    files: tuple[FileEntry, ...]
    rows: int
    good: int
    bad: int
    reasons: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    unknown_columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sum_mismatches: tuple[str, ...] = ()
    unrecognised: tuple[str, ...] = ()
    late_uploads: int = 0
    seconds: float = 0.0


def delivery_id(files: Iterable[FileFacts], *, platform_id: str | None, timezone: str, source: str) -> str:
    """The id of a delivery: the same files read in the same way have the same one, whatever their order."""
    listed = sorted((f.name, f.sha256) for f in files)
    text = json.dumps([listed, platform_id, timezone, source], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def already_there(room: Workspace, id_: str) -> Outcome | None:
    """The outcome of a delivery that the lake holds; None when it does not."""
    entry = room.lake.find(id_)
    return None if entry is None else _outcome(entry, is_new=False)


def write_delivery(
    room: Workspace,
    *,
    files: Sequence[FileFacts],
    extracts: Sequence[Extract],
    source: str,
    timezone: str,
    key: bytes,
    platform_id: str | None = None,
    delivered_at: datetime | None = None,
    unknown_columns: Mapping[str, tuple[str, ...]] | None = None,
    missing_files: Sequence[str] = (),
    unrecognised: Sequence[str] = (),
    progress: Progress | None = None,
) -> Outcome:
    """Check ``extracts``, write them, and commit. A delivery that is already there changes nothing.

    ``files`` are the recognised files, ``key`` the secret behind pseudonyms, ``timezone`` the zone of times
    without one and of days. Raises DeliveryError when the delivery cannot be taken (nothing is committed then),
    StoreError when the store cannot hold it.
    """
    began = time.monotonic()
    read = {e.file for e in extracts}
    files = [f for f in files if f.name in read]
    id_ = delivery_id(files, platform_id=platform_id, timezone=timezone, source=source)
    if (there := already_there(room, id_)) is not None:
        return there
    if not files:
        raise DeliveryError("the delivery holds no rows of any table", hint="Name files after their tables.")
    before = {f.name: _state(f) for f in files}
    writer = Writer(room.con, room.folder("parts"), id_, progress=progress)
    try:
        tables = _take_all(Staging(room, timezone, platform_id, key, progress), extracts, writer)
        parts = writer.finish()
    finally:
        writer.close()
    _refuse_changed(files, before)
    taken = [t for table in tables for t in table.taken]
    entry = DeliveryEntry(
        seq=0,
        delivery_id=id_,
        platform_ids=tuple(sorted({p for table in tables for p in table.platforms})),
        timezone=timezone,
        source=source,
        delivered_at=delivered_at,
        ingested_at=datetime.now(UTC),
        ingested_by=_user(),
        files=_file_entries(files, taken, unknown_columns or {}),
        parts=tuple(d.entry for d in parts),
        missing_files=tuple(missing_files),
    )
    try:
        entry, is_new = _commit(room, entry, parts)
    except OSError as error:
        raise StoreError(
            f"the store cannot be written: {error.strerror}", hint="Check its disk and rights, and ingest again."
        ) from error
    return _outcome(
        entry,
        is_new=is_new,
        reasons={(t.file, *where): n for t in taken for where, n in t.reasons.items()},
        unrecognised=tuple(unrecognised),
        late=sum(t.late for t in tables),
        seconds=time.monotonic() - began,
    )


def _commit(room: Workspace, entry: DeliveryEntry, drafts: Sequence[Draft]) -> tuple[DeliveryEntry, bool]:
    lake = room.lake
    room.intend([d.entry.path for d in drafts])
    with manifest.locked(lake.lock_file):
        entries = lake.deliveries()
        for known in entries:
            if known.delivery_id == entry.delivery_id:
                return known, False
        faults = manifest.chain_faults(entries)
        if faults:
            raise StoreError(
                f"nothing can be added: {faults[0]}", hint="Run the store's verification, restore a backup."
            )
        folders = set()
        for draft in drafts:
            target = lake.root / draft.entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.file.replace(target)
            folders |= {target.parent, target.parent.parent}
        for folder in sorted(folders):
            manifest.sync(folder)
        sealed = entry.sealed(len(entries) + 1, entries[-1].hash if entries else manifest.GENESIS)
        name = f"{sealed.seq:08d}-{sealed.delivery_id[:12]}.json"
        manifest.write_durably(lake.root / "manifest" / name, manifest.encode(sealed))
    return sealed, True


def _take_all(staging: Staging, extracts: Sequence[Extract], writer: Writer) -> list[TakenTable]:
    """Every table in turn, into the writer's drafts."""
    tables = []
    with staging.zone(), reading("the delivery"):
        for name, table in DELIVERED.items():
            own = [e for e in extracts if e.table == name]
            if not own:
                continue
            taken = staging.take(table, own)
            if table.time:
                writer.write_log(table, taken.rows, taken.slots, staging.timezone, staging.scratch / "sorted.parquet")
            elif taken.good:
                writer.write_table(table, taken.rows, taken.good)
            staging.drop_files()
            tables.append(taken)
        bad = sum(t.bad for table in tables for t in table.taken)
        if bad:
            writer.write_quarantine(bad)
    return tables


def _state(file: FileFacts) -> tuple[int, int]:
    facts = file.path.stat()
    return facts.st_size, facts.st_mtime_ns


def _refuse_changed(files: Sequence[FileFacts], before: Mapping[str, tuple[int, int]]) -> None:
    for file in files:
        if _state(file) != before[file.name] or file.bytes != before[file.name][0]:
            raise DeliveryError(
                f"{file.name} changed while it was read", hint="Ingest the delivery again when it is complete."
            )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _file_entries(
    files: Sequence[FileFacts], taken: Sequence[Taken], unknown: Mapping[str, tuple[str, ...]]
) -> tuple[FileEntry, ...]:
    entries = []
    for file in files:
        # A file may hold rows of several tables (statements: events and lessons); its first table names it.
        own = [t for t in taken if t.file == file.name]
        entries += [
            FileEntry(
                name=file.name,
                table=t.table,
                sha256=file.sha256,
                bytes=file.bytes,
                rows=t.total,
                good=t.total - t.bad,
                bad=t.bad,
                unknown_columns=tuple(unknown.get(file.name, ())),
                sum_mismatch=file.declared_sha256 is not None and file.declared_sha256 != file.sha256,
                declared_sha256=file.declared_sha256,
            )
            for t in own
        ]
    return tuple(entries)


def _outcome(
    entry: DeliveryEntry,
    *,
    is_new: bool,
    reasons: Mapping[tuple[str, str, str], int] | None = None,
    unrecognised: tuple[str, ...] = (),
    late: int = 0,
    seconds: float = 0.0,
) -> Outcome:
    mismatched = dict.fromkeys(f.name for f in entry.files if f.sum_mismatch)
    return Outcome(
        delivery_id=entry.delivery_id,
        is_new=is_new,
        since=entry.ingested_at,
        files=entry.files,
        rows=sum(f.rows for f in entry.files),
        good=sum(f.good for f in entry.files),
        bad=sum(f.bad for f in entry.files),
        reasons=dict(reasons or {}),
        unknown_columns={f.name: f.unknown_columns for f in entry.files if f.unknown_columns},
        sum_mismatches=(*mismatched, *entry.missing_files),
        unrecognised=unrecognised,
        late_uploads=late,
        seconds=seconds,
    )
