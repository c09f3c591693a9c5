"""Which records a run assesses, whose they are, and which log rows belong to which of them."""

from __future__ import annotations

import datetime as dt
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from learnguard import scope
from learnguard.schema import CONDENSED, DELIVERED, Column, create_sql, lake_columns

MONDAY = dt.date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
Row = dict[str, Any]
Rows = dict[str, list[Row]]


def at(day: int, hour: float = 0) -> datetime:
    """An instant ``day`` days and ``hour`` hours after Monday noon, local time."""
    return NOON + timedelta(days=day, hours=hour)


def record(record_id: str, account_id: str, course_id: str = "c", **more: Any) -> Row:
    return {
        "platform_id": "p", "record_id": record_id, "account_id": account_id, "course_id": course_id,
        "claimed_hours": 10, "completed_at": at(30), **more,
    }  # fmt: skip


def enrolled(account_id: str, learner_id: str, **more: Any) -> Row:
    return {"platform_id": "p", "account_id": account_id, "learner_id": learner_id, "class_id": "k", **more}


def segment(account_id: str, course_id: str | None = "c", day: int = 0, hour: float = 0, **more: Any) -> Row:
    begin = at(day, hour)
    return {
        "platform_id": "p", "account_id": account_id, "course_id": course_id, "lesson_id": "l", "started_at": begin,
        "ended_at": begin + timedelta(minutes=30), "active_s": 1800.0, "day": MONDAY + timedelta(days=day), **more,
    }  # fmt: skip


def _fill(con: duckdb.DuckDBPyConnection, name: str, columns: tuple[Column, ...], rows: list[Row]) -> None:
    known = {c.name: c.sql_type for c in columns}
    con.execute(f'CREATE OR REPLACE TABLE "{name}" (' + ", ".join(f'"{n}" {t}' for n, t in known.items()) + ")")
    for row in rows:
        assert set(row) <= set(known), set(row) - set(known)
        names = ", ".join(f'"{n}"' for n in row)
        con.execute(f'INSERT INTO "{name}" ({names}) VALUES ({", ".join("?" * len(row))})', list(row.values()))


def laid(
    delivered: Rows, condensed: Rows | None = None, *, known: list[str] | None = None, **new: Any
) -> duckdb.DuckDBPyConnection:
    """The scope over these rows: delivered tables (``delivery_id`` d1 unless said), condensed ones, and new ones.

    Of ``new``, ``new_<output>`` are rows and ``new_logs`` files.
    """
    con = duckdb.connect(config={"threads": 1})
    con.execute("SET TimeZone = 'UTC'")
    for table in DELIVERED.values():
        columns = (*lake_columns(table.name), Column("delivery_id"))
        rows = [{"delivery_id": "d1", **r} for r in delivered.get(table.name, [])]
        _fill(con, f"all_{table.name}", columns, rows)
        key = ", ".join(f'"{k}"' for k in table.key)
        latest = f" QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY delivery_id DESC) = 1" if key else ""
        con.execute(f'CREATE VIEW "{table.name}" AS SELECT * FROM "all_{table.name}"{latest}')
    for name in ("segments", "checks", "completions", "capabilities"):
        _fill(con, f"condensed_{name}", CONDENSED[name].columns, (condensed or {}).get(name, []))
        _fill(con, f"new_{name}", CONDENSED[name].columns, new.get(f"new_{name}", []))
    con.execute(
        "CREATE TABLE platform_first_logs AS SELECT 'p' AS platform_id, $first::TIMESTAMPTZ AS first_at",
        {"first": at(0)},
    )
    scope.find_people(con, class_hour_s=2700)
    scope.find_touched(con, known=known, new_logs=new.get("new_logs"))
    scope.lay_tables(con, timezone="Asia/Shanghai")
    return con


def rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return con.execute(f"SELECT {sql} ORDER BY ALL").fetchall()


def touched(con: duckdb.DuckDBPyConnection) -> set[str]:
    return {r[0] for r in rows(con, "record_id FROM claims")}


# -------------------------------------------------------------------------------------------------- records and people


def test_claims_are_in_seconds_and_know_their_learner() -> None:
    con = laid(
        {
            "records": [record("r", "a", learner_id="own-7", required_hours=8, started_at=at(-1))],
            "roster": [enrolled("a", "L1", institution_id="i")],
        },
        {"segments": [segment("a")]},
    )
    assert rows(
        con, "learner_id, institution_id, class_id, claimed_s, required_s, first_log_at, has_begun_before FROM claims"
    ) == [("L1", "i", "k", 27_000, 21_600, at(0), True)], (
        "the roster's pseudonym comes before the platform's own number"
    )
    assert rows(con, "record_id, learner_id FROM segments") == [("r", "L1")]


def test_a_platform_that_delivered_no_records_has_one_per_account_and_course() -> None:
    condensed = {
        "segments": [segment("a"), segment("a", "d"), segment("a", None), segment("b", platform_id="q"), segment("z")],
        "completions": [
            {"platform_id": "p", "account_id": "a", "course_id": "e", "lesson_id": "l", "completed_at": at(0)}
        ],
    }
    con = laid({"records": [record("r", "b", platform_id="q")], "roster": [enrolled("a", "L1")]}, condensed)
    assert rows(con, "record_id, claimed_s, learner_id FROM claims WHERE platform_id = 'p'") == [
        ("a/c", None, "L1"), ("a/d", None, "L1"), ("a/e", None, "L1"), ("z/c", None, None),
    ]  # fmt: skip
    assert rows(con, "record_id FROM segments WHERE course_id IS NULL") == [(None,)]
    q = laid({"records": [record("r", "b", "other", platform_id="q")]}, condensed)
    assert rows(q, "record_id FROM segments WHERE platform_id = 'q'") == [(None,)], (
        "a course that nobody claims is no record"
    )


def test_log_rows_go_to_the_first_record_completed_after_them() -> None:
    delivered = {"records": [record("first", "a", completed_at=at(10)), record("second", "a", completed_at=at(20))]}
    done = {"platform_id": "p", "account_id": "a", "course_id": "c", "lesson_id": "l", "source": "complete"}
    condensed = {
        "segments": [segment("a", day=d) for d in (0, 10, 11, 25)],
        "checks": [
            {"platform_id": "p", "account_id": "a", "course_id": "c", "checked_at": at(d), "kind": "prompt"}
            for d in (3, 12)
        ],
        "completions": [{**done, "completed_at": at(9)}, {**done, "completed_at": at(19)}],
    }
    con = laid(delivered, condensed)
    assert rows(con, "started_at, record_id FROM segments") == [
        (at(0), "first"), (at(10), "first"), (at(11), "second"), (at(25), "second"),
    ]  # fmt: skip
    assert rows(con, "checked_at, record_id FROM checks") == [(at(3), "first"), (at(12), "second")]
    assert rows(con, "completed_at, record_id FROM completions") == [(at(9), "first"), (at(19), "second")]


def test_of_records_completed_at_one_instant_one_has_all_rows_whatever_the_order() -> None:
    both = [record("x", "a", completed_at=at(10)), record("y", "a", completed_at=at(10))]
    for delivered in (both, both[::-1]):
        con = laid({"records": delivered}, {"segments": [segment("a", day=d) for d in (0, 11)]})
        assert rows(con, "record_id, count(*) FROM segments GROUP BY ALL") == [("x", 2)]
        assert touched(con) == {"x", "y"}


def test_an_account_whose_records_name_two_learners_has_its_rows_once() -> None:
    con = laid(
        {
            "records": [
                record("r1", "a", learner_id="L1"),
                record("r2", "a", "d", learner_id="L2"),
                record("r3", "a", "e"),
            ]
        },
        {"segments": [segment("a"), segment("a", "d", hour=1), segment("a", "e", hour=2)]},
    )
    assert rows(con, "record_id, count(*), count(DISTINCT learner_id) FROM segments GROUP BY ALL") == [
        (r, 1, 1) for r in ("r1", "r2", "r3")
    ]
    assert rows(con, "record_id, learner_id FROM claims") == [("r1", "L1"), ("r2", "L2"), ("r3", "L2")]


def test_a_person_is_followed_across_platforms_and_others_stay_out() -> None:
    delivered = {
        "records": [record("r", "a"), record("s", "b", platform_id="q"), record("t", "z")],
        "roster": [enrolled("a", "L1"), enrolled("b", "L1", platform_id="q"), enrolled("z", "L9")],
    }
    logs = {"segments": [segment("a"), segment("b", platform_id="q", day=5), segment("z")]}
    con = laid(delivered, logs, known=["d1"], new_segments=[segment("a")])
    assert touched(con) == {"r"}, "another day of the same person is not touched"
    assert rows(con, "account_id, learner_id FROM segments") == [("a", "L1"), ("b", "L1")], (
        "but their time is there to compare"
    )


def test_a_client_that_logs_visibility_and_said_nothing_was_in_front() -> None:
    seen = [{"platform_id": "p", "terminal": "pc", "column": "visible", "n": 1}]
    logs = {
        "capabilities": seen,
        "segments": [
            segment("a", terminal="pc"),
            segment("a", terminal="app"),
            segment("a", terminal="pc", is_hidden=True),
        ],
    }
    con = laid({}, logs)
    assert rows(con, "terminal, is_hidden, hidden_s FROM segments") == [
        ("app", None, None),
        ("pc", False, 0),
        ("pc", True, None),
    ]


def test_a_lesson_is_counted_by_the_platforms_word_before_its_sessions() -> None:
    done = {"platform_id": "p", "account_id": "a", "course_id": "c", "lesson_id": "l"}
    logs = {
        "completions": [
            {**done, "completed_at": at(0), "counted_s": 400.0, "source": "sessions"},
            {**done, "completed_at": at(1), "counted_s": 500.0, "source": "sessions"},
            {**done, "lesson_id": "m", "completed_at": at(1), "source": "complete"},
            {**done, "lesson_id": "m", "completed_at": at(0), "source": "complete"},
            {**done, "lesson_id": "m", "completed_at": at(0), "counted_s": 9.0, "source": "sessions"},
        ]
    }
    lessons = [{"platform_id": "p", "course_id": "c", "lesson_id": "m", "duration_s": 600.0, "title": "安全（音频）"}]
    con = laid({"lessons": lessons}, logs)
    assert rows(con, "lesson_id, counted_s, source, completed_at FROM completions") == [
        ("l", 900, "sessions", at(1)), ("m", 600, "complete", at(0)),
    ]  # fmt: skip
    assert rows(con, "lesson_id, is_audio FROM lessons") == [("m", True)]


# ------------------------------------------------------------------------------------------------------- what is news

WORLD: Rows = {
    "records": [record("r", "a"), record("s", "a", "d"), record("t", "z")],
    "roster": [enrolled("a", "L1"), enrolled("z", "L9")],
    "registry": [{"learner_id": "L1", "registered_at": at(-9)}],
    "certificates": [{"learner_id": "L1", "occupation": "cook", "skill_level": 4, "issued_at": at(-99)}],
    "lessons": [{"platform_id": "p", "course_id": "d", "lesson_id": "l", "duration_s": 60.0}],
    "attempts": [
        {
            "platform_id": "p",
            "attempt_id": "x",
            "exam_id": "e",
            "account_id": "z",
            "started_at": at(0),
            "submitted_at": at(1),
        }
    ],
    "corrections": [{"platform_id": "p", "table": "records", "key": "r", "reason": "typing", "declared_at": at(0)}],
}
LOGS: Rows = {"segments": [segment("a"), segment("a", "d", hour=2), segment("z")]}


def test_the_first_run_assesses_everything() -> None:
    assert touched(laid(WORLD, LOGS)) == {"r", "s", "t"}


def test_nothing_new_touches_nothing() -> None:
    assert touched(laid(WORLD, LOGS, known=["d1"])) == set()


def test_what_is_delivered_again_unchanged_is_no_news() -> None:
    again = {table: given + [{**r, "delivery_id": "d2"} for r in given] for table, given in WORLD.items()}
    assert touched(laid(again, LOGS, known=["d1"])) == set()


@pytest.mark.parametrize(
    ("table", "row", "expected"),
    [
        ("records", record("s", "a", "d", claimed_hours=11), {"s"}),
        ("records", record("new", "z", "d"), {"new"}),
        ("roster", enrolled("a", "L1", name="Li"), {"r", "s"}),
        ("registry", {"learner_id": "L1", "registered_at": at(-9), "ineligible_reason": "public_payroll"}, {"r", "s"}),
        ("registry", {"learner_id": "L9", "registered_at": at(-9)}, {"t"}),
        ("registry", {"learner_id": "nobody"}, set()),
        ("certificates", {"learner_id": "L9", "occupation": "cook", "skill_level": 3, "issued_at": at(0)}, {"t"}),
        ("lessons", {"platform_id": "p", "course_id": "d", "lesson_id": "l", "duration_s": 90.0}, {"s"}),
        ("attempts", {**WORLD["attempts"][0], "attempt_id": "x2", "account_id": "a"}, {"r", "s"}),
        ("corrections", {**WORLD["corrections"][0], "key": "t"}, {"t"}),
    ],
)  # fmt: skip
def test_a_new_or_changed_row_touches_its_records(table: str, row: Row, expected: set[str]) -> None:
    more = {**WORLD, table: [*WORLD[table], {**row, "delivery_id": "d2"}]}
    assert touched(laid(more, LOGS, known=["d1"])) == expected


def test_a_new_log_touches_its_record_and_the_persons_records_of_that_day() -> None:
    assert touched(laid(WORLD, LOGS, known=["d1"], new_segments=[segment("a")])) == {"r", "s"}
    other_day = {"segments": [segment("a"), segment("a", "d", day=3), segment("z")]}
    assert touched(laid(WORLD, other_day, known=["d1"], new_segments=[segment("a")])) == {"r"}
    check = {"platform_id": "p", "account_id": "z", "course_id": "c", "checked_at": at(0), "kind": "prompt"}
    assert touched(laid(WORLD, LOGS, known=["d1"], new_checks=[check])) == {"t"}


def test_a_reopened_day_is_news_only_for_the_accounts_in_the_files_that_came(tmp_path: Path) -> None:
    late = tmp_path / "late.parquet"
    pq.write_table(pa.table({"platform_id": ["p"], "account_id": ["z"], "verb": ["pause"]}), late)
    whole_day = LOGS["segments"]
    assert touched(laid(WORLD, LOGS, known=["d1"], new_segments=whole_day)) == {"r", "s", "t"}
    assert touched(laid(WORLD, LOGS, known=["d1"], new_segments=whole_day, new_logs=[late])) == {"t"}
    assert touched(laid(WORLD, LOGS, known=["d1"], new_segments=whole_day, new_logs=[])) == set()


# ---------------------------------------------------------------------------------------------------------- published


def test_what_is_published_is_masked_and_of_flagged_records_only() -> None:
    named = {
        **WORLD,
        "roster": [enrolled("a", "L1", name="欧阳小红", id_masked="340827********0615"), enrolled("z", "L9", name=" ")],
    }
    con = laid(named, LOGS)
    con.execute(create_sql(CONDENSED["checks"], name="nothing"))
    con.execute("CREATE TABLE findings AS SELECT 'p' AS platform_id, unnest(['r', NULL]) AS record_id")
    scope.publish_tables(con)
    assert rows(con, "record_id, name_masked, id_masked FROM people") == [
        ("r", "欧***", "340827********0615"), ("s", "欧***", "340827********0615"), ("t", None, None),
    ]  # fmt: skip
    assert rows(con, "record_id, own_record_id FROM timeline") == [("r", "r"), ("r", "s")], (
        "all that the account did, no one else"
    )


@pytest.mark.parametrize(("late_s", "pages", "is_disordered"), [(301, 20, True), (301, 19, False), (299, 20, False)])
def test_pages_used_long_before_they_were_opened_tell_of_clocks_not_of_people(
    tmp_path: Path, late_s: int, pages: int, is_disordered: bool
) -> None:
    def event(page: int, verb: str, after_s: float) -> Row:
        return {
            "platform_id": "p", "account_id": f"a{page}", "page_id": f"g{page}", "session_id": None, "lesson_id": "l",
            "ts": at(0) + timedelta(seconds=after_s), "verb": verb,
        }  # fmt: skip

    file = tmp_path / "events.parquet"
    logged = [event(n, v, s) for n in range(pages) for v, s in (("heartbeat", 0), ("page_open", late_s))]
    texts = ("platform_id", "account_id", "page_id", "session_id", "lesson_id", "verb")
    schema = pa.schema([("ts", pa.timestamp("us", tz="UTC")), *((n, pa.string()) for n in texts)])
    pq.write_table(pa.Table.from_pylist(logged, schema=schema), file)
    con = laid({}, {"capabilities": [{"platform_id": "p", "terminal": "pc", "column": "visible", "n": 1}]})
    con.execute("DROP TABLE temp.lessons")  # which would stand before the lake's
    scope.check_clock_order(con, [file], len(logged))
    scope.lay_tables(con, timezone="Asia/Shanghai")
    known = rows(con, '"column" FROM capabilities')
    assert (("clock_order",) not in known) == is_disordered
    assert ("visible",) in known
