"""Who is answered by the web server, and what every answer carries."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from learnguard.errors import LearnGuardError
from learnguard.settings import Settings, load_settings
from learnguard.web import create_app
from learnguard.web.languages import preferred

TOKEN = "a-token-of-sufficient-length"
PROBLEM_MEMBERS = {"type", "status", "title", "detail", "title_zh", "title_en", "detail_zh", "detail_en"}


def settings(tmp_path: Path, **values: Any) -> Settings:
    return load_settings(environ={}, cwd=tmp_path, store=tmp_path / "store", **values)


def client(app: FastAPI, host: str = "localhost") -> TestClient:
    return TestClient(app, base_url=f"http://{host}:8321", raise_server_exceptions=False)


@pytest.fixture
def local(tmp_path: Path) -> TestClient:
    return client(create_app(settings(tmp_path)))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_without_a_token_loopback_names_are_answered(tmp_path: Path, host: str) -> None:
    assert client(create_app(settings(tmp_path)), host).get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil@localhost",
        "localhost/x",
        "",
        "::1",
        "0.0.0.0",  # noqa: S104 - asked for, not listened on
    ],
)
@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/reports/latest"])
def test_without_a_token_no_other_host_name_is_answered(local: TestClient, host: str, path: str) -> None:
    response = local.get(path, headers={"host": host})
    assert response.status_code == 400
    assert response.json()["type"].endswith("#problem-foreign-host")


def test_another_loopback_address_is_answered_where_it_is_listened_on(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, host="127.0.0.9"))
    assert client(app, "127.0.0.9").get("/healthz").status_code == 200
    assert client(app, "127.0.0.8").get("/healthz").status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.10", "learnguard.example"])  # noqa: S104 - never listened on
def test_a_server_for_others_needs_a_token(tmp_path: Path, host: str) -> None:
    with pytest.raises(LearnGuardError, match="needs an API token") as caught:
        create_app(settings(tmp_path, host=host))
    assert "LEARNGUARD_API_TOKEN" in caught.value.hint
    create_app(settings(tmp_path, host=host, api_token=TOKEN))


def test_a_short_token_is_refused_and_not_told(tmp_path: Path) -> None:
    with pytest.raises(LearnGuardError, match="shorter than 16") as caught:
        create_app(settings(tmp_path, api_token="hunter2"))
    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_the_token_comes_from_the_environment_only(tmp_path: Path) -> None:
    assert load_settings(environ={"LEARNGUARD_API_TOKEN": TOKEN}, cwd=tmp_path).api_token == TOKEN
    assert TOKEN not in repr(settings(tmp_path, api_token=TOKEN))
    (tmp_path / "learnguard.toml").write_text(f'api_token = "{TOKEN}"\n')
    with pytest.raises(LearnGuardError, match="api_token") as caught:
        settings(tmp_path)
    assert TOKEN not in str(caught.value) + caught.value.hint


@pytest.fixture
def guarded(tmp_path: Path) -> TestClient:
    return client(create_app(settings(tmp_path, host="0.0.0.0", api_token=TOKEN)), "learnguard.example")  # noqa: S104 - never listened on


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic(TOKEN)])
def test_with_a_token_every_host_name_is_answered(guarded: TestClient, given: str) -> None:
    assert guarded.get("/api/v1/detectors", headers={"authorization": given}).status_code == 200


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"Token {TOKEN}", basic("wrong"),
     "Basic !!!", "Basic", "Bearer \xe4\xbd\xa0"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/docs", "/api/openapi.json", "/api/v1/reports/latest", "/nowhere"])
def test_without_the_right_token_nothing_is_told(guarded: TestClient, given: str | None, path: str) -> None:
    headers = {} if given is None else {b"authorization": given.encode("latin-1")}
    response = guarded.get(path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer" if path.startswith("/api/") else "Basic")
    assert response.json().keys() == PROBLEM_MEMBERS


def test_a_loopback_host_name_does_not_replace_the_token(guarded: TestClient) -> None:
    assert guarded.get("/", headers={"host": "localhost"}).status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token(guarded: TestClient, path: str) -> None:
    response = guarded.get(path)
    assert response.status_code == 200
    assert response.json()["status"] == "ok"


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/docs", "/api/openapi.json", "/nowhere", "/api/v1/reports/x"])
def test_every_answer_carries_strict_headers(local: TestClient, path: str) -> None:
    headers = local.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nowhere", 404, "no-address"),
        ("GET", "/api/v1/nowhere", 404, "no-address"),
        ("GET", "/api/v1/score", 405, "method"),
        ("DELETE", "/", 405, "method"),
        ("GET", "/api/v1/reports/latest", 404, "no-run"),
        ("GET", "/api/v1/reports/yesterday", 422, "wrong-shape"),
        ("GET", "/api/v1/reports/2026-02-30", 422, "wrong-shape"),
        ("GET", "/reports/20260302", 422, "wrong-shape"),
        ("GET", "/api/v1/records/r1", 404, "no-run"),
        ("GET", "/?lang=fr", 422, "wrong-shape"),
    ],
)
def test_errors_are_problems_in_both_languages(
    local: TestClient, method: str, path: str, status: int, kind: str
) -> None:
    for lang in ("zh", "en"):
        response = local.request(method, path, headers={"accept-language": lang})
        body = response.json()
        assert response.status_code == status == body["status"]
        assert response.headers["content-type"] == "application/problem+json"
        assert body.keys() - {"errors"} == PROBLEM_MEMBERS
        assert body["type"] == f"/api/docs#problem-{kind}"
        assert body["title"] == body[f"title_{lang}"]
        assert body["detail"] == body[f"detail_{lang}"]
        assert body["title_zh"] != body["title_en"]
        assert f'id="problem-{kind}"' in local.get("/api/docs").text


def test_a_browser_gets_problems_as_pages(local: TestClient) -> None:
    response = local.get("/reports/2026-03-02", headers={"accept": "text/html,*/*", "accept-language": "en"})
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/html")
    assert "No run has been published" in response.text


def test_before_the_first_run_the_page_says_what_to_do(local: TestClient) -> None:
    response = local.get("/")
    assert response.status_code == 200
    assert "learnguard run --date" in response.text
    assert 'lang="zh-CN"' in response.text


@pytest.fixture
def broken(tmp_path: Path) -> TestClient:
    app = create_app(settings(tmp_path))

    @app.get("/broken")
    def fail() -> None:
        # not written out here: a traceback shows the line
        raise ValueError(chr(57) * 18)

    return client(app)


def test_a_failure_inside_tells_a_reference_and_nothing_else(
    broken: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "learnguard.web"):
        response = broken.get("/broken")
    body = response.json()
    reference = body["detail_en"].split("reference ")[1].split(":")[0]
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-frame-options"] == "DENY"
    assert "9" * 18 not in response.text
    assert "Traceback" not in response.text
    assert reference in caplog.text
    assert "ValueError" in caplog.text
    assert "9" * 18 not in caplog.text


def test_not_ready_where_the_rules_cannot_be_read(tmp_path: Path) -> None:
    faulty = client(create_app(settings(tmp_path, policy=tmp_path / "missing.toml")))
    response = faulty.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "not_ready", "checks": {"store": True, "detectors": True, "policy": False}}
    assert faulty.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("accept", "default", "expected"),
    [
        (None, "zh", "zh"),
        (None, "en", "en"),
        ("", "zh", "zh"),
        ("en-GB,en;q=0.8,zh;q=0.5", "zh", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "en", "zh"),
        ("fr-FR, en;q=0.3, zh;q=0.6", "en", "zh"),
        ("fr, *;q=0.5", "en", "en"),
        ("en;q=0, zh;q=0.1", "en", "zh"),
        ("en;q=abc, ;;, zh", "en", "zh"),
        ("de", "zh", "zh"),
    ],
)
def test_language(accept: str | None, default: str, expected: str) -> None:
    assert preferred(accept, default) == expected
