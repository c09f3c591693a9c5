"""An invented run database: to look at a report, to measure it, to test it. No real person, institution or log.

Made set by set in SQL from nothing but the numbers given, so that the same call makes the same rows.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Final

import duckdb

from learnguard.report.words import reason_title
from learnguard.schema import RESULTS, create_sql

_PATTERNS: Final = (
    # detector, strength, decision, second detector, seconds struck by the first, by the second
    ("concurrent_sessions", "proof", "withhold", None, 5400, 0),
    ("background_playback", "proof", "withhold", None, 10800, 0),
    ("course_skipping", "proof", "withhold", "anomalous_completion_time", 9000, 0),
    ("idle_playback", "proof", "withhold", "concurrent_sessions", 16800, 5400),
    ("unregistered_trainee", "proof", "withhold", None, 0, 0),
    ("proxy_attendance", "statistical", "review", None, 7200, 0),
    ("anomalous_completion_time", "statistical", "review", None, 0, 0),
)

_EXPLAINED: Final = {
    "concurrent_sessions": (
        "账号在电脑 pc-{r} 与手机 ph-{r} 上同时学习 90 分钟（3月5日 09:20 起）。",
        "The account studied on computer pc-{r} and phone ph-{r} at once for 90 minutes (from 5 Mar 09:20).",
    ),
    "background_playback": (
        "页面不在前台时仍计入 180 分钟学习（3月4日 20:00 起，共 2 段）。",
        "180 minutes were counted while the page was not in front (from 4 Mar 20:00, 2 stretches).",
    ),
    "course_skipping": (
        "3 个课次计为学完，但 150 分钟内容没有播放记录。",
        "3 lessons count as learned, but 150 minutes of them were never played.",
    ),
    "idle_playback": (
        "在场提问 6 次有 5 次无人应答，其间 280 分钟学习没有任何操作。",
        "5 of 6 presence prompts went unanswered; 280 minutes passed without a sign of presence.",
    ),
    "unregistered_trainee": (
        "学员在完成培训之日（3月14日）尚未实名登记。",
        "The learner was not registered on the day of completion (14 Mar).",
    ),
    "proxy_attendance": (
        "设备 pub-{m} 在同一晚依次登录 9 个账号，与本账号平时的设备和时段不符。",
        "Device pub-{m} served 9 accounts in turn on one evening, unlike this account's usual devices and hours.",
    ),
    "anomalous_completion_time": (
        "全课用时只有可比学员的 18%。",
        "The whole course took 18% of the time that comparable learners need.",
    ),
}

_LOOKALIKES: Final = {
    "network_change": ("同一设备切换网络（无线到移动）", "One device changes network (Wi-Fi to mobile)"),
    "stale_login": ("另一设备只是保持登录、没有学习", "The other device was only logged in, not learning"),
    "late_upload": ("离线学习后补传", "Learned offline, uploaded later"),
    "training_room": ("在登记的集中学习场地共用设备", "A declared training room shares its devices"),
}

_FACTS: Final[dict[str, dict[str, object]]] = {
    "concurrent_sessions": {"device_a": "pc", "device_b": "phone", "overlap_s": 5400, "n_stretches": 3},
    "background_playback": {"hidden_s": 10800, "n_stretches": 2, "share": 0.21, "variant": "hidden"},
    "course_skipping": {"n_lessons": 3, "counted_s": 10800, "played_s": 1800, "coverage": 0.1667},
    "idle_playback": {"n_prompts": 6, "n_missed": 5, "idle_s": 16800, "first_at": "2026-03-07T14:30:00Z"},
    "unregistered_trainee": {"completed_at": "2026-03-14T09:00:00Z", "registered_at": None},
    "proxy_attendance": {"n_accounts": 9, "share": 0.94},
    "anomalous_completion_time": {"share": 0.18, "duration_s": 86400, "time_s": 15552},
}

_RECORD: Final = "platform_id VARCHAR, record_id VARCHAR"
#: Tables of a run database beside ``schema.RESULTS``.
_EXTRA: Final = {
    "not_assessed": f"{_RECORD}, detector VARCHAR, missing VARCHAR",
    "run": "key VARCHAR, value VARCHAR",
    "detectors": "detector VARCHAR, version BIGINT, title_zh VARCHAR, title_en VARCHAR, clause VARCHAR,"
    " strength VARCHAR, severity VARCHAR, status VARCHAR, triage_zh VARCHAR, triage_en VARCHAR,"
    " false_positives_zh VARCHAR, false_positives_en VARCHAR, lookalikes_zh VARCHAR,"
    " lookalikes_en VARCHAR, params VARCHAR, sql VARCHAR, requires VARCHAR",
    "people": f"{_RECORD}, name_masked VARCHAR, id_masked VARCHAR, course_title VARCHAR",
    "timeline": f"{_RECORD}, own_record_id VARCHAR, account_id VARCHAR, device_id VARCHAR, page_id VARCHAR,"
    " lesson_id VARCHAR, lesson_title VARCHAR, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, active_s DOUBLE,"
    " is_hidden BOOLEAN, rate DOUBLE, source VARCHAR, day DATE",
    "timeline_checks": f"{_RECORD}, checked_at TIMESTAMPTZ, kind VARCHAR, result VARCHAR",
}


def create_tables(con: duckdb.DuckDBPyConnection) -> None:
    """The empty tables of a run database, in ``con``'s default schema."""
    for table in RESULTS.values():
        con.execute(create_sql(table))
    for name, columns in _EXTRA.items():
        con.execute(f"CREATE TABLE {name} ({columns})")


def _say(con: duckdb.DuckDBPyConnection, run_date: str, records: int) -> None:
    said = {
        "run_date": run_date,
        "version": "2",
        "created_at": f"{run_date}T17:05:11Z",
        "timezone": "Asia/Shanghai",
        "policy": "national@1",
        "learnguard_version": "0.1.0",
        "deliveries": "3",
        "records": str(records),
        "changed_from": f"{run_date}.v1.duckdb",
        "changes": json.dumps({"added": 4, "gone": 0, "decided_otherwise": 2, "changed": 3}),
    }
    con.executemany("INSERT INTO run VALUES ($1, $2)", [list(item) for item in said.items()])


def build_sample(
    con: duckdb.DuckDBPyConnection, *, records: int = 1200, flags: int = 60, run_date: str = "2026-03-16"
) -> None:
    """Fill ``con`` with an invented run of ``records`` records of which ``flags`` are flagged (in seven patterns)."""
    con.execute("SET TimeZone='UTC'")
    create_tables(con)
    given = {"r": records, "f": flags, "d": run_date}
    con.execute(
        "CREATE TEMP TABLE pattern (id BIGINT, detector VARCHAR, strength VARCHAR, decision VARCHAR, second VARCHAR,"
        " first_s BIGINT, second_s BIGINT)"
    )
    con.executemany(
        "INSERT INTO pattern VALUES ($1, $2, $3, $4, $5, $6, $7)", [[i, *p] for i, p in enumerate(_PATTERNS)]
    )
    con.execute("CREATE TEMP TABLE explained (detector VARCHAR, zh VARCHAR, en VARCHAR, facts VARCHAR)")
    examined: dict[str, object] = {name: {"found": name == "late_upload"} for name in list(_LOOKALIKES)[:3]}
    con.executemany(
        "INSERT INTO explained VALUES ($1, $2, $3, $4)",
        [[k, *v, json.dumps({**_FACTS[k], "examined": examined}, ensure_ascii=False)] for k, v in _EXPLAINED.items()],
    )
    _say(con, run_date, records)
    _describe_detectors(con)
    con.execute("CREATE TEMP TABLE given AS SELECT $r AS records, $f AS flags, $d::DATE AS run_date", given)
    con.execute(resources.files("learnguard.report").joinpath("sample.sql").read_text(encoding="utf-8"))
    con.execute("DROP TABLE pattern; DROP TABLE explained; DROP TABLE given")


def _describe_detectors(con: duckdb.DuckDBPyConnection) -> None:
    zh = json.dumps({k: v[0] for k, v in _LOOKALIKES.items()}, ensure_ascii=False)
    en = json.dumps({k: v[1] for k, v in _LOOKALIKES.items()})
    triage = [
        "打开时间线：两台设备确实都在学习，还是其中一台只是没有退出？",
        "向学员了解当天情况，核对平台的登录通知。",
    ]
    triage_en = [
        "Open the timeline: are both devices really learning, or is one a stale login?",
        "Ask the learner about that day.",
    ]
    params = {"min_overlap_s": {"value": 120, "unit": "s", "why": "honest hand-overs overlap by up to 90 s"}}
    shared = [
        "人社部 2024-01-03 通知（七）",
        "proof",
        "high",
        "stable",
        json.dumps(triage, ensure_ascii=False),
        json.dumps(triage_en),
        json.dumps(["手机接替后，电脑播放器仍在播放缓冲内容。"], ensure_ascii=False),
        json.dumps(["A phone takes over while the computer's player still drains its buffer."]),
        zh,
        en,
        json.dumps(params),
        "SELECT 1",
        "[]",
    ]
    con.executemany(
        f"INSERT INTO detectors VALUES ({', '.join(f'${n}' for n in range(1, len(shared) + 5))})",
        [[d, 1, reason_title(d, "zh"), reason_title(d, "en"), *shared] for d in (*_EXPLAINED, "collusion_ring")],
    )
