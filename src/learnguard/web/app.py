"""The application. No database is held open across requests, and nothing is shared between them but finished pages."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from learnguard.errors import LearnGuardError
from learnguard.settings import Settings
from learnguard.web.access import Guard, check_access
from learnguard.web.api import api_router
from learnguard.web.bodies import request_schemas
from learnguard.web.examples import PROBLEM
from learnguard.web.languages import preferred
from learnguard.web.pages import message_page, pages_router
from learnguard.web.problems import MEDIA_TYPE, Problem, inside, no_address

_LOG: Final = logging.getLogger("learnguard.web")
_JSON: Final = "application/json"
_ABOUT: Final = (
    "LearnGuard 指出学习记录与日志之间的矛盾并说明依据；是否发放补贴由人作出决定。 · "
    "LearnGuard points out where logs contradict a training record, and why. People decide on payment."
)


class _Application(FastAPI):
    """FastAPI with an OpenAPI document that says what the routes cannot: the body's tables, problems, the token."""

    needs_token = False

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            said = get_openapi(
                title=self.title, version=self.version, summary=self.summary, description=self.description,
                routes=self.routes, openapi_version=self.openapi_version,
            )  # fmt: skip
            schemas = said.setdefault("components", {}).setdefault("schemas", {})
            schemas |= request_schemas()
            for item in said["paths"].values():
                for operation in item.values():
                    _as_problems(operation["responses"])
            if self.needs_token:
                said["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                said["security"] = [{"token": []}]
                for path in ("/healthz", "/readyz"):
                    said["paths"][path]["get"]["security"] = []
            self.openapi_schema = said
        return self.openapi_schema


def _as_problems(responses: Mapping[str, Any]) -> None:
    """Answers of the shape ProblemDetails bear the media type of problems, and an example."""
    for response in responses.values():
        content = response.get("content", {})
        if content.get(_JSON, {}).get("schema", {}).get("$ref", "").endswith("/ProblemDetails"):
            response["content"] = {MEDIA_TYPE: content[_JSON] | {"example": PROBLEM}}


def _version() -> str:
    try:
        return version("learnguard")
    except PackageNotFoundError:
        return "source"


def _said(settings: Settings) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What is answered when a request ends in an error."""

    async def say(request: Request, error: Exception) -> Response:
        lang = preferred(request.headers.get("accept-language"), settings.lang)
        problem = _problem(error)
        path = request.url.path
        wants_page = "text/html" in request.headers.get("accept", "") and not path.startswith("/api/v1/")
        return message_page(problem, lang) if wants_page else problem.response(lang)

    return say


def _problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        faults = [{"where": "/".join(map(str, e["loc"])), "problem": str(e["msg"])} for e in error.errors()]
        text = "; ".join(f"{f['where']}: {f['problem']}" for f in faults)
        return Problem("wrong-shape", f"请更正参数：{text}", f"Correct the parameters: {text}", errors=faults)
    if isinstance(error, HTTPException):
        return _of_status(error)
    # An error of our own: its text is made for people, and names no row's content.
    reference = secrets.token_hex(4)
    hint = error.hint if isinstance(error, LearnGuardError) else ""
    _LOG.error("request failed, reference %s: %s: %s (%s)", reference, type(error).__name__, error, hint)
    return inside(reference)


def _of_status(error: HTTPException) -> Problem:
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return no_address()
    if error.status_code == 405:
        allowed = headers.get("Allow", "")
        return Problem("method", f"可用的方法：{allowed}。", f"Methods it takes: {allowed}.", headers=headers)
    return Problem("refused", "请检查请求。", "Check the request.", headers=headers)


def create_app(settings: Settings) -> FastAPI:
    """The web server's application for ``settings``: pages at ``/`` and the API below ``/api/v1``.

    Raises LearnGuardError where ``settings`` would let others than this machine in without a token.
    """
    check_access(settings)
    app = _Application(
        title="LearnGuard",
        version=_version(),
        description=_ABOUT,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.needs_token = bool(settings.api_token)
    app.include_router(api_router(settings))
    app.include_router(pages_router(settings))
    say = _said(settings)
    for kind in (Problem, RequestValidationError, HTTPException, LearnGuardError):
        app.add_exception_handler(kind, say)
    app.add_middleware(Guard, settings=settings)
    return app
