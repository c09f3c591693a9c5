"""What a report holds, before it gets a face. Plain values: durations in seconds, money in yuan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """The run that the report is about, as it described itself (texts; empty: not said)."""

    date: str
    version: str
    created_at: str
    timezone: str
    policy: str
    learnguard_version: str
    seconds: str
    deliveries: str
    changed_from: str
    changes: Mapping[str, Any]
    class_hour_s: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The headline. Seconds count records with a claim only; money counts every record."""

    records: int
    claims: int
    withhold: int
    review: int
    clear: int
    subsidy_cny: Decimal
    withheld_cny: Decimal
    claimed_s: int
    credited_s: int
    struck_s: int
    unsupported_s: int
    struck: Mapping[str, int]
    findings: int
    not_fully_assessed: int

    @property
    def flagged(self) -> int:
        """Records withheld or up for review."""
        return self.withhold + self.review

    @property
    def credited_share(self) -> float | None:
        """Credited part of the claimed seconds, 0 to 1 (None: nothing was claimed)."""
        return self.credited_s / self.claimed_s if self.claimed_s else None


@dataclass(frozen=True, slots=True)
class Group:
    """Flags of one behaviour, institution or platform. ``records`` counts the records assessed there."""

    id: str
    title: str
    records: int
    withhold: int
    review: int
    struck_s: float
    withheld_cny: Decimal

    @property
    def flagged(self) -> int:
        """Records withheld or up for review."""
        return self.withhold + self.review


@dataclass(frozen=True, slots=True)
class Gap:
    """A check that could not be made on ``records`` records because ``missing`` was not delivered."""

    detector: str
    title: str
    missing: str
    records: int
    platforms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A detector as it stood in this run, in the report's language."""

    id: str
    title: str
    version: int | None
    clause: str
    strength: str
    severity: str
    status: str
    triage: tuple[str, ...]
    false_positives: tuple[str, ...]
    lookalikes: Mapping[str, str]
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding in the report's language. ``examined`` maps a look-alike to what was found of it."""

    id: str
    detector: str
    version: int | None
    strength: str
    severity: str
    status: str
    p_value: float | None
    struck_s: float | None
    facts: Mapping[str, Any]
    examined: Mapping[str, Any]
    explanation: str
    clause: str
    institution_id: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Learning on one day, device, page and lesson. ``start_s``/``end_s``: seconds since local midnight."""

    day: str
    account_id: str
    device_id: str
    page_id: str
    lesson: str
    start_s: float
    end_s: float
    active_s: float | None
    is_hidden: bool | None
    rate: float | None
    source: str
    is_own: bool

    @property
    def lane(self) -> tuple[str, str, str]:
        """What gives the stretch its own line in the drawing."""
        return (self.account_id, self.device_id, self.page_id)


@dataclass(frozen=True, slots=True)
class Mark:
    """Part of a stretch that a finding struck out (same clock as :class:`Stretch`)."""

    day: str
    lane: tuple[str, str, str]
    start_s: float
    end_s: float
    detector: str


@dataclass(frozen=True, slots=True)
class Check:
    """A presence check met on ``day``, ``at_s`` seconds after local midnight."""

    day: str
    at_s: float
    kind: str
    result: str


@dataclass(frozen=True, slots=True)
class Strike:
    """A strike in words: a stretch of local time, or seconds of a lesson (then without times)."""

    detector: str
    lesson: str
    day: str
    start: str
    end: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Detail:
    """The grounds of one flag."""

    findings: tuple[Finding, ...]
    strikes: tuple[Strike, ...] = ()
    strikes_total: int = 0
    strike_days: int = 0
    focus_days: int = 0
    stretches: tuple[Stretch, ...] = ()
    marks: tuple[Mark, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Flag:
    """One record of the list. ``sentence`` explains its strongest finding."""

    platform_id: str
    record_id: str
    account_id: str
    institution_id: str
    class_id: str
    course_id: str
    course_title: str
    name_masked: str
    id_masked: str
    decision: str
    risk: float | None
    has_proof: bool
    reasons: tuple[str, ...]
    claimed_s: int | None
    credited_s: int
    unsupported_s: int
    struck_s: int
    struck: Mapping[str, int]
    subsidy_cny: Decimal | None
    withheld_cny: Decimal
    not_assessed: tuple[Mapping[str, Any], ...]
    note: str
    sentence: str

    @property
    def key(self) -> tuple[str, str]:
        """Platform and record: what names the record."""
        return (self.platform_id, self.record_id)


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report shows. ``details`` holds the grounds of the first flags only."""

    lang: str
    run: Run
    figures: Figures
    behaviours: tuple[Group, ...]
    institutions: tuple[Group, ...]
    platforms: tuple[Group, ...]
    gaps: tuple[Gap, ...]
    rules: Mapping[str, Rule]
    flags: tuple[Flag, ...]
    institution_findings: tuple[Finding, ...] = ()
    details: Mapping[tuple[str, str], Detail] = field(default_factory=dict)
