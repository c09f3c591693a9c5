"""The shapes of what the API answers, as the reference shows them. Tests hold the answers to them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProblemDetails(BaseModel):
    """An error (RFC 9457). ``title`` and ``detail`` are in the language asked for; both languages stand beside them."""

    type: str = Field(description="what kind of problem; explained on the reference page")
    status: int
    title: str
    detail: str
    title_zh: str
    title_en: str
    detail_zh: str
    detail_en: str
    errors: list[dict[str, str]] | None = Field(None, description="single faults: where, and what is wrong")


class Gap(_Answer):
    """A check that could not be made: not observed is never fine."""

    detector: str
    missing: str = Field(description="what was not delivered")


class Finding(_Answer):
    """One finding: what in the logs contradicts the record, with the numbers it rests on."""

    run_date: date
    finding_id: str = Field(description="the same evidence gives the same id in every run")
    detector: str
    detector_version: int
    platform_id: str | None
    record_id: str | None = Field(description="null where it concerns no single record")
    account_id: str | None
    course_id: str | None
    institution_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    strength: str = Field(description="proof: the log's own face; statistical: unlikely among comparable learners")
    severity: str | None
    status: str | None = Field(description="stable or experimental; only stable may lead to withhold")
    p_value: float | None = Field(description="null for proof")
    score: float | None = Field(description="0 to 1")
    struck_s: float | None = Field(description="seconds")
    facts: dict[str, Any] = Field(description="the numbers of the explanation, and the honest causes examined")
    explanation_zh: str
    explanation_en: str
    clause: str | None


class Strike(_Answer):
    """A stretch of time, or seconds of a lesson, that a finding takes out of the ledger."""

    run_date: date
    finding_id: str
    detector: str
    platform_id: str
    record_id: str
    lesson_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None = Field(description="lesson seconds counted but not played; null for a stretch of time")


class _Ledger(_Answer):
    claimed_s: int | None = Field(description="seconds; null: nothing was claimed")
    credited_s: int | None = Field(description="seconds with evidence that holds")
    unsupported_s: int | None = Field(description="seconds claimed that no log covers; no verdict on anybody")
    struck: dict[str, int] = Field(description="seconds struck, by reason")
    struck_s: int | None


class Decision(_Ledger):
    """What a run decided on a record, until a person has."""

    run_date: date
    platform_id: str
    record_id: str
    account_id: str | None
    learner_id: str | None = Field(description="a pseudonym")
    institution_id: str | None
    class_id: str | None
    course_id: str | None
    decision: Literal["clear", "review", "withhold"]
    risk: float | None = Field(description="0 to 1: an order of work for people, no verdict")
    reasons: list[str] = Field(description="detectors, strongest first")
    subsidy_cny: str | None = Field(description="yuan")
    withheld_cny: str | None = Field(description="yuan that wait for a person's decision")
    not_assessed: list[Gap]
    policy: str | None
    note_zh: str | None
    note_en: str | None


class _Stated(_Answer):
    statement_zh: str = Field(description="what this answer is, and that a person decides")
    statement_en: str


class Reason(_Answer):
    """Why a record should be looked at, in plain language."""

    detector: str
    detector_version: int
    title_zh: str
    title_en: str
    clause: str | None
    strength: str
    explanation_zh: str
    explanation_en: str


class ScoredRecord(_Ledger):
    """One record of the request."""

    platform_id: str
    record_id: str
    account_id: str | None
    course_id: str | None
    status: Literal["pending_review", "nothing_found"]
    proposed_decision: Literal["clear", "review", "withhold"]
    reasons: list[Reason]
    withheld_cny: str | None = Field(description="yuan that would wait for a person's decision")
    not_assessed: list[Gap]
    note_zh: str | None
    note_en: str | None
    findings: list[Finding]


class QuarantinedRow(_Answer):
    """A row that was not assessed, and why."""

    table: str
    row: int | None = Field(description="its place in the request's list, from 1")
    column: str | None
    reason: str
    value: str | None = Field(description="identity numbers masked")


class ScoreAnswer(_Stated):
    """What was found in the rows sent. Nothing of them is kept."""

    status: Literal["pending_review", "nothing_found"]
    run_date: date = Field(description="the last day of the logs sent")
    policy: str
    detectors: dict[str, int] = Field(description="every detector that was run: its version")
    rows: int = Field(description="rows read")
    records: list[ScoredRecord]
    findings_of_no_record: list[Finding] = Field(description="findings on an institution")
    quarantine: list[QuarantinedRow]


class Report(_Answer):
    """A published run: what it says of itself, its figures, and every decision and finding."""

    run: dict[str, Any]
    figures: dict[str, Any]
    decisions: list[Decision]
    findings: list[Finding]


class Latest(_Answer):
    """The valid word on a record: that of the latest run that assessed it."""

    run_date: date
    run_version: int
    decision: Decision
    findings: list[Finding]
    strikes: list[Strike]


class Earlier(_Answer):
    """What an earlier run decided."""

    run_date: date
    run_version: int
    decision: Decision


class RecordAnswer(_Stated):
    """Everything that published runs say about one record."""

    platform_id: str
    record_id: str
    latest: Latest
    history: list[Earlier] = Field(description="earlier decisions, latest first")


class Parameter(_Answer):
    """One number of a detector, and why it is what it is."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    why_zh: str
    why_en: str


class Need(_Answer):
    """Data without which (a part of) the check cannot be made."""

    kind: str
    names: list[str]
    missing: str


class DetectorAnswer(_Answer):
    """A detector, whole: what it finds, its numbers, how it errs, how to triage it, its SQL."""

    id: str
    pack: str
    version: int
    title_zh: str
    title_en: str
    clause: str
    strength: str
    severity: str
    status: str
    reads: list[str]
    requires: list[Need]
    params: list[Parameter]
    false_positives_zh: list[str]
    false_positives_en: list[str]
    triage_zh: list[str]
    triage_en: list[str]
    lookalikes_zh: dict[str, str]
    lookalikes_en: dict[str, str]
    sql: str
    fingerprint: str = Field(description="SHA-256 of SQL and default parameters")


class DetectorsAnswer(_Answer):
    """Every detector in force."""

    detectors: list[DetectorAnswer]


class Health(_Answer):
    """Whether the server works, and whether it can answer."""

    status: Literal["ok", "not_ready"]
    checks: dict[str, bool] = Field(default_factory=dict)
