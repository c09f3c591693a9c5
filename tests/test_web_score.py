"""Scoring over HTTP, and the API's own description."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from learnguard.schema import DELIVERED, RESULTS
from learnguard.settings import load_settings
from learnguard.web import bodies, create_app, examples, models

KNOWN_FIELDS = ("claimed_s", "credited_s", "unsupported_s", "struck", "struck_s", "withheld_cny", "proposed_decision")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder = tmp_path_factory.mktemp("score")
    app = create_app(load_settings(environ={}, cwd=folder, store=folder / "store"))
    return TestClient(app, base_url="http://localhost")


@pytest.fixture(scope="module")
def openapi(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/api/openapi.json").json())


def changed(**tables: Any) -> dict[str, Any]:
    return {"tables": examples.SCORE_REQUEST["tables"] | tables}


def test_the_documented_request_gets_the_documented_answer(client: TestClient) -> None:
    response = client.post("/api/v1/score", json=examples.SCORE_REQUEST)
    said, shown = response.json(), examples.SCORE_ANSWER
    assert response.status_code == 200
    models.ScoreAnswer.model_validate_json(response.content)
    assert said.keys() == shown.keys()
    assert {k: said[k] for k in ("status", "statement_zh", "statement_en", "run_date", "rows", "policy")} == {
        k: shown[k] for k in ("status", "statement_zh", "statement_en", "run_date", "rows", "policy")
    }
    (record,), (expected,) = said["records"], shown["records"]
    assert {k: record[k] for k in KNOWN_FIELDS} == {k: expected[k] for k in KNOWN_FIELDS}
    reasons = {r["detector"]: r for r in record["reasons"]}
    findings = {f["detector"]: f for f in record["findings"]}
    assert "30 分钟" in reasons["concurrent_sessions"]["explanation_zh"]
    assert findings["concurrent_sessions"]["facts"]["overlap_s"] == 1800
    assert {"detector": "background_playback", "missing": "visible"} in record["not_assessed"]
    assert record["claimed_s"] == record["credited_s"] + record["struck_s"] + record["unsupported_s"]


def test_honest_rows_are_no_praise(client: TestClient) -> None:
    sessions = examples.SCORE_REQUEST["tables"]["sessions"]
    later = sessions[1] | {"started_at": "2026-03-02T10:05:00+08:00", "ended_at": "2026-03-02T11:05:00+08:00"}
    said = client.post("/api/v1/score", json=changed(sessions=[sessions[0], later])).json()
    assert said["status"] == "nothing_found"
    assert "由人" in said["statement_zh"]
    assert "A person decides" in said["statement_en"]
    (record,) = said["records"]
    assert (record["status"], record["proposed_decision"], record["findings"]) == ("nothing_found", "clear", [])
    assert record["not_assessed"]


def test_bad_rows_are_set_aside_with_their_reason(client: TestClient) -> None:
    sessions = examples.SCORE_REQUEST["tables"]["sessions"]
    bad = sessions[0] | {"session_id": "bad", "started_at": "yesterday"}
    response = client.post("/api/v1/score", json=changed(sessions=[*sessions, bad]))
    models.ScoreAnswer.model_validate_json(response.content)
    (row,) = response.json()["quarantine"]
    assert (row["table"], row["row"], row["column"]) == ("sessions", 3, "started_at")
    assert row["reason"]
    assert response.json()["status"] == "pending_review"


def test_identity_numbers_do_not_come_back(client: TestClient) -> None:
    number = "990000199001010613"
    person = {"platform_id": "demo-platform", "account_id": "demo-account-1", "id_number": number, "name": "虚构甲"}
    text = client.post("/api/v1/score", json=changed(roster=[person])).text
    assert number not in text
    assert "虚构甲" not in text


def test_rows_without_any_record_are_said_to_be_that(client: TestClient) -> None:
    said = client.post("/api/v1/score", json={"tables": {"lessons": [_lesson()]}}).json()
    assert (said["status"], said["records"]) == ("nothing_found", [])
    assert "no record" in said["statement_en"]


def _lesson() -> dict[str, Any]:
    return dict(examples.SCORE_REQUEST["tables"]["lessons"][0])


@pytest.mark.parametrize(
    ("body", "status", "kind", "named"),
    [
        (b"", 400, "not-json", ""),
        (b'{"tables": ', 400, "not-json", ""),
        (b'{"tables": {"events": [{"rate": NaN}]}}', 400, "not-json", ""),
        (b'{"tables": {"events": [{"verb": "\\ud800"}]}}', 400, "not-json", ""),
        (b"\xff\xfe", 400, "not-json", ""),
        (b"[]", 422, "wrong-shape", "array"),
        (b"{}", 422, "wrong-shape", "tables"),
        (b'{"tables": {}}', 422, "wrong-shape", "table"),
        (b'{"tables": {"grades": []}}', 422, "wrong-shape", "grades"),
        (b'{"tables": {"events": {}}}', 422, "wrong-shape", "$.tables.events"),
        (b'{"tables": {"events": ["x"]}}', 422, "wrong-shape", "$.tables.events[0]"),
        (b'{"tables": {"events": [{"ip": ["a"]}]}}', 422, "wrong-shape", "$.tables.events[0]"),
        (b'{"tables": {"events": []}, "more": 1}', 422, "wrong-shape", "more"),
        (b'{"tables": {"events": [{"account_id": "a"}]}}', 422, "unreadable", "platform_id"),
    ],
)
def test_a_body_of_another_shape_is_refused(
    client: TestClient, body: bytes, status: int, kind: str, named: str
) -> None:
    response = client.post("/api/v1/score", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"].endswith(f"#problem-{kind}")
    assert named in response.json()["detail_en"]
    assert named in response.json()["detail_zh"] or named == "table"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": ""},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_only_plain_json_is_taken(client: TestClient, headers: dict[str, str]) -> None:
    response = client.post("/api/v1/score", content=b"{}", headers=headers)
    assert response.status_code == 415


def test_a_body_over_the_limit_is_refused_declared_or_not(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    large = b" " * (bodies.LIMIT + 1)
    assert client.post("/api/v1/score", content=large, headers=headers).status_code == 413
    pieces = (b" " * 1024**2 for _ in range(17))
    assert client.post("/api/v1/score", content=pieces, headers=headers).status_code == 413
    assert client.post("/api/v1/score", content=b" " * bodies.LIMIT, headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (models.ScoreAnswer, examples.SCORE_ANSWER),
        (models.RecordAnswer, examples.RECORD_ANSWER),
        (models.Report, examples.REPORT),
        (models.DetectorsAnswer, examples.DETECTORS),
        (models.ProblemDetails, examples.PROBLEM),
    ],
)
def test_the_examples_are_of_the_documented_shape(model: type[BaseModel], example: dict[str, Any]) -> None:
    model.model_validate(example)


@pytest.mark.parametrize(
    ("model", "table"),
    [(models.Decision, "decisions"), (models.Finding, "findings"), (models.Strike, "strikes")],
)
def test_the_models_have_the_contracts_columns(model: type[BaseModel], table: str) -> None:
    assert set(model.model_fields) == set(RESULTS[table].names)


def test_detectors_explain_themselves(client: TestClient) -> None:
    response = client.get("/api/v1/detectors")
    models.DetectorsAnswer.model_validate_json(response.content)
    found = {d["id"]: d for d in response.json()["detectors"]}
    assert "min_overlap_s" in {p["name"] for p in found["concurrent_sessions"]["params"]}
    assert "SELECT" in found["concurrent_sessions"]["sql"]


def test_the_description_is_whole(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"].startswith("3.1")
    assert set(openapi["paths"]) == {
        "/api/v1/score", "/api/v1/reports/{day}", "/api/v1/records/{record_id}", "/api/v1/detectors", "/healthz",
        "/readyz",
    }  # fmt: skip
    for item in openapi["paths"].values():
        for operation in item.values():
            good = operation["responses"]["200"]["content"]["application/json"]
            assert operation["summary"]
            assert operation["description"]
            assert good["schema"]["$ref"]
            assert good["example"]
            for status, said in operation["responses"].items():
                wanted = "application/json" if status in {"200", "503"} else "application/problem+json"
                if status != "503":
                    assert list(said["content"]) == [wanted]
    text = json.dumps(openapi)
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in openapi["components"]["schemas"]


def test_the_description_holds_every_column_of_a_delivery(openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    assert set(schemas["ScoreRequest"]["properties"]["tables"]["properties"]) == set(DELIVERED)
    for table in DELIVERED.values():
        row = schemas[f"Row_{table.name}"]
        assert tuple(row["properties"]) == table.names
        assert row["required"] == [c.name for c in table.columns if c.required]


def test_a_token_is_part_of_the_description(tmp_path: Path) -> None:
    settings = load_settings(environ={}, cwd=tmp_path, store=tmp_path, api_token="a-token-of-sufficient-length")
    app = create_app(settings)
    assert app.openapi()["security"] == [{"token": []}]
    assert app.openapi()["paths"]["/healthz"]["get"]["security"] == []


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_reference_page_needs_nothing_from_outside(client: TestClient, lang: str) -> None:
    response = client.get("/api/docs", params={"lang": lang})
    page = response.text
    assert response.headers["content-language"] == lang
    assert not re.search(r"https?://|<script|@import|url\(", page)
    for word in ("/api/v1/score", "/api/v1/records/{record_id}", "demo-session-1", "schema-Row_events", "problem-busy"):
        assert word in page
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page))
