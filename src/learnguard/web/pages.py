"""The pages: today's report, that of a date, one record, the reference, and what to do where there is nothing."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from learnguard.report import content_security_policy
from learnguard.report.templating import asset, digest, environment
from learnguard.report.words import Lang
from learnguard.settings import Settings
from learnguard.web.api import LangQuery, PlatformQuery, RecordPath
from learnguard.web.languages import preferred
from learnguard.web.problems import KINDS, Problem
from learnguard.web.published import ReportPages, record_page, run_on
from learnguard.web.reference import describe

_PACKAGE: Final = "learnguard.web"


def _own_policy() -> str:
    style = digest(asset(_PACKAGE, "pages.css"))
    return f"default-src 'none'; style-src '{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _own_page(template: str, *, lang: Lang, status: int = 200, **values: Any) -> HTMLResponse:
    # The package's own file, whose hash the policy names.
    css = Markup(asset(_PACKAGE, "pages.css"))  # noqa: S704
    text = environment(_PACKAGE).get_template(template).render(css=css, lang=lang, **values)
    return HTMLResponse(text, status, headers={"Content-Security-Policy": _own_policy(), "Content-Language": lang})


def message_page(problem: Problem, lang: Lang, *, status: int | None = None) -> HTMLResponse:
    """A problem as a page that says what to do."""
    page = _own_page("message.html", lang=lang, status=status or problem.status, problem=problem)
    page.headers.update(problem.headers)
    return page


def _report_page(page: str | bytes, lang: Lang) -> HTMLResponse:
    policy = f"{content_security_policy()}; frame-ancestors 'none'"
    headers = {"Content-Security-Policy": policy, "Content-Language": lang, "Vary": "Accept-Language"}
    return HTMLResponse(page, headers=headers)


def pages_router(settings: Settings) -> APIRouter:
    """The routes of the pages."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    pages = ReportPages()

    def language(request: Request, lang: Lang | None) -> Lang:
        return lang or preferred(request.headers.get("accept-language"), settings.lang)

    @router.get("/")
    def latest(request: Request, lang: LangQuery = None) -> HTMLResponse:
        """The report of the latest date; before the first run, how to make one."""
        chosen = language(request, lang)
        try:
            run = run_on(settings.store, "latest")
        except Problem as problem:
            return message_page(problem, chosen, status=200)
        return _report_page(pages.page(run, chosen), chosen)

    @router.get("/reports/{day}")
    def report(request: Request, day: str, lang: LangQuery = None) -> HTMLResponse:
        """The report of a date."""
        chosen = language(request, lang)
        return _report_page(pages.page(run_on(settings.store, day), chosen), chosen)

    @router.get("/records/{record_id:path}")
    def record(
        request: Request, record_id: RecordPath, platform_id: PlatformQuery = None, lang: LangQuery = None
    ) -> HTMLResponse:
        """The case page of one record."""
        chosen = language(request, lang)
        return _report_page(record_page(settings.store, record_id, platform_id, chosen), chosen)

    @router.get("/api/docs")
    def reference(request: Request, lang: LangQuery = None) -> HTMLResponse:
        """The API reference, made here: it opens without any network."""
        described = describe(request.app.openapi())
        return _own_page("reference.html", lang=language(request, lang), d=described, kinds=KINDS)

    return router
