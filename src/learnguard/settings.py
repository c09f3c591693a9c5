"""The one reader of the environment and of ``learnguard.toml``.

Nothing is read at import: call :func:`load_settings`. Order of precedence: arguments, environment
(``LEARNGUARD_*``), ``learnguard.toml`` in the working folder, defaults.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from learnguard.errors import LearnGuardError

PREFIX: Final = "LEARNGUARD_"
#: Never read from learnguard.toml, which many may read.
SECRETS: Final = frozenset({"identity_key", "api_token"})


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that differs between installations.

    ``memory_limit`` and ``threads`` go to DuckDB; ``identity_key`` (environment only) or
    ``identity_key_file`` hold the secret behind pseudonyms: without either, a key is made on first
    use at ``<store>/identity.key`` with mode 0600. ``policy`` and ``packs`` are optional paths that
    replace the shipped policy and add detector packs. ``api_token`` (environment only) is the bearer token that the
    web server asks for; it is required where ``host`` is not this machine's loopback.
    """

    store: Path = Path("learnguard-store")
    timezone: str = "Asia/Shanghai"
    lang: str = "zh"
    memory_limit: str = "2GB"
    threads: int = 0
    identity_key: str = ""
    identity_key_file: Path | None = None
    policy: Path | None = None
    packs: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8321
    api_token: str = field(default="", repr=False)

    def resolved_threads(self) -> int:
        """Threads for DuckDB: as set, or one per core this process may use."""
        return self.threads or len(os.sched_getaffinity(0))

    def resolved_key_file(self) -> Path:
        """Where the identity key lives."""
        return self.identity_key_file or self.store / "identity.key"


def _coerce(name: str, value: Any) -> Any:
    if name in {"store", "identity_key_file", "policy"}:
        return Path(value)
    if name == "packs":
        parts = value.split(os.pathsep) if isinstance(value, str) else value
        return tuple(Path(p) for p in parts if p)
    if name in {"threads", "port"}:
        try:
            return int(value)
        except ValueError:
            raise LearnGuardError(
                f"setting {name} must be a whole number, got {value!r}",
                hint=f"Correct {PREFIX}{name.upper()} or learnguard.toml.",
            ) from None
    return str(value)


def load_settings(*, environ: Mapping[str, str] | None = None, cwd: Path | None = None, **overrides: Any) -> Settings:
    """Settings from ``learnguard.toml`` in ``cwd``, then ``environ``, then ``overrides`` (None: not given).

    Raises LearnGuardError on an unknown key or a wrong value, naming it.
    """
    environ = os.environ if environ is None else environ
    names = {f.name for f in fields(Settings)}
    values: dict[str, Any] = {}
    file = (cwd or Path.cwd()) / "learnguard.toml"
    if file.is_file():
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise LearnGuardError(f"{file.name} is not valid TOML: {error}", hint="Correct the file.") from error
        unknown = sorted(set(data) - names | (SECRETS & set(data)))
        if unknown:
            raise LearnGuardError(
                f"{file.name} has settings that are not known or not allowed there: {', '.join(unknown)}",
                hint="Known: " + ", ".join(sorted(names - SECRETS)) + ". Secrets are set in the environment; "
                "the identity key may also be in a file of mode 0600.",
            )
        values |= {k: _coerce(k, v) for k, v in data.items()}
    values |= {n: _coerce(n, environ[PREFIX + n.upper()]) for n in names if environ.get(PREFIX + n.upper())}
    values |= {k: _coerce(k, v) for k, v in overrides.items() if v is not None}
    return replace(Settings(), **values)


def zone(name: str) -> ZoneInfo:
    """The time zone called ``name``; LearnGuardError when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise LearnGuardError(f"there is no time zone called {name!r}", hint="Use a name like Asia/Shanghai.") from None
