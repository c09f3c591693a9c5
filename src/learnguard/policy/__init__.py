"""The policy file: a region's numbers, each with its unit, clause and reason.

:func:`load_policy` reads and checks one; the shipped ``default.toml`` is used where none is named.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, time
from importlib import resources
from pathlib import Path
from typing import Any, Final

from learnguard.errors import PolicyError

_NUMBERS: Final = {
    "class_hour": (30.0, 60.0),
    "withhold_min_struck_s": (0.0, 36_000.0),
    "withhold_min_struck_share": (0.0, 1.0),
    "daily_cap_s": (0.0, 86_400.0),
}
#: A number in another unit than the program's would be read wrongly without anybody noticing.
_UNITS: Final = {"class_hour": "min", "withhold_min_struck_s": "s", "daily_cap_s": "s"}
_OPTIONAL: Final = {"daily_cap_s", "closed_night"}
_ENTRY_KEYS: Final = {"value", "unit", "clause", "why"}


@dataclass(frozen=True, slots=True)
class Policy:
    """What a region has decided. Durations in seconds; shares 0 to 1.

    ``closed_night`` is (from, to) in local time, across midnight where from > to; None: no closed hours.
    ``clauses`` maps each number to the text it rests on.
    """

    policy_id: str
    version: int
    effective_from: date
    class_hour_s: float
    withhold_min_struck_s: float
    withhold_min_struck_share: float
    withhold_basis: str
    daily_cap_s: float | None
    closed_night: tuple[time, time] | None
    clauses: dict[str, str]

    @property
    def label(self) -> str:
        """``id@version``, as kept with every decision."""
        return f"{self.policy_id}@{self.version}"


def load_policy(path: Path | None = None) -> Policy:
    """The policy at ``path``, or the shipped one. PolicyError names the file, the key and what it should be."""
    name = str(path) if path else "default.toml"
    try:
        text = (
            path.read_text(encoding="utf-8")
            if path
            else resources.files(__package__).joinpath("default.toml").read_text(encoding="utf-8")
        )
        data = tomllib.loads(text)
    except OSError as error:
        raise PolicyError(f"policy file {name} cannot be read: {error.strerror}", hint="Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy file {name} is not valid TOML: {error}", hint="Correct the file.") from error
    return _parse(data, name)


def _parse(data: dict[str, Any], name: str) -> Policy:
    for key, kind, words in (
        ("id", str, "a text"),
        ("version", int, "a whole number"),
        ("effective_from", date, "a date"),
    ):
        # by type, not isinstance: true is no number, and a date with a time is no date
        if type(data.get(key)) is not kind or data[key] == "":
            raise PolicyError(f"{name}: {key} is missing or not {words}", hint="See the shipped default.toml.")
    known = set(_NUMBERS) | {"withhold_basis", "closed_night"}
    unknown = sorted(set(data) - known - {"id", "version", "effective_from", "title"})
    if unknown:
        raise PolicyError(f"{name}: unknown entries {', '.join(unknown)}", hint=f"Known: {', '.join(sorted(known))}.")
    for key in sorted(known - _OPTIONAL):
        if key not in data:
            raise PolicyError(f"{name}: [{key}] is missing", hint="See the shipped default.toml.")
    values: dict[str, Any] = {}
    for key in sorted(known & set(data)):
        entry = data[key]
        missing = sorted(_ENTRY_KEYS - set(entry)) if isinstance(entry, dict) else sorted(_ENTRY_KEYS)
        if missing:
            raise PolicyError(
                f"{name}: [{key}] lacks {', '.join(missing)}", hint="Every number bears its clause and why."
            )
        for words in ("unit", "clause", "why"):
            if not isinstance(entry[words], str) or not entry[words].strip():
                raise PolicyError(
                    f"{name}: [{key}] {words} must be a text", hint="Every number bears its clause and why."
                )
        if entry["unit"] != _UNITS.get(key, entry["unit"]):
            raise PolicyError(
                f"{name}: [{key}] unit must be {_UNITS[key]!r}, got {entry['unit']!r}", hint="Convert the value."
            )
        values[key] = _value(key, entry["value"], name)
    return Policy(
        policy_id=data["id"],
        version=data["version"],
        effective_from=data["effective_from"],
        class_hour_s=values["class_hour"] * 60,
        withhold_min_struck_s=values["withhold_min_struck_s"],
        withhold_min_struck_share=values["withhold_min_struck_share"],
        withhold_basis=values["withhold_basis"],
        daily_cap_s=values.get("daily_cap_s"),
        closed_night=values.get("closed_night"),
        clauses={k: str(data[k]["clause"]) for k in sorted(known & set(data))},
    )


def _value(key: str, value: Any, name: str) -> Any:
    shown = f"{name}: [{key}] value"
    if key in _NUMBERS:
        low, high = _NUMBERS[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise PolicyError(f"{shown} must be a number from {low:g} to {high:g}, got {value!r}", hint="Correct it.")
        return float(value)
    if key == "withhold_basis":
        if value not in ("hours", "record"):
            raise PolicyError(f"{shown} must be 'hours' or 'record', got {value!r}", hint="Choose one.")
        return value
    try:
        start, end = (time.fromisoformat(v) for v in value)
    except (TypeError, ValueError):
        start = end = time(0, 0, 1)
    if any(t.second or t.microsecond or t.tzinfo for t in (start, end)):
        raise PolicyError(
            f"{shown} must be two local times like ['22:00', '08:00'], got {value!r}", hint="Whole minutes, no offset."
        )
    if start == end:
        raise PolicyError(f"{name}: [{key}] begins and ends at {start}", hint="Remove the entry for no closed hours.")
    return (start, end)
