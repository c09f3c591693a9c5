"""Invented requests and answers for the reference page. Tests score the request and hold the answers to the models."""

from __future__ import annotations

from typing import Any, Final

from learnguard.web.answers import PENDING, STATEMENT_RECORD

_WHO: Final = {"platform_id": "demo-platform", "account_id": "demo-account-1", "course_id": "demo-course"}


def _session(number: int, device: str, terminal: str, begun: str, ended: str) -> dict[str, Any]:
    return _WHO | {
        "session_id": f"demo-session-{number}",
        "device_id": device,
        "terminal": terminal,
        "lesson_id": f"demo-lesson-{number}",
        "started_at": f"2026-03-02T{begun}:00+08:00",
        "ended_at": f"2026-03-02T{ended}:00+08:00",
        "learned_s": 3600,
    }


def _lesson(number: int) -> dict[str, Any]:
    place = {"platform_id": "demo-platform", "course_id": "demo-course"}
    return place | {"lesson_id": f"demo-lesson-{number}", "kind": "video", "duration_s": 3600}


_CLAIM: Final = _WHO | {
    "record_id": "demo-record-1",
    "claimed_hours": 2,
    "completed_at": "2026-03-02T12:00:00+08:00",
    "subsidy_cny": "540.00",
}

SCORE_REQUEST: Final[dict[str, Any]] = {
    "tables": {
        "sessions": [
            _session(1, "demo-pc", "pc", "09:00", "10:00"),
            _session(2, "demo-phone", "app", "09:30", "10:30"),
        ],
        "lessons": [_lesson(1), _lesson(2)],
        "records": [_CLAIM],
    }
}

_SAID: Final = {
    "detector": "concurrent_sessions",
    "detector_version": 1,
    "clause": "人社部 2024-01-03 通知（七）：同一账号同时多端口登录",
    "strength": "proof",
    "explanation_zh": "同一账号在设备 pc demo-pc 与 app demo-phone 上同时处于学习状态，共 1 段、合计 30 分钟……",
    "explanation_en": "The account was learning on pc demo-pc and app demo-phone at once, 30 min in all …",
}

FINDING: Final[dict[str, Any]] = (
    {"run_date": "2026-03-02", "finding_id": "2720f06b9add1410", "record_id": "demo-record-1", "institution_id": None}
    | _WHO
    | _SAID
    | {
        "started_at": "2026-03-02T01:30:00Z",
        "ended_at": "2026-03-02T02:00:00Z",
        "severity": "high",
        "status": "stable",
        "p_value": None,
        "score": 0.33,
        "struck_s": 1800.0,
        "facts": {"device_a": "pc demo-pc", "device_b": "app demo-phone", "overlap_s": 1800.0, "stretches": 1},
    }
)

_LEDGER: Final = {
    "claimed_s": 5400,
    "credited_s": 3600,
    "unsupported_s": 0,
    "struck": {"concurrent_sessions": 1800},
    "struck_s": 1800,
    "withheld_cny": "180.00",
    "not_assessed": [{"detector": "background_playback", "missing": "visible"}],
    "note_zh": "日志自证的不计学时 30 分钟，达到政策门槛，扣留待人工核定。",
    "note_en": "30 minutes are contradicted by the log itself: they wait for a person's decision.",
}

SCORE_ANSWER: Final[dict[str, Any]] = {
    "status": "pending_review",
    **PENDING,
    "run_date": "2026-03-02",
    "policy": "default@1",
    "detectors": {"concurrent_sessions": 1},
    "rows": 5,
    "records": [
        _WHO
        | _LEDGER
        | {
            "record_id": "demo-record-1",
            "status": "pending_review",
            "proposed_decision": "withhold",
            "reasons": [
                _SAID | {"title_zh": "同一账号同时多端口登录学习", "title_en": "One account on several devices"}
            ],
            "findings": [FINDING],
        }
    ],
    "findings_of_no_record": [],
    "quarantine": [],
}

DECISION: Final[dict[str, Any]] = (
    _WHO
    | _LEDGER
    | {
        "run_date": "2026-03-02",
        "record_id": "demo-record-1",
        "learner_id": "L11a5e9edd260f0be232d5f4cd23f9e24",
        "institution_id": "demo-institution",
        "class_id": "demo-class",
        "decision": "withhold",
        "risk": 0.32,
        "reasons": ["concurrent_sessions"],
        "subsidy_cny": "540.00",
        "policy": "default@1",
    }
)

RECORD_ANSWER: Final[dict[str, Any]] = {
    **STATEMENT_RECORD,
    "platform_id": "demo-platform",
    "record_id": "demo-record-1",
    "latest": {
        "run_date": "2026-03-02",
        "run_version": 1,
        "decision": DECISION,
        "findings": [FINDING],
        "strikes": [
            {
                "run_date": "2026-03-02",
                "finding_id": "2720f06b9add1410",
                "detector": "concurrent_sessions",
                "platform_id": "demo-platform",
                "record_id": "demo-record-1",
                "lesson_id": None,
                "started_at": "2026-03-02T01:30:00Z",
                "ended_at": "2026-03-02T02:00:00Z",
                "seconds": None,
            }
        ],
    },
    "history": [],
}

REPORT: Final[dict[str, Any]] = {
    "run": {"run_date": "2026-03-02", "timezone": "Asia/Shanghai", "policy": "default@1"},
    "figures": {"records": 1, "flagged": 1, "withhold": 1, "review": 0, "clear": 0, "withheld_cny": "180.00"},
    "decisions": [DECISION],
    "findings": [FINDING],
}

DETECTORS: Final[dict[str, Any]] = {
    "detectors": [
        {
            "id": "demo_detector",
            "pack": "demo",
            "version": 1,
            "title_zh": "虚构的规则",
            "title_en": "An invented rule",
            "clause": "虚构条款",
            "strength": "proof",
            "severity": "high",
            "status": "experimental",
            "reads": ["segments"],
            "requires": [{"kind": "logs", "names": ["device_id"], "missing": "device_id"}],
            "params": [
                {
                    "name": "min_overlap_s",
                    "value": 120.0,
                    "low": 30.0,
                    "high": 1800.0,
                    "unit": "s",
                    "why_zh": "更短的重叠不足为据。",
                    "why_en": "A shorter overlap proves nothing.",
                }
            ],
            "false_positives_zh": ["换设备"],
            "false_positives_en": ["a hand-over between devices"],
            "triage_zh": ["查看时间线。"],
            "triage_en": ["Open the timeline."],
            "lookalikes_zh": {"handover": "短暂交接"},
            "lookalikes_en": {"handover": "a short hand-over"},
            "sql": "SELECT …",
            "fingerprint": "0" * 64,
        }
    ]
}

PROBLEM: Final[dict[str, Any]] = {
    "type": "/api/docs#problem-no-record",
    "status": 404,
    "title": "没有核查过这条记录",
    "detail": "已发布的结果中没有记录 demo-record-9。",
    "title_zh": "没有核查过这条记录",
    "title_en": "This record was never assessed",
    "detail_zh": "已发布的结果中没有记录 demo-record-9。",
    "detail_en": "No published run holds the record demo-record-9.",
}
