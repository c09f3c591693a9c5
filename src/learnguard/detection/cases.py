"""A detector's cases: rows in, findings out, with everything that does not matter filled in.

``cases.toml`` holds ``[[case]]`` tables: ``name``; tables of ``schema.CONDENSED`` or ``schema.DELIVERED`` as arrays of
inline tables with only the columns that matter; ``expect``, a list of partial findings (``[]``: silent). Optional:
``params`` (overrides), ``logs`` (what the clients log; default: everything), ``not_assessed`` (partial rows),
``edge`` (the parameter on whose edge the case lies) and ``lookalike`` (the honest explanation it shows).

A time of day alone is one of 2026-03-01 in UTC; the text ``"null"`` stands for null. In ``expect``, keys are columns
of ``findings``; ``facts`` holds a subset of the facts (nested), ``says`` a text that the Chinese or English
explanation must contain, ``strikes`` the list of strikes (partial rows).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any, Final

import duckdb

from learnguard.detection.fill import DAY, fill
from learnguard.detection.model import Detector
from learnguard.detection.run import run_detectors
from learnguard.errors import PackError
from learnguard.schema import CONDENSED, DELIVERED

RUN_DATE: Final = date(2026, 3, 31)
_TABLES: Final = frozenset({*CONDENSED, *DELIVERED})
_KEYS: Final = frozenset({"name", "expect", "params", "logs", "not_assessed", "edge", "lookalike"})
_TOLERANCE: Final = 0.0011


@dataclass(frozen=True, slots=True)
class Case:
    """One case as read: rows given per table, findings expected."""

    name: str
    rows: Mapping[str, list[dict[str, Any]]]
    expect: list[dict[str, Any]]
    params: Mapping[str, float] = field(default_factory=dict)
    logs: tuple[str, ...] | None = None
    not_assessed: list[dict[str, Any]] | None = None
    edge: str = ""
    lookalike: str = ""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case came out: ``problems`` is empty when it passed; ``found`` are the findings, facts decoded."""

    detector: str
    case: Case
    problems: tuple[str, ...]
    found: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        """The case's name."""
        return self.case.name

    @property
    def passed(self) -> bool:
        """Whether all came out as expected."""
        return not self.problems


def load_cases(detector: Detector) -> tuple[Case, ...]:
    """The cases of ``detector``. Raises PackError, naming file and case, for what cannot be read."""
    file = detector.cases_file
    shown = "/".join(file.parts[-3:])
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise PackError(f"{shown} cannot be read: {error}", hint="Correct the file.") from error
    entries = data.get("case", [])
    if set(data) - {"case"} or not entries:
        raise PackError(f"{shown} must hold [[case]] tables only", hint="Correct the file.")
    cases = tuple(_case(entry, detector, shown) for entry in entries)
    names = [c.name for c in cases]
    if len(set(names)) < len(names):
        raise PackError(f"{shown} has two cases of one name", hint="Rename one.")
    return cases


def _case(entry: dict[str, Any], detector: Detector, shown: str) -> Case:
    where = f"{shown}, case {entry.get('name', '?')!r}"
    if not isinstance(entry.get("name"), str) or not isinstance(entry.get("expect"), list):
        raise PackError(f"{where}: needs a name and a list expect", hint="Correct the case.")
    if unknown := sorted(set(entry) - _KEYS - _TABLES):
        raise PackError(f"{where}: keys {', '.join(unknown)} are not known", hint="Correct the case.")
    params = {p.name: p for p in detector.params}
    for name, value in entry.get("params", {}).items():
        if name not in params or not params[name].low <= value <= params[name].high:
            raise PackError(f"{where}: {name} = {value} is no permitted parameter", hint="Correct the case.")
    if entry.get("edge", "") not in {"", *params} or entry.get("lookalike", "") not in {"", *detector.lookalikes}:
        raise PackError(f"{where}: edge or lookalike is not known to the detector", hint="Correct the case.")
    return Case(
        name=entry["name"],
        rows={t: entry[t] for t in entry if t in _TABLES},
        expect=entry["expect"],
        params=entry.get("params", {}),
        logs=tuple(entry["logs"]) if "logs" in entry else None,
        not_assessed=entry.get("not_assessed"),
        edge=entry.get("edge", ""),
        lookalike=entry.get("lookalike", ""),
    )


def check_cases(detector: Detector, *, buckets: int = 1) -> list[CaseResult]:
    """Run every case of ``detector`` on a fresh connection of its own. Raises PackError where a case cannot be run."""
    return [check_case(detector, case, buckets=buckets) for case in load_cases(detector)]


def check_case(detector: Detector, case: Case, *, buckets: int = 1) -> CaseResult:
    """Run one case. Raises PackError where it cannot be run; a wrong outcome is in the result's ``problems``."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET threads = 1")
        fill(con, case.rows, logs=case.logs, shown=f"{detector.id}, case {case.name!r}")
        run_detectors(con, [detector], run_date=RUN_DATE, overrides={detector.id: case.params}, buckets=buckets)
        found = _findings(con)
        missed = _rows(con, "SELECT * FROM not_assessed ORDER BY ALL")
    problems = _compare(case.expect, found, "finding")
    if case.not_assessed is not None:
        problems += _compare(case.not_assessed, missed, "row of not_assessed")
    return CaseResult(detector.id, case, tuple(problems), tuple(found))


def _rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    result = con.execute(sql)
    names = [d[0] for d in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _findings(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    found = _rows(con, "SELECT * FROM findings")
    strikes = _rows(con, "SELECT * FROM strikes")
    for f in found:
        f["facts"] = json.loads(f["facts"])
        f["says"] = f"{f['explanation_zh']}\n{f['explanation_en']}"
        f["strikes"] = [s for s in strikes if s["finding_id"] == f["finding_id"]]
    return found


def _compare(expected: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], what: str) -> list[str]:
    """Match each expected row with one found, whatever the order; say what is left over on either side."""
    left = list(found)
    problems = []
    for row in expected:
        match = next((f for f in left if _agrees(row, f)), None)
        if match is None:
            problems.append(f"no {what} like {row}")
        else:
            left.remove(match)
    if problems or left:
        problems += [f"{what} not expected: {_short(f)}" for f in left]
    return problems


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {
        k: v for k, v in row.items() if k in {"account_id", "record_id", "struck_s", "strength", "facts", "missing"}
    }


def _agrees(expected: Any, found: Any, key: str = "") -> bool:
    if key == "says":
        return bool(expected in found)
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(k in found and _agrees(v, found[k], k) for k, v in expected.items())
    if isinstance(expected, list):
        both = isinstance(found, list) and len(expected) == len(found)
        return both and all(_agrees(e, f) for e, f in zip(expected, found, strict=True))
    return _is_same(expected, found)


def _is_same(expected: Any, found: Any) -> bool:
    if expected == "null":
        return found is None
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        return isinstance(found, int | float) and abs(expected - found) < _TOLERANCE
    if isinstance(expected, time):
        return bool(found == datetime.combine(DAY.date(), expected, tzinfo=UTC))
    return bool(expected == found)
