"""Opening a delivery: which files it holds, their sums, and what ``delivery.toml`` says of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

from learnguard.errors import DeliveryError

#: Called with (what is being done, bytes done, bytes in all).
Progress = Callable[[str, int, int], None]

DESCRIPTION: Final = "delivery.toml"
MAX_BYTES: Final = 200 * 1000**3
MAX_MEMBERS: Final = 100_000
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class DeliveredFile:
    """One file of a delivery: ``name`` relative to the delivery (with ``/``), ``path`` where it can be read,
    its size in ``bytes`` and its ``sha256`` (64 hex). ``declared_sha256`` is what delivery.toml says of it."""

    name: str
    path: Path
    bytes: int
    sha256: str
    declared_sha256: str | None = None

    @property
    def sum_mismatch(self) -> bool:
        """Whether delivery.toml declares another sum than the file has."""
        return self.declared_sha256 is not None and self.declared_sha256 != self.sha256


@dataclass(frozen=True, slots=True)
class DeliveryFiles:
    """An opened delivery. ``missing`` names files that delivery.toml declares a sum for but that are not there."""

    root: Path
    files: tuple[DeliveredFile, ...]
    platform_id: str | None = None
    timezone: str | None = None
    delivered_at: datetime | None = None
    missing: tuple[str, ...] = ()
    extras: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def sum_mismatches(self) -> tuple[str, ...]:
        """Names of files whose sum is not the declared one, and of declared files that are missing."""
        return tuple(f.name for f in self.files if f.sum_mismatch) + self.missing


@dataclass(frozen=True, slots=True)
class _Description:
    platform_id: str | None = None
    timezone: str | None = None
    delivered_at: datetime | None = None
    sums: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, object] = field(default_factory=dict)


def open_delivery(
    path: Path,
    *,
    workdir: Path,
    timezone: str = "Asia/Shanghai",
    progress: Progress | None = None,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
) -> DeliveryFiles:
    """Open the folder, .zip archive or single file at ``path`` and hash what it holds.

    A .zip is unpacked below ``workdir``. ``timezone`` gives the zone of a ``delivered_at`` without one where
    delivery.toml names no zone itself. Raises DeliveryError where the delivery is absent, empty, unsafe to
    unpack or described wrongly.
    """
    path = Path(path)
    if path.is_dir():
        root, members = path, sorted(_walk(path))
    elif path.is_file() and path.suffix.lower() == ".zip":
        root = _unpack(path, workdir / "unpacked", max_bytes=max_bytes, max_members=max_members, progress=progress)
        members = sorted(_walk(root))
        root, members = _inner_folder(root, members)
    elif path.is_file():
        root, members = path.parent, [path.name]
    else:
        raise DeliveryError(f"there is no delivery at {path}", hint="Name a folder, a .zip archive or one file.")
    description = _describe(root, members, timezone)
    data = [m for m in members if PurePosixPath(m).name != DESCRIPTION]
    if not data:
        raise DeliveryError(
            f"the delivery {path.name} holds no files", hint="It needs at least one file named after a table."
        )
    files = _hash_all(root, data, description.sums, progress)
    return DeliveryFiles(
        root=root,
        files=files,
        platform_id=description.platform_id,
        timezone=description.timezone,
        delivered_at=description.delivered_at,
        missing=tuple(sorted(set(description.sums) - {f.name for f in files})),
        extras=MappingProxyType(dict(description.extras)),
    )


def _is_hidden(name: str) -> bool:
    return any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts)


def _walk(root: Path) -> Iterator[str]:
    """Names of the regular files below ``root``; hidden ones are left out, links that lead outside are refused."""
    base = root.resolve()
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not _is_hidden(f)]
        for name in names:
            file = Path(folder) / name
            relative = file.relative_to(root).as_posix()
            if _is_hidden(relative):
                continue
            if file.is_symlink() and not file.resolve().is_relative_to(base):
                raise DeliveryError(
                    f"{relative} is a link that leads out of the delivery", hint="Deliver the file itself."
                )
            if file.is_file():
                yield relative


def _inner_folder(root: Path, members: list[str]) -> tuple[Path, list[str]]:
    """Step into the one folder that an archive of a folder consists of."""
    tops = {m.split("/", 1)[0] for m in members}
    if len(tops) == 1 and all("/" in m for m in members):
        top = tops.pop()
        return root / top, [m.split("/", 1)[1] for m in members]
    return root, members


def _unpack(archive: Path, target: Path, *, max_bytes: int, max_members: int, progress: Progress | None) -> Path:
    try:
        with zipfile.ZipFile(archive) as source:
            infos = [i for i in source.infolist() if not i.is_dir() and not _is_hidden(_member_name(i))]
            if len(infos) > max_members:
                raise DeliveryError(
                    f"{archive.name} holds {len(infos)} files, more than {max_members}",
                    hint="Deliver fewer, larger files.",
                )
            total = sum(i.file_size for i in infos)
            _refuse_size(archive, total, max_bytes)
            target.mkdir(parents=True)
            done = 0
            for info in infos:
                done += _unpack_member(source, info, archive, target, max_bytes - done)
                if progress:
                    progress(f"unpacking {archive.name}", done, total)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise DeliveryError(
            f"{archive.name} cannot be unpacked: {error}",
            hint="Make the archive again, as a plain .zip without password.",
        ) from error
    return target


def _refuse_size(archive: Path, size: int, limit: int) -> None:
    if size > limit:
        raise DeliveryError(
            f"{archive.name} would unpack to {size / 1e9:.1f} GB, more than {limit / 1e9:.1f} GB",
            hint="Split the delivery, or hand over the unpacked folder.",
        )


def _member_name(info: zipfile.ZipInfo) -> str:
    """The member's name; names written by Chinese Windows (GBK, no UTF-8 flag) are read as such."""
    name = info.filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("gb18030") if not name.isascii() else name
        except UnicodeError:
            name = info.filename
    return name.replace("\\", "/")


def _unpack_member(source: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path, target: Path, left: int) -> int:
    name = _member_name(info)
    kind = stat.S_IFMT(info.external_attr >> 16)
    parts = PurePosixPath(name)
    if (
        kind not in {0, stat.S_IFREG}
        or parts.is_absolute()
        or ".." in parts.parts
        or ":" in parts.parts[0]
        or "\0" in name
    ):
        raise DeliveryError(
            f"{archive.name} holds {name!r}, which is a link or leads out of the archive",
            hint="Do not unpack it by hand: ask the platform for a plain archive.",
        )
    file = target / name
    file.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    # The size in the archive's directory may lie: what counts is what comes out.
    with source.open(info) as stream, file.open("xb") as out:
        while chunk := stream.read(_CHUNK):
            written += len(chunk)
            _refuse_size(archive, written, left)
            out.write(chunk)
    return written


def _describe(root: Path, members: list[str], timezone: str) -> _Description:
    if DESCRIPTION not in members:
        return _Description()
    try:
        data = tomllib.loads((root / DESCRIPTION).read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeliveryError(
            f"{DESCRIPTION} is not valid TOML: {error}", hint="Correct the file, or leave it out."
        ) from error
    zone = _text(data, "timezone")
    check_zone(zone or timezone)
    sums = data.get("sha256", {})
    if not isinstance(sums, dict) or not all(isinstance(v, str) for v in sums.values()):
        raise DeliveryError(
            f'{DESCRIPTION}: [sha256] must hold lines of the form "file" = "hex"',
            hint="Correct the section, or leave it out.",
        )
    return _Description(
        platform_id=_text(data, "platform_id"),
        timezone=zone,
        delivered_at=_instant(data.get("delivered_at"), zone or timezone),
        sums={str(k).removeprefix("./"): v.strip().lower() for k, v in sums.items()},
        extras={k: v for k, v in data.items() if k not in {"platform_id", "timezone", "delivered_at", "sha256"}},
    )


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise DeliveryError(f"{DESCRIPTION}: {name} must be text, got {value!r}", hint=f'Write {name} = "…".')
    return value.strip() or None if value is not None else None


def check_zone(name: str) -> ZoneInfo:
    """The time zone called ``name``; DeliveryError when there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise DeliveryError(
            f"{name!r} is not a time zone", hint="Use a name of the IANA list, such as Asia/Shanghai."
        ) from None


def _instant(value: object, zone: str) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise DeliveryError(
                f"{DESCRIPTION}: delivered_at is not an ISO 8601 time: {value!r}",
                hint="Write for example delivered_at = 2026-03-02T01:00:00+08:00.",
            ) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=ZoneInfo(zone))
    if not isinstance(value, datetime):
        raise DeliveryError(f"{DESCRIPTION}: delivered_at must be a time", hint="Write it in ISO 8601.")
    return value if value.tzinfo else value.replace(tzinfo=ZoneInfo(zone))


def _hash_all(
    root: Path, names: list[str], sums: Mapping[str, str], progress: Progress | None
) -> tuple[DeliveredFile, ...]:
    sizes = {n: (root / n).stat().st_size for n in names}
    total, done = sum(sizes.values()), 0
    files = []
    for name in names:
        digest = hashlib.sha256()
        size = 0
        with (root / name).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                if progress:
                    progress(f"reading {name}", done + size, total)
        done += size
        files.append(DeliveredFile(name, root / name, size, digest.hexdigest(), sums.get(name)))
    return tuple(files)


def discard(folder: Path) -> None:
    """Remove ``folder`` and all below it, whatever state it is in."""
    shutil.rmtree(folder, ignore_errors=True)
