"""A region's own parameters: within the detector's range, with reason, approver and expiry."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, NoReturn

from learnguard.detection.model import Detector, Override
from learnguard.errors import PackError

_KEYS: Final = {"detector", "param", "value", "reason", "approver", "expires"}


def _refuse(file: Path, number: int, problem: str) -> NoReturn:
    raise PackError(f"{file.parent.name}/{file.name}, override {number}: {problem}", hint="Correct the override.")


def load_overrides(file: Path, detectors: Sequence[Detector]) -> tuple[Override, ...]:
    """The overrides in ``file`` (``[[override]]`` tables), checked against ``detectors``.

    Raises PackError on an unknown key, detector or parameter, a value outside the parameter's range, a missing
    reason or approver, an expiry that is no date, and on two overrides of one parameter.
    """
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise PackError(f"{file.name} cannot be read: {error}", hint="Correct the file.") from error
    if set(data) - {"override"} or not isinstance(data.get("override", []), list):
        raise PackError(f"{file.name} may only hold [[override]] tables", hint="Correct the file.")
    by_id = {d.id: d for d in detectors}
    found: list[Override] = []
    for number, entry in enumerate(data.get("override", []), 1):
        found.append(_override(file, number, entry, by_id))
        if any((o.detector, o.param) == (found[-1].detector, found[-1].param) for o in found[:-1]):
            _refuse(file, number, f"{found[-1].detector}.{found[-1].param} is overridden twice")
    return tuple(found)


def _override(file: Path, number: int, entry: dict[str, Any], by_id: Mapping[str, Detector]) -> Override:
    if set(entry) != _KEYS:
        _refuse(file, number, f"must have exactly the keys {', '.join(sorted(_KEYS))}")
    detector = by_id.get(entry["detector"])
    if detector is None:
        _refuse(file, number, f"there is no detector {entry['detector']}")
    param = next((p for p in detector.params if p.name == entry["param"]), None)
    if param is None:
        _refuse(file, number, f"{detector.id} has no parameter {entry['param']}")
    value = entry["value"]
    if type(value) not in (int, float) or (param.is_whole and type(value) is not int):
        _refuse(file, number, f"value of {param.name} must be a {'whole ' if param.is_whole else ''}number")
    if not param.low <= value <= param.high:
        _refuse(file, number, f"{param.name} = {value} is not within {param.low} to {param.high}")
    for key in ("reason", "approver"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            _refuse(file, number, f"needs a {key}")
    if type(entry["expires"]) is not date:
        _refuse(file, number, "expires must be a date")
    expires = entry["expires"].isoformat()
    return Override(file.parent.name, detector.id, param.name, value, entry["reason"], entry["approver"], expires)


def in_force(overrides: Sequence[Override], *, run_date: date) -> tuple[dict[str, dict[str, float]], tuple[str, ...]]:
    """Detector to parameter to value for the overrides valid on ``run_date``, and a warning for each expired one.

    An override holds up to and including its day of expiry; then the default is back in force.
    """
    values: dict[str, dict[str, float]] = {}
    warnings = []
    for o in overrides:
        if date.fromisoformat(o.expires) < run_date:
            warnings.append(
                f"override of {o.detector}.{o.param} by {o.region} expired on {o.expires}: the default is in force"
            )
        else:
            values.setdefault(o.detector, {})[o.param] = o.value
    return values, tuple(warnings)
