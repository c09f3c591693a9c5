"""The manifest: one hash-chained JSON file per delivery. What is not named in it does not exist.

An entry is the commit point of a delivery. It is written last, by rename, while the store's lock is held.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from learnguard.errors import StoreError

GENESIS: Final = "0" * 64
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a delivery as it was read: ``rows`` = ``good`` + ``bad``."""

    name: str
    table: str
    sha256: str
    bytes: int
    rows: int
    good: int
    bad: int
    unknown_columns: tuple[str, ...] = ()
    sum_mismatch: bool = False
    declared_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class PartEntry:
    """One Parquet file of the lake (or of the quarantine): ``path`` is relative to the store.

    ``date`` is the calendar day in the delivery's zone, ``first_at``/``last_at`` the first and last time in it
    (tables with a time column only)."""

    table: str
    path: str
    rows: int
    sha256: str
    date: date | None = None
    platform_id: str | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeliveryEntry:
    """One delivery of the manifest. ``missing_files``: declared in delivery.toml, but not delivered."""

    seq: int
    delivery_id: str
    platform_ids: tuple[str, ...]
    timezone: str
    source: str
    delivered_at: datetime | None
    ingested_at: datetime
    ingested_by: str
    files: tuple[FileEntry, ...]
    parts: tuple[PartEntry, ...]
    missing_files: tuple[str, ...] = ()
    prev_hash: str = GENESIS
    hash: str = ""

    def digest(self) -> str:
        """SHA-256 over everything in the entry but the hash itself."""
        return hashlib.sha256(_canonical(self)).hexdigest()

    def sealed(self, seq: int, prev_hash: str) -> DeliveryEntry:
        """The entry at its place in the chain."""
        placed = replace(self, seq=seq, prev_hash=prev_hash, hash="")
        return replace(placed, hash=placed.digest())


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"not for the manifest: {type(value).__name__}")


def _as_dict(entry: DeliveryEntry) -> dict[str, Any]:
    return asdict(entry)


def _canonical(entry: DeliveryEntry) -> bytes:
    data = {k: v for k, v in _as_dict(entry).items() if k != "hash"}
    return json.dumps(data, default=_plain, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def encode(entry: DeliveryEntry) -> bytes:
    """The entry as it stands in its file."""
    return json.dumps(_as_dict(entry), default=_plain, ensure_ascii=False, indent=1).encode() + b"\n"


def decode(data: bytes, where: str) -> DeliveryEntry:
    """The entry that ``data`` holds; StoreError naming ``where`` when it holds none."""
    try:
        raw = json.loads(data)
        files = tuple(FileEntry(**{**f, "unknown_columns": tuple(f["unknown_columns"])}) for f in raw["files"])
        parts = tuple(_part(p) for p in raw["parts"])
        return DeliveryEntry(
            **{
                **raw,
                "platform_ids": tuple(raw["platform_ids"]),
                "missing_files": tuple(raw["missing_files"]),
                "delivered_at": _instant(raw["delivered_at"]),
                "ingested_at": datetime.fromisoformat(raw["ingested_at"]),
                "files": files,
                "parts": parts,
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"the manifest entry {where} is damaged: {error}", hint="Restore the manifest folder from its backup."
        ) from error


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _part(raw: Mapping[str, Any]) -> PartEntry:
    day = raw["date"]
    return PartEntry(
        **{
            **raw,
            "date": None if day is None else date.fromisoformat(day),
            "first_at": _instant(raw["first_at"]),
            "last_at": _instant(raw["last_at"]),
        }
    )


def read(folder: Path) -> tuple[DeliveryEntry, ...]:
    """All entries in order. Raises StoreError on a damaged entry."""
    files = sorted(f for f in folder.iterdir() if f.suffix == ".json" and not f.name.startswith("."))
    return tuple(decode(f.read_bytes(), f.name) for f in files)


def chain_faults(entries: Sequence[DeliveryEntry]) -> list[str]:
    """What is wrong with the chain, one sentence each; empty when nothing is."""
    faults = []
    previous = GENESIS
    for place, entry in enumerate(entries, 1):
        if entry.seq != place:
            faults.append(f"manifest entry {place} is missing (found {entry.seq})")
        if entry.prev_hash != previous:
            faults.append(f"manifest entry {entry.seq} does not follow the one before it")
        if entry.digest() != entry.hash:
            faults.append(f"manifest entry {entry.seq} was changed after it was written")
        previous = entry.hash
    return faults


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock of ``file`` against other processes; it falls with the process, however that ends."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder, before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(target: Path, data: bytes) -> None:
    """Write ``data`` to ``target`` so that it is there whole or not at all."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with draft.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(target)
    sync(target.parent)
