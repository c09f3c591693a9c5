"""From rows to answers: a score is never a bare number, and every answer says that a person decides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from learnguard.detection.model import Detector
from learnguard.schema import RESULTS, Table

STATEMENT_RECORD: Final = {
    "statement_zh": "程序只指出记录与日志之间的矛盾；“扣留”表示补贴暂缓发放，等待人工核定，由人作出决定。",
    "statement_en": "The program points out where logs contradict a record; withhold means wait. A person decides.",
}
PENDING: Final = {
    "statement_zh": "发现与记录相矛盾之处，建议人工核定；程序不拒绝任何补贴，由人作出决定。",
    "statement_en": "Something contradicts a record: a person should look. Nothing is refused; a person decides.",
}
_NOTHING: Final = {
    "statement_zh": "未发现矛盾。这不是证明：未能核查的项目见 not_assessed；是否发放由人作出决定。",
    "statement_en": "Nothing was found, which proves nothing: not_assessed says what is open. A person decides.",
}
_NO_RECORD: Final = {
    "statement_zh": "所给数据中没有可核查的记录（被隔离的行及原因见 quarantine）；由人作出决定。",
    "statement_en": "The rows hold no record to assess; quarantine says why rows were set aside. A person decides.",
}


def json_row(row: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """A row of a results table with the contract's columns; JSON columns as values, money as text."""
    return {c.name: _value(c.kind, row.get(c.name)) for c in table.columns}


def _value(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "json":
        return json.loads(value) if isinstance(value, str) else value
    return str(value) if kind == "money" else value


def score_answer(scored: Mapping[str, Any], detectors: Sequence[Detector], policy: str) -> dict[str, Any]:
    """The answer to a scoring request from what :func:`learnguard.pipeline.score` returned."""
    findings = [json_row(f, RESULTS["findings"]) for f in scored["findings"]]
    decisions = [json_row(d, RESULTS["decisions"]) for d in scored["decisions"]]
    by_record: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for finding in findings:
        by_record.setdefault((finding["platform_id"], finding["record_id"]), []).append(finding)
    rules = {d.id: d for d in detectors}
    records = [_record(d, by_record.get((d["platform_id"], d["record_id"]), []), rules) for d in decisions]
    loose = [f for f in findings if f["record_id"] is None]
    pending = bool(loose) or any(r["status"] == "pending_review" for r in records)
    return {
        "status": "pending_review" if pending else "nothing_found",
        **(PENDING if pending else _NOTHING if records else _NO_RECORD),
        "run_date": scored["run_date"],
        "policy": policy,
        "detectors": {d.id: d.version for d in detectors},
        "rows": scored["rows"],
        "records": records,
        "findings_of_no_record": loose,
        "quarantine": [_quarantined(q) for q in scored["quarantine"]],
    }


def _record(
    decision: Mapping[str, Any], findings: Sequence[dict[str, Any]], rules: Mapping[str, Detector]
) -> dict[str, Any]:
    rank = {detector: i for i, detector in enumerate(decision["reasons"])}
    ordered = sorted(findings, key=lambda f: (rank.get(f["detector"], len(rank)), -(f["score"] or 0), f["finding_id"]))
    strongest = {f["detector"]: f for f in reversed(ordered)}
    copied = (
        "platform_id", "record_id", "account_id", "course_id", "claimed_s", "credited_s", "unsupported_s", "struck",
        "struck_s", "withheld_cny", "not_assessed", "note_zh", "note_en",
    )  # fmt: skip
    return {
        **{name: decision[name] for name in copied},
        "status": "nothing_found" if decision["decision"] == "clear" else "pending_review",
        "proposed_decision": decision["decision"],
        "reasons": [_reason(strongest[d], rules.get(d)) for d in decision["reasons"] if d in strongest],
        "findings": ordered,
    }


def _reason(finding: Mapping[str, Any], rule: Detector | None) -> dict[str, Any]:
    copied = ("detector", "detector_version", "clause", "strength", "explanation_zh", "explanation_en")
    return {
        **{name: finding[name] for name in copied},
        "title_zh": rule.title.zh if rule else finding["detector"],
        "title_en": rule.title.en if rule else finding["detector"],
    }


def _quarantined(row: Mapping[str, Any]) -> dict[str, Any]:
    # Each table of the request was laid out as one file of its name, one row per line.
    table = str(row["file"]).partition(".")[0]
    return {"table": table, **{name: row[name] for name in ("row", "column", "reason", "value")}}


def detector_answer(detector: Detector) -> dict[str, Any]:
    """A detector, whole, as JSON values."""
    return {
        "id": detector.id,
        "pack": detector.pack,
        "version": detector.version,
        "title_zh": detector.title.zh,
        "title_en": detector.title.en,
        "clause": detector.clause,
        "strength": detector.strength,
        "severity": detector.severity,
        "status": detector.status,
        "reads": detector.reads,
        "requires": [{"kind": r.kind, "names": r.names, "missing": r.missing} for r in detector.requires],
        "params": [
            {
                "name": p.name, "value": p.bound(), "low": p.low, "high": p.high, "unit": p.unit,
                "why_zh": p.why.zh, "why_en": p.why.en,
            }
            for p in detector.params
        ],
        "false_positives_zh": detector.false_positives.zh,
        "false_positives_en": detector.false_positives.en,
        "triage_zh": detector.triage.zh,
        "triage_en": detector.triage.en,
        "lookalikes_zh": {k: v.zh for k, v in detector.lookalikes.items()},
        "lookalikes_en": {k: v.en for k, v in detector.lookalikes.items()},
        "sql": detector.sql,
        "fingerprint": detector.fingerprint,
    }  # fmt: skip
