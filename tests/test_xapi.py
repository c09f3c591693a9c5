"""xAPI statements as events and lessons: invented ones for each rule, and the real ones of a shared data folder."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from learnguard import sources, store

VIDEO = "https://w3id.org/xapi/video/"
ADL = "http://adlnet.gov/expapi/"
COURSE = {"id": "course-1", "definition": {"type": ADL + "activities/course"}}


def statement(verb: str, at: str = "2026-03-01T01:00:00Z", **changes: Any) -> dict[str, Any]:
    """An invented video statement; ``changes`` replace its top-level members."""
    return {
        "id": f"s-{verb}-{at}",
        "actor": {
            "objectType": "Agent",
            "account": {"name": "learner-1", "homePage": "https://Train.example.org:8443/x"},
        },
        "verb": {"id": verb if "/" in verb else VIDEO + "verbs/" + verb},
        "object": {"id": "video-1", "definition": {"type": VIDEO + "activity-type/video", "name": {"zh-CN": "第一课"}}},
        "context": {
            "contextActivities": {"parent": [COURSE]},
            "extensions": {VIDEO + "extensions/session-id": "session-1", VIDEO + "extensions/length": 600},
        },
        "timestamp": at,
    } | changes


def result(**extensions: float | str) -> dict[str, Any]:
    return {"extensions": {VIDEO + "extensions/" + k.replace("_", "-"): v for k, v in extensions.items()}}


@dataclass
class Store:
    root: Path
    con: duckdb.DuckDBPyConnection
    seen: int = -1

    def ingest(self, path: Path, platform_id: str | None = None) -> store.Outcome:
        lake = store.Lake.create(self.root)
        with store.workspace(lake, memory_limit="1GB", threads=2) as room:
            delivery = sources.open_delivery(path, workdir=room.path)
            mapping = sources.guess_source(delivery.files)
            assert mapping.name == "xapi"
            reading = mapping.extracts(delivery, con=room.con, workdir=room.path, platform_id=platform_id)
            return store.write_delivery(
                room,
                files=delivery.files,
                extracts=reading.extracts,
                source=mapping.name,
                timezone="Asia/Shanghai",
                key=bytes(range(32)),
                platform_id=platform_id,
            )

    def rows(self, sql: str) -> list[Any]:
        lake = store.Lake.open(self.root)
        if len(lake.deliveries()) != self.seen:
            lake.register(self.con)
            self.seen = len(lake.deliveries())
        return self.con.execute(sql).fetchall()


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Store]:
    with duckdb.connect() as con:
        yield Store(tmp_path / "store", con)


def lines(*statements: object) -> str:
    return "\n".join(json.dumps(s, ensure_ascii=False) for s in statements) + "\n"


def test_a_video_statement_becomes_an_event(lake: Store, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    moved = statement(
        "seeked",
        result=result(time_from=10.5, time_to="99", time=1),
        stored="2026-03-01T09:30:00+08:00",
    )
    moved["context"]["platform"] = "Mobile"
    moved["context"]["extensions"] |= {
        VIDEO + "extensions/speed": "1.25x",
        VIDEO + "extensions/user-agent": "Mozilla/5.0",
    }
    file.write_text(lines(moved), encoding="utf-8")
    assert lake.ingest(file).bad == 0
    assert lake.rows("SELECT * EXCLUDE (delivery_id) FROM events") == [
        (
            "train.example.org",
            "s-seeked-2026-03-01T01:00:00Z",
            datetime(2026, 3, 1, 1, tzinfo=UTC),
            None,
            datetime(2026, 3, 1, 1, 30, tzinfo=UTC),
            "learner-1",
            "seek",
            "session-1",
            None,
            "session-1",
            None,
            "Mozilla/5.0",
            "mobile",
            "course-1",
            "video-1",
            10.5,
            99.0,
            1.25,
            None,
            None,
            None,
            None,
        )
    ]
    assert lake.rows("SELECT platform_id, course_id, lesson_id, kind, duration_s, title FROM lessons") == [
        ("train.example.org", "course-1", "video-1", "video", 600.0, "第一课")
    ]


def test_verbs(lake: Store, tmp_path: Path) -> None:
    names = {
        "played": "play",
        "paused": "pause",
        "seeked": "seek",
        ADL + "verbs/completed": "complete",
        ADL + "verbs/initialized": "page_open",
        ADL + "verbs/terminated": "page_close",
        ADL + "verbs/interacted": "interaction",
        ADL + "verbs/passed": "exam_submit",
        ADL + "verbs/failed": "exam_submit",
        ADL + "verbs/launched": "launched",
        "https://w3id.org/xapi/adl/verbs/abandoned": "abandoned",
        "https://w3id.org/xapi/adl/verbs/satisfied": "satisfied",
        "http://id.tincanapi.com/verb/downloaded": "downloaded",
        "https://example.org/verbs#flew/": "flew",
    }
    (tmp_path / "log.jsonl").write_text(lines(*(statement(v, result=result(time=5)) for v in names)))
    lake.ingest(tmp_path / "log.jsonl")
    found = dict(lake.rows("SELECT event_id, verb FROM events"))
    assert found == {statement(v)["id"]: name for v, name in names.items()}


def test_cmi5(lake: Store, tmp_path: Path) -> None:
    session = "https://w3id.org/xapi/cmi5/context/extensions/sessionid"
    context = {
        "registration": "reg-1",
        "contextActivities": {"grouping": {"id": "publisher-au-7"}},
        "extensions": {session: "sess-9"},
    }
    passed = statement(
        ADL + "verbs/passed", context=context, object={"id": "au-7"}, result={"success": True, "score": {"scaled": 0.9}}
    )
    bare = statement("played", context={"registration": "reg-2"}, object={"id": "au-8"})
    (tmp_path / "log.jsonl").write_text(lines(passed, bare))
    lake.ingest(tmp_path / "log.jsonl")
    sql = "SELECT lesson_id, verb, result, value, session_id, page_id, course_id FROM events ORDER BY lesson_id"
    assert lake.rows(sql) == [
        ("au-7", "exam_submit", "pass", 0.9, "sess-9", "sess-9", "publisher-au-7"),
        ("au-8", "play", None, None, "reg-2", None, None),
    ]
    assert lake.rows("SELECT count(*) FROM lessons") == [(0,)]


def test_the_course_is_the_activity_typed_as_one(lake: Store, tmp_path: Path) -> None:
    section = {"id": "section-1", "definition": {"type": ADL + "activities/module"}}
    contexts = [
        {"contextActivities": {"parent": [section], "grouping": [{"id": "x"}, COURSE]}},
        {"contextActivities": {"parent": COURSE}},
        {"contextActivities": {"parent": [section]}},
        {"contextActivities": {"category": [COURSE]}},
        {},
    ]
    made = [statement("played", f"2026-03-01T01:00:0{i}Z", context=c) for i, c in enumerate(contexts)]
    made.append(statement("played", "2026-03-01T01:00:09Z", object=COURSE, context={}))
    (tmp_path / "log.jsonl").write_text(lines(*made))
    lake.ingest(tmp_path / "log.jsonl")
    assert lake.rows("SELECT course_id, lesson_id FROM events ORDER BY ts") == [
        ("course-1", "video-1"),
        ("course-1", "video-1"),
        ("section-1", "video-1"),
        (None, "video-1"),
        (None, "video-1"),
        ("course-1", None),
    ]


def test_accounts_without_an_address_in_the_clear(lake: Store, tmp_path: Path) -> None:
    actors: list[dict[str, Any]] = [
        {"mbox": "mailto:Li.Si@Example.org"},
        {"mbox_sha1sum": "aabb"},
        {"openid": "https://id.example.org/u/1"},
        {"objectType": "Group", "member": [{"mbox": "mailto:a@example.org"}]},
    ]
    made = [statement("played", f"2026-03-01T01:00:0{i}Z", actor=a) for i, a in enumerate(actors)]
    (tmp_path / "log.jsonl").write_text(lines(*made))
    outcome = lake.ingest(tmp_path / "log.jsonl", platform_id="p")
    hashed = "mbox-" + hashlib.sha256(b"mailto:li.si@example.org").hexdigest()[:40]
    assert [r[0] for r in lake.rows("SELECT account_id FROM events ORDER BY ts")] == [
        hashed,
        "aabb",
        "https://id.example.org/u/1",
    ]
    assert outcome.reasons == {("log.jsonl", "account_id", "missing"): 1}
    everything = str(lake.rows("SELECT * FROM quarantine")) + str(lake.rows("SELECT * FROM events"))
    assert "@" not in everything


def test_what_lacks_a_piece_is_put_aside_by_line(lake: Store, tmp_path: Path) -> None:
    without = [{k: v for k, v in statement("played").items() if k != n} for n in ("verb", "actor", "timestamp")]
    made = [statement("played"), "no object", *without, statement("played", "soon"), statement("paused")]
    (tmp_path / "log.jsonl").write_text(lines(*made) + "{\n")
    outcome = lake.ingest(tmp_path / "log.jsonl", platform_id="p")
    assert (outcome.good, outcome.bad) == (3, 6)
    assert lake.rows('SELECT row, "column", reason FROM quarantine ORDER BY row') == [
        (2, None, "not a JSON object"),
        (3, "verb", "missing"),
        (4, "account_id", "missing"),
        (5, "ts", "missing"),
        (6, "ts", "not an ISO 8601 time"),
        (8, None, "not a JSON object"),
    ]


@pytest.mark.parametrize("form", ["lines", "array", "pretty array", "page", "pretty page", "pretty objects"])
@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_forms_of_a_file(lake: Store, tmp_path: Path, form: str, suffix: str) -> None:
    made = [statement("played", f"2026-03-01T01:00:0{i}Z", result=result(time=i)) for i in range(4)]
    indent = 2 if form.startswith("pretty") else None
    text = {
        "lines": lines(*made),
        "array": json.dumps(made),
        "pretty array": json.dumps(made, indent=2),
        "page": json.dumps({"statements": made, "more": ""}),
        "pretty page": json.dumps({"more": "/x", "statements": made}, indent=2),
        "pretty objects": "\n".join(json.dumps(s, indent=indent) for s in made),
    }[form]
    file = tmp_path / f"statements-1{suffix}"
    file.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    outcome = lake.ingest(file)
    assert (outcome.bad, outcome.files[0].good) == (0, 4)
    assert lake.rows("SELECT position_s FROM events ORDER BY ts") == [(0.0,), (1.0,), (2.0,), (3.0,)]


def test_a_lesson_has_the_length_said_most_often(lake: Store, tmp_path: Path) -> None:
    made = [statement("played", f"2026-03-01T01:00:0{i}Z") for i in range(4)]
    for s, length in zip(made, (0, 700, 600.5, 600.5), strict=True):
        s["context"]["extensions"][VIDEO + "extensions/length"] = length
    (tmp_path / "log.jsonl").write_text(lines(*made))
    lake.ingest(tmp_path / "log.jsonl")
    assert lake.rows("SELECT duration_s FROM lessons") == [(600.5,)]


# --------------------------------------------------------------------------------------------------- the real ones


def shared(path: str) -> Path:
    root = Path(os.environ.get("LEARNGUARD_SHARED") or Path(__file__).parents[2] / "shared" / "data")
    if not (root / path).exists():
        pytest.skip(f"the shared data folder has no {path} (set LEARNGUARD_SHARED)")
    return root / path


@pytest.mark.shared
def test_the_real_statements(lake: Store) -> None:
    file = shared("ralph/data/statements.json.gz")
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        known = [json.loads(line) for line in stream]
    outcome = lake.ingest(file)
    assert (len(known), outcome.files[0].good, outcome.bad) == (22_000, 22_000, 0)
    words = Counter(s["verb"]["id"].rsplit("/", 1)[-1] for s in known)
    mapped = {
        "played": "play",
        "paused": "pause",
        "seeked": "seek",
        "completed": "complete",
        "initialized": "page_open",
        "terminated": "page_close",
        "interacted": "interaction",
    }
    assert dict(lake.rows("SELECT verb, count(*) FROM events GROUP BY 1")) == {
        mapped.get(w, w): n for w, n in words.items()
    }
    assert lake.rows("SELECT count(DISTINCT account_id), count(DISTINCT session_id) FROM events") == [
        (
            len({s["actor"]["account"]["name"] for s in known}),
            len({s["context"]["extensions"].get(VIDEO + "extensions/session-id") for s in known} - {None}),
        )
    ]
    assert lake.rows("SELECT DISTINCT platform_id FROM events") == [("fun-mooc.fr",)]
    by_id = {s["id"]: s for s in known}
    sample = lake.rows("SELECT event_id, epoch(ts), position_s, to_position_s, course_id, lesson_id FROM events")
    assert len(sample) == len(by_id)
    for event_id, at, position, to, course, lesson in sample[::50]:
        s = by_id[event_id]
        said = s.get("result", {}).get("extensions", {}) | {
            k: v for k, v in s["context"]["extensions"].items() if k.endswith("/time")
        }
        start = said.get(VIDEO + "extensions/time-from", said.get(VIDEO + "extensions/time"))
        assert at == pytest.approx(datetime.fromisoformat(s["timestamp"]).timestamp())
        assert (position, to) == (start, said.get(VIDEO + "extensions/time-to"))
        assert (course, lesson) == (s["context"]["contextActivities"]["parent"][0]["id"], s["object"]["id"])
    lessons = lake.rows("SELECT lesson_id, duration_s FROM lessons")
    assert {lesson for lesson, _ in lessons} == {s["object"]["id"] for s in known}
    assert all(d > 0 for _, d in lessons)


@pytest.mark.shared
def test_statements_of_another_converter(lake: Store, tmp_path: Path) -> None:
    folder = shared("erb/event_routing_backends/processors/xapi/tests/fixtures/expected")
    expected = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))]
    single = [s for e in expected for s in (e if isinstance(e, list) else [e])]
    (tmp_path / "statements.jsonl").write_text(lines(*single), encoding="utf-8")
    outcome = lake.ingest(tmp_path / "statements.jsonl", platform_id="edx")
    assert outcome.files[0].rows == len(single)
    assert outcome.files[0].good == sum(
        bool(s.get("timestamp") and s.get("verb") and ("account" in s["actor"] or "mbox" in s["actor"])) for s in single
    )
    verbs = dict(lake.rows("SELECT verb, count(*) FROM events GROUP BY 1"))
    assert verbs["play"] >= 1
    assert verbs["seek"] >= 1
