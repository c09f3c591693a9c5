"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from learnguard.errors import ReportError


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(writers: Mapping[Path, Callable[[Path], None]]) -> list[Path]:
    """Call each writer with a temporary path beside its file, sync what it wrote, then rename all into place.

    No file changes its name before every writer is done; a failure leaves the old files as they were. Missing folders
    are made. Raises ReportError when the disk does not take it.
    """
    staged = {path: path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp") for path in writers}
    try:
        for path, write in writers.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(staged[path])
            with staged[path].open("rb+") as handle:
                os.fsync(handle.fileno())
        for path, temporary in staged.items():
            temporary.replace(path)
        for folder in {path.parent for path in writers}:
            _sync_folder(folder)
    except OSError as error:
        raise ReportError(
            f"the report cannot be written to {', '.join(str(p) for p in writers)}: {error.strerror or error}",
            hint="Check that the folder may be written to and that no other program holds the file.",
        ) from error
    finally:
        for temporary in staged.values():
            with contextlib.suppress(OSError):
                temporary.unlink()
    return list(writers)
