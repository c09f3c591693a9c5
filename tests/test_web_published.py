"""Published runs over HTTP: pages, reports, records; and many readers at once."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from learnguard import pipeline
from learnguard.report import content_security_policy
from learnguard.runs import latest_runs, open_run
from learnguard.settings import Settings, load_settings
from learnguard.simulate import write_world
from learnguard.web import create_app, models
from learnguard.web import published as module

BASE = "http://localhost"


@dataclass(frozen=True)
class Served:
    """A small world, ingested and run on each of its days, and an app over it."""

    settings: Settings
    app: FastAPI
    days: tuple[date, ...]

    @property
    def client(self) -> TestClient:
        return TestClient(self.app, base_url=BASE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("published")
    world = write_world(folder / "world", learners=120, days=2, prevalence=0.15)
    settings = load_settings(environ={}, cwd=folder, store=folder / "store")
    for delivery in world.deliveries:
        pipeline.ingest(settings, delivery.path)
    days = tuple(world.start + timedelta(days=n) for n in range(world.days))
    for day in days:
        pipeline.run(settings, day)
    return Served(settings, create_app(settings), days)


@pytest.fixture(scope="module")
def report(served: Served) -> dict[str, Any]:
    return dict(served.client.get("/api/v1/reports/latest").json())


def flagged(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [d for d in report["decisions"] if d["decision"] != "clear"]


def test_the_page_is_that_of_the_latest_run(served: Served) -> None:
    first, last = (d.isoformat() for d in served.days)
    response = served.client.get("/", headers={"accept-language": "en"})
    assert response.status_code == 200
    assert f"<span>{last}</span>" in response.text
    assert '<html lang="en">' in response.text
    assert response.headers["content-security-policy"].startswith(content_security_policy())
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-language"] == "en"
    assert f"<span>{first}</span>" in served.client.get(f"/reports/{first}").text


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [("zh", "en", "zh-CN"), ("en", "zh", "en"), (None, "en-GB,zh;q=0.2", "en"), (None, "fr", "zh-CN")],
)
def test_the_language_asked_for(served: Served, query: str | None, accept: str, expected: str) -> None:
    params = {"lang": query} if query else {}
    page = served.client.get("/", params=params, headers={"accept-language": accept}).text
    assert f'<html lang="{expected}">' in page


def test_pages_load_nothing_from_outside(served: Served) -> None:
    page = served.client.get("/").text
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//|@import|url\(["']?http""", page)


def test_a_date_without_a_run_is_told_which_there_are(served: Served) -> None:
    response = served.client.get("/api/v1/reports/2020-01-01")
    assert response.status_code == 404
    assert served.days[-1].isoformat() in response.json()["detail_en"]
    assert str(served.settings.store) not in response.text


def test_the_json_report_is_whole(served: Served, report: dict[str, Any]) -> None:
    response = served.client.get(f"/api/v1/reports/{served.days[-1]}")
    models.Report.model_validate_json(response.content)
    assert response.json() == report
    assert int(response.headers["content-length"]) == len(response.content)
    assert report["run"]["run_date"] == served.days[-1].isoformat()
    with open_run(latest_runs(served.settings.store)[-1]) as con:
        counts = con.execute("SELECT (SELECT count(*) FROM decisions), (SELECT count(*) FROM findings)").fetchone()
    assert counts == (len(report["decisions"]), len(report["findings"]))
    assert report["figures"]["flagged"] == len(flagged(report)) > 0


def test_a_record_has_its_latest_word_and_its_history(served: Served, report: dict[str, Any]) -> None:
    earlier = served.client.get(f"/api/v1/reports/{served.days[0]}").json()
    # before its claim arrived, the record went by account and course
    before = {(d["platform_id"], d["record_id"]): d for d in earlier["decisions"]}
    decision, first = next(
        (d, before[d["platform_id"], pair])
        for d in flagged(report)
        if (d["platform_id"], pair := f"{d['account_id']}/{d['course_id']}") in before
    )
    response = served.client.get(
        f"/api/v1/records/{decision['record_id']}", params={"platform_id": decision["platform_id"]}
    )
    models.RecordAnswer.model_validate_json(response.content)
    said = response.json()
    assert said["latest"]["decision"] == decision
    assert (said["latest"]["run_date"], said["latest"]["run_version"]) == (served.days[1].isoformat(), 1)
    assert {f["finding_id"] for f in said["latest"]["findings"]} == {
        f["finding_id"] for f in report["findings"] if f["record_id"] == decision["record_id"]
    }
    assert {s["finding_id"] for s in said["latest"]["strikes"]} <= {f["finding_id"] for f in said["latest"]["findings"]}
    assert said["history"] == [{"run_date": served.days[0].isoformat(), "run_version": 1, "decision": first}]
    assert "由人作出决定" in said["statement_zh"]


def test_a_record_has_a_page(served: Served, report: dict[str, Any]) -> None:
    decision = flagged(report)[0]
    params = {"platform_id": decision["platform_id"], "lang": "en"}
    response = served.client.get(f"/records/{decision['record_id']}", params=params)
    assert response.status_code == 200
    assert decision["record_id"] in response.text
    assert response.headers["content-security-policy"].startswith(content_security_policy())
    for path in ("/records/none", "/api/v1/records/none", "/api/v1/records/a/b%2Fc"):
        assert served.client.get(path).json()["type"].endswith("#problem-no-record")


def test_a_record_without_a_claim_is_found_by_account_and_course(served: Served) -> None:
    first = served.client.get(f"/api/v1/reports/{served.days[0]}").json()
    record = next(d for d in first["decisions"] if d["record_id"] == f"{d['account_id']}/{d['course_id']}")
    said = served.client.get(f"/api/v1/records/{record['record_id']}").json()
    assert said["record_id"] == record["record_id"]
    assert served.client.get(f"/records/{record['record_id']}").status_code == 200


def test_an_id_that_two_platforms_have_needs_the_platform(served: Served, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(served.settings.store, store)
    (other,) = {r.path for r in latest_runs(store)[-1:]}
    import duckdb

    with duckdb.connect(str(other)) as con:
        row = con.execute("SELECT record_id, platform_id FROM decisions ORDER BY ALL LIMIT 1").fetchone()
        assert row is not None
        con.execute(
            "INSERT INTO decisions SELECT * REPLACE ('elsewhere' AS platform_id) FROM decisions "
            "WHERE record_id = $record AND platform_id = $platform",
            {"record": row[0], "platform": row[1]},
        )
    client = TestClient(create_app(load_settings(environ={}, cwd=tmp_path, store=store)), base_url=BASE)
    response = client.get(f"/api/v1/records/{row[0]}")
    assert response.status_code == 409
    assert "elsewhere" in response.json()["detail_zh"]
    for platform in ("elsewhere", row[1]):
        said = client.get(f"/api/v1/records/{row[0]}", params={"platform_id": platform}).json()
        assert said["platform_id"] == platform == said["latest"]["decision"]["platform_id"]


def test_a_new_version_of_a_date_is_served_at_once(served: Served, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(served.settings.store, store)
    settings = load_settings(environ={}, cwd=tmp_path, store=store)
    client = TestClient(create_app(settings), base_url=BASE)
    assert client.get("/").status_code == 200
    assert client.get("/api/v1/reports/latest").headers["x-learnguard-run"].endswith(".v1")
    record = client.get("/api/v1/reports/latest").json()["decisions"][0]["record_id"]
    pipeline.run(settings, served.days[-1])
    assert client.get("/api/v1/reports/latest").headers["x-learnguard-run"].endswith(".v2")
    assert client.get(f"/api/v1/records/{record}").json()["latest"]["run_version"] == 2


def test_a_page_is_made_once_and_few_are_held(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(con: Any, lang: str) -> str:
        made.append(lang)
        return f"page {lang} {con.execute('SELECT value FROM run WHERE key = $key', {'key': 'run_date'}).fetchone()[0]}"

    monkeypatch.setattr(module, "render_html", counted)
    first, last = latest_runs(served.settings.store)
    pages = module.ReportPages(size=2)
    assert pages.page(last, "zh") == f"page zh {last.run_date}".encode()
    assert pages.page(last, "en") == pages.page(last, "en") == f"page en {last.run_date}".encode()
    assert made == ["zh", "en"]
    pages.page(first, "zh")
    pages.page(last, "en")
    assert made == ["zh", "en", "zh"]
    pages.page(last, "zh")
    assert made == ["zh", "en", "zh", "zh"]


@pytest.fixture
def questions(served: Served, report: dict[str, Any]) -> list[str]:
    picked = [*flagged(report)[:6], *[d for d in report["decisions"] if d["decision"] == "clear"][:6]]
    records = [f"/api/v1/records/{d['record_id']}?platform_id={d['platform_id']}" for d in picked]
    pages = [f"/records/{d['record_id']}?platform_id={d['platform_id']}&lang=en" for d in picked[:3]]
    reports = [f"/api/v1/reports/{day}" for day in served.days]
    return [*records, *pages, *reports, "/?lang=zh", f"/reports/{served.days[0]}?lang=en"]


def test_answers_to_many_at_once_never_mix(served: Served, questions: list[str]) -> None:
    expected = {q: served.client.get(q).content for q in questions}
    assert len(set(expected.values())) == len(questions)

    async def ask_all() -> list[tuple[str, int, bytes]]:
        transport = httpx.ASGITransport(app=create_app(served.settings))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:

            async def ask(question: str) -> tuple[str, int, bytes]:
                response = await client.get(question)
                return question, response.status_code, response.content

            return await asyncio.gather(*(ask(q) for q in questions * 4))

    for question, status, content in asyncio.run(ask_all()):
        assert status == 200, question
        assert content == expected[question], question


def test_scores_at_once_never_mix(served: Served) -> None:
    def rows(number: int) -> dict[str, Any]:
        who = {"platform_id": "demo-platform", "account_id": f"demo-{number}", "course_id": "demo-course"}
        times = {"started_at": "2026-03-02T09:00:00+08:00", "learned_s": 600 + 60 * number}
        session = who | times | {"session_id": "s", "ended_at": f"2026-03-02T09:{10 + number}:00+08:00"}
        return {"tables": {"sessions": [session | {"lesson_id": "l"}]}}

    async def ask_all() -> list[Any]:
        transport = httpx.ASGITransport(app=served.app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as client:
            asked = [client.post("/api/v1/score", content=json.dumps(rows(n)), headers=KIND) for n in range(4)]
            return [r.json() for r in await asyncio.gather(*asked)]

    for number, said in enumerate(asyncio.run(ask_all())):
        (record,) = said["records"]
        assert record["account_id"] == f"demo-{number}"
        assert record["credited_s"] == 600 + 60 * number


KIND = {"content-type": "application/json"}
