"""The lock file: which version of a detector stands for which SQL and defaults.

A change of either needs a new version, so that a finding's version always says what was run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from learnguard.detection.model import Detector
from learnguard.detection.packs import default_root
from learnguard.errors import PackError

_HEAD = "# Written by learnguard.detection.lock.write_lock: id, version, and SHA-256 of SQL and default parameters.\n"


def lock_text(detectors: Sequence[Detector]) -> str:
    """The text of a lock file for ``detectors``."""
    ordered = sorted(detectors, key=lambda d: d.id)
    parts = (f'\n[{d.id}]\nversion = {d.version}\nfingerprint = "{d.fingerprint}"\n' for d in ordered)
    return _HEAD + "".join(parts)


def read_lock(file: Path | None = None) -> dict[str, tuple[int, str]]:
    """Detector id to (version, fingerprint) as locked; empty when there is no lock file yet."""
    file = file or default_root() / "lock.toml"
    if not file.is_file():
        return {}
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        return {k: (int(v["version"]), str(v["fingerprint"])) for k, v in data.items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise PackError(
            f"{file.name} is not a lock file: {error!r}", hint="Restore it from version control."
        ) from error


def lock_problems(detectors: Sequence[Detector], locked: dict[str, tuple[int, str]]) -> list[str]:
    """What stands against writing or trusting the lock: one sentence per detector, empty when all agree."""
    problems = []
    for d in detectors:
        if d.id not in locked:
            problems.append(f"{d.id} is not locked yet")
            continue
        version, fingerprint = locked[d.id]
        if d.version < version:
            problems.append(f"{d.id} has version {d.version}, but {version} is locked")
        elif d.version == version and d.fingerprint != fingerprint:
            problems.append(f"{d.id} changed its SQL or a default without a new version (still {version})")
        elif d.version > version:
            problems.append(f"{d.id} has the new version {d.version}, which is not locked yet")
    return problems


def write_lock(detectors: Sequence[Detector], file: Path | None = None, *, force: bool = False) -> Path:
    """Lock ``detectors`` and return the file written.

    Raises PackError when SQL or defaults changed under a version already locked, or a version went down, unless
    ``force`` is set (for a version that was never released).
    """
    file = file or default_root() / "lock.toml"
    against = [p for p in lock_problems(detectors, read_lock(file)) if "not locked yet" not in p]
    if against and not force:
        raise PackError("; ".join(against), hint="Raise `version` in the detector.toml concerned.")
    file.write_text(lock_text(detectors), encoding="utf-8")
    return file
