"""The API: scoring, reports, records, detectors, health."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import anyio
import anyio.to_thread
import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from learnguard import pipeline
from learnguard.detection.model import Detector
from learnguard.detection.packs import default_root, load_packs
from learnguard.errors import DeliveryError, LearnGuardError
from learnguard.policy import load_policy
from learnguard.runs import published_runs
from learnguard.settings import Settings
from learnguard.web import examples, models
from learnguard.web.answers import detector_answer, score_answer
from learnguard.web.bodies import decode_tables, read_body
from learnguard.web.languages import preferred
from learnguard.web.problems import KINDS, Problem
from learnguard.web.published import record_answer, report_json, run_on

#: Scoring requests that may wait for their turn; each may hold a whole body.
WAITING: Final = 32

LangQuery = Annotated[
    Literal["zh", "en"] | None, Query(description="zh or en; default: Accept-Language, then the server's")
]
PlatformQuery = Annotated[
    str | None,
    Query(max_length=200, description="needed where several platforms have the record id", examples=["demo-platform"]),
]
RecordPath = Annotated[
    str, Path(max_length=400, description="may hold slashes, such as account/course", examples=["demo-record-1"])
]


def problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """What the reference says of the errors ``kinds``."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, zh, en = KINDS[kind]
        said = f"{found[status]['description']}; " if status in found else ""
        found[status] = {"model": models.ProblemDetails, "description": f"{said}{zh} · {en}"}
    return found


def answered(example: Any, *kinds: str) -> dict[int | str, dict[str, Any]]:
    """What the reference says of the answers: an example of the good one, and the errors ``kinds``."""
    return {200: {"content": {"application/json": {"example": example}}}} | problems(*kinds)


def answer(value: Any, status: int = 200) -> Response:
    """``value`` as JSON: times ISO 8601 in UTC, money as text."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def detectors_of(settings: Settings) -> tuple[Detector, ...]:
    """The detectors in force. Raises PackError."""
    return load_packs([default_root(), *settings.packs])


def _score(settings: Settings, body: bytes) -> dict[str, Any]:
    tables = decode_tables(body)
    if not tables:
        raise Problem("wrong-shape", "tables 中至少要有一张表。", "Name at least one table in tables.")
    try:
        scored = pipeline.score(settings, tables)
    except DeliveryError as error:
        # The pipeline lays each table out as a file; the caller knows tables only.
        text = f"{error}. {error.hint}".replace(".jsonl", "")
        raise Problem("unreadable", f"请更正后重新提交：{text}", f"Correct it and send it again: {text}") from error
    return score_answer(scored, detectors_of(settings), load_policy(settings.policy).label)


def _readiness(settings: Settings) -> dict[str, bool]:
    checks = {
        "store": lambda: published_runs(settings.store),
        "detectors": lambda: detectors_of(settings),
        "policy": lambda: load_policy(settings.policy),
    }
    return {name: _works(check) for name, check in checks.items()}


def _works(check: Any) -> bool:
    try:
        check()
    except (LearnGuardError, OSError):
        return False
    return True


def _body_reference() -> Mapping[str, Any]:
    media = {"schema": {"$ref": "#/components/schemas/ScoreRequest"}, "example": examples.SCORE_REQUEST}
    return {"requestBody": {"required": True, "content": {"application/json": media}}}


def api_router(settings: Settings) -> APIRouter:
    """The routes below ``/api/v1``, and the two of health."""
    router = APIRouter()
    turns = anyio.CapacityLimiter(settings.resolved_threads())

    @router.post(
        "/api/v1/score",
        response_model=models.ScoreAnswer,
        summary="核查所给数据 · Assess rows now",
        tags=["score"],
        responses=answered(
            examples.SCORE_ANSWER, "not-json", "too-large", "media-type", "wrong-shape", "unreadable", "busy"
        ),
        openapi_extra=dict(_body_reference()),
    )
    async def score(request: Request) -> Response:
        """Rows of the contract's tables in, findings and proposed decisions out, by the same code as a nightly run.

        Nothing is stored. Rows that cannot be read are set aside with their reason. The answer is for a person to
        weigh: it names what contradicts the record, what was struck, and what could not be checked.
        """
        body = await read_body(request)
        if turns.statistics().tasks_waiting >= WAITING:
            raise Problem("busy", "请稍后重试。", "Try again in a moment.", headers={"Retry-After": "5"})
        return answer(await anyio.to_thread.run_sync(functools.partial(_score, settings, body), limiter=turns))

    @router.get(
        "/api/v1/reports/{day}",
        response_model=models.Report,
        summary="某日结果 · Report of a date",
        tags=["reports"],
        responses=answered(examples.REPORT, "no-run", "wrong-shape"),
    )
    def report(
        request: Request,
        day: Annotated[str, Path(description="a date such as 2026-03-02, or latest", examples=["latest"])],
        lang: LangQuery = None,
    ) -> Response:
        """Figures, decisions and findings of the run that is valid for the date: the JSON of ``learnguard report``."""
        run = run_on(settings.store, day)
        size, chunks = report_json(run, lang or preferred(request.headers.get("accept-language"), settings.lang))
        headers = {"Content-Length": str(size), "X-LearnGuard-Run": run.path.stem}
        return StreamingResponse(chunks, headers=headers, media_type="application/json")

    @router.get(
        "/api/v1/records/{record_id:path}",
        response_model=models.RecordAnswer,
        summary="一条记录的最新结论与历史 · One record: latest word and history",
        tags=["records"],
        responses=answered(examples.RECORD_ANSWER, "no-run", "no-record", "several-platforms", "wrong-shape"),
    )
    def record(record_id: RecordPath, platform_id: PlatformQuery = None) -> Response:
        """Decision, findings and strikes of the latest run that assessed the record, and what earlier runs decided."""
        return answer(record_answer(settings.store, record_id, platform_id))

    @router.get(
        "/api/v1/detectors",
        response_model=models.DetectorsAnswer,
        summary="检测规则 · Detectors",
        tags=["detectors"],
        responses=answered(examples.DETECTORS),
    )
    def detectors() -> Response:
        """Every detector in force: what it finds, its numbers and why, how it errs, how to triage it, its SQL."""
        return answer({"detectors": [detector_answer(d) for d in detectors_of(settings)]})

    @router.get(
        "/healthz",
        response_model=models.Health,
        summary="进程是否存活 · Is the server alive",
        tags=["health"],
        responses=answered({"status": "ok", "checks": {}}),
    )
    def healthz() -> Response:
        """Answers as long as the process does. Needs no token."""
        return answer({"status": "ok", "checks": {}})

    @router.get(
        "/readyz",
        response_model=models.Health,
        summary="能否提供服务 · Can it answer",
        tags=["health"],
        responses=answered({"status": "ok", "checks": {"store": True, "detectors": True, "policy": True}})
        | {503: {"model": models.Health, "description": "某项检查未通过 · A check failed"}},
    )
    def readyz() -> Response:
        """Whether the store, the detectors and the policy can be read. Needs no token."""
        checks = _readiness(settings)
        is_ready = all(checks.values())
        return answer({"status": "ok" if is_ready else "not_ready", "checks": checks}, 200 if is_ready else 503)

    return router
