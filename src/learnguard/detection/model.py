"""What a detector is: the parts of its folder, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from learnguard.schema import CONDENSED, DELIVERED, Column, Table

Lang = Literal["zh", "en"]
Strength = Literal["proof", "statistical"]
Severity = Literal["high", "medium", "low"]
Status = Literal["stable", "experimental"]


#: Columns that detectors see beside the contract's: ``is_audio`` holds of lessons whose kind or title says audio.
OFFERED_EXTRA: Final[Mapping[str, tuple[Column, ...]]] = {"lessons": (Column("is_audio", "boolean"),)}


def offered(table: str) -> Table:
    """The table called ``table`` as detectors see it (KeyError when there is none)."""
    known = CONDENSED.get(table) or DELIVERED[table]
    return replace(known, columns=known.columns + OFFERED_EXTRA.get(table, ()))


@dataclass(frozen=True, slots=True)
class Bilingual:
    """One text in Chinese and English."""

    zh: str
    en: str

    def text(self, lang: Lang) -> str:
        """The text in ``lang``."""
        return self.zh if lang == "zh" else self.en


@dataclass(frozen=True, slots=True)
class BilingualList:
    """A list of texts in Chinese and English, in the same order."""

    zh: tuple[str, ...]
    en: tuple[str, ...]

    def texts(self, lang: Lang) -> tuple[str, ...]:
        """The texts in ``lang``."""
        return self.zh if lang == "zh" else self.en


@dataclass(frozen=True, slots=True)
class Param:
    """One number of a detector: its default, the inclusive range a region may choose from, its unit and reason.

    ``is_whole``: the default is a whole number, and so must be any value that replaces it.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str
    why: Bilingual
    is_whole: bool = False

    def bound(self, value: float | None = None) -> float:
        """The number to bind in SQL: ``value`` or the default, whole where the default is."""
        number = self.value if value is None else value
        return int(number) if self.is_whole else float(number)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing without which (a part of) a detector cannot be assessed; ``missing`` names it when it lacks.

    ``kind`` ``logs``: the client logs one of ``names``; ``table``: the table has rows; ``lesson``: a lesson of the
    record's course has the column; ``claim``: the record's own row has the column. ``is_gate``: without it nothing
    of the detector holds for the record, so it is given no finding either.
    """

    kind: Literal["logs", "table", "lesson", "claim"]
    names: tuple[str, ...]
    missing: str
    is_gate: bool = False


@dataclass(frozen=True, slots=True)
class Detector:
    """One detector as read from its folder.

    ``explain`` maps the value of ``facts.variant`` to a template (``""``: the only one); ``fingerprint`` is the
    SHA-256 of SQL and default parameters; ``applies_to`` is ``claims`` where only records with a claim count.
    """

    id: str
    pack: str
    folder: Path
    title: Bilingual
    clause: str
    strength: Strength
    severity: Severity
    status: Status
    version: int
    reads: tuple[str, ...]
    partition_by: str
    applies_to: Literal["records", "claims"]
    false_positives: BilingualList
    triage: BilingualList
    params: tuple[Param, ...]
    requires: tuple[Requirement, ...]
    lookalikes: Mapping[str, Bilingual]
    explain: Mapping[str, Bilingual]
    sql: str
    bound: frozenset[str]
    fingerprint: str

    def values(self, overrides: Mapping[str, float] | None = None) -> dict[str, float]:
        """Parameter name to the number in force: the default unless ``overrides`` says otherwise."""
        return {p.name: p.bound((overrides or {}).get(p.name)) for p in self.params}

    @property
    def cases_file(self) -> Path:
        """Where the detector's cases stand."""
        return self.folder / "cases.toml"


@dataclass(frozen=True, slots=True)
class Override:
    """A region's own value of one parameter, with who approved it, why, and until when (ISO date)."""

    region: str
    detector: str
    param: str
    value: float
    reason: str
    approver: str
    expires: str
