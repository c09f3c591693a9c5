"""Work rooms: where a delivery is prepared before it counts, and how what a dead process left is cleared.

Every writer has a folder ``work/<pid>-<random>/`` that it holds locked. A folder whose lock is free belongs to
a process that is gone.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from learnguard.errors import StoreError
from learnguard.store import manifest
from learnguard.store.lake import Lake

_LOCK: Final = "lock"
_INTENT: Final = "intent.json"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder of one's own (``path``) and a DuckDB connection (``con``) whose spilled data goes there too."""

    lake: Lake
    path: Path
    con: duckdb.DuckDBPyConnection

    def folder(self, name: str) -> Path:
        """The subfolder ``name``, made when absent."""
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder

    def intend(self, paths: list[str]) -> None:
        """Note which files (relative to the store) are about to appear, so that a crash leaves none behind."""
        manifest.write_durably(self.path / _INTENT, json.dumps(paths).encode())


@contextmanager
def workspace(lake: Lake, *, memory_limit: str = "2GB", threads: int = 1) -> Iterator[Workspace]:
    """A work room in ``lake`` for one thread; it is gone afterwards, also after an error.

    What processes that no longer live left behind is cleared first. ``memory_limit`` and ``threads`` are DuckDB's.
    Raises StoreError when DuckDB does not take one of them.
    """
    with manifest.locked(lake.lock_file):
        _clear_dead(lake)
        path = lake.root / "work" / f"{os.getpid()}-{secrets.token_hex(4)}"
        path.mkdir(mode=0o700)
        handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        con = duckdb.connect()
        try:
            _configure(con, {"memory_limit": memory_limit, "threads": threads, "temp_directory": str(path / "spill")})
            con.execute("SET TimeZone = 'UTC'")
            yield Workspace(lake, path, con)
        finally:
            con.close()
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _configure(con: duckdb.DuckDBPyConnection, settings: dict[str, object]) -> None:
    for name, value in settings.items():
        try:
            con.execute(f"SET {name} = $value", {"value": value})
        except duckdb.Error:
            problem = StoreError(
                f"{name} cannot be {value!r}", hint="Write for example memory_limit = 2GB, threads = 2."
            )
            raise problem from None


def _clear_dead(lake: Lake) -> None:
    known: set[str] | None = None
    for folder in (lake.root / "work").iterdir():
        if not _is_dead(folder):
            continue
        if (folder / _INTENT).is_file():
            if known is None:
                known = {p.path for e in lake.deliveries() for p in e.parts}
            for name in json.loads((folder / _INTENT).read_bytes()):
                if name not in known:
                    (lake.root / name).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _is_dead(folder: Path) -> bool:
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
