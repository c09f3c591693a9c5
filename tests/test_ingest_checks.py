"""The contract's rules on values, identity numbers, and clocks of offline uploads."""

from __future__ import annotations

import hashlib
import hmac
import logging
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from learnguard import sources, store
from learnguard.errors import DeliveryError
from learnguard.store import identity

KEY = bytes(range(32))
EVENT = {"platform_id": "p", "ts": "2026-03-01T09:00:00", "account_id": "a", "verb": "play"}
RECORD = {
    "platform_id": "p",
    "record_id": "r",
    "account_id": "a",
    "course_id": "c",
    "claimed_hours": "8",
    "completed_at": "2026-03-01",
}
LESSON = {"platform_id": "p", "course_id": "c", "lesson_id": "l"}
ATTEMPT = {
    "platform_id": "p",
    "attempt_id": "t",
    "exam_id": "x",
    "account_id": "a",
    "started_at": "2026-03-01 09:00",
    "submitted_at": "2026-03-01 10:00",
}


@dataclass
class Store:
    root: Path
    folder: Path
    con: duckdb.DuckDBPyConnection
    seen: int = -1

    def ingest(self, *, timezone: str = "Asia/Shanghai") -> store.Outcome:
        lake = store.Lake.create(self.root)
        with store.workspace(lake, memory_limit="1GB", threads=2) as room:
            delivery = sources.open_delivery(self.folder, workdir=room.path)
            reading = sources.find_source("contract").extracts(delivery, con=room.con, workdir=room.path)
            return store.write_delivery(
                room, files=delivery.files, extracts=reading.extracts, source="contract", timezone=timezone, key=KEY
            )

    def csv(self, table: str, *rows: dict[str, str]) -> None:
        names = list(dict.fromkeys(n for r in rows for n in r))
        lines = [",".join(names), *(",".join(r.get(n, "") for n in names) for r in rows)]
        (self.folder / f"{table}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def rows(self, sql: str) -> list[Any]:
        lake = store.Lake.open(self.root)
        if len(lake.deliveries()) != self.seen:
            lake.register(self.con)
            self.seen = len(lake.deliveries())
        return self.con.execute(sql).fetchall()


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "delivery").mkdir()
    with duckdb.connect() as con:
        yield Store(tmp_path / "store", tmp_path / "delivery", con)


BAD = [
    ("events", EVENT, {"account_id": ""}, "account_id", "missing"),
    ("events", EVENT, {"account_id": "  "}, "account_id", "missing"),
    ("events", EVENT, {"platform_id": ""}, "platform_id", "missing"),
    ("events", EVENT, {"ts": "yesterday"}, "ts", "not an ISO 8601 time"),
    ("events", EVENT, {"ts": "1772328600"}, "ts", "not an ISO 8601 time"),
    ("events", EVENT, {"ts": "2026-02-30T09:00:00"}, "ts", "not an ISO 8601 time"),
    ("events", EVENT, {"ts": "infinity"}, "ts", "a time outside the years 1990 to 2100"),
    ("events", EVENT, {"ts": "epoch"}, "ts", "a time outside the years 1990 to 2100"),
    ("events", EVENT, {"ts": "2206-03-01T09:00:00"}, "ts", "a time outside the years 1990 to 2100"),
    ("events", EVENT, {"client_ts": "soon"}, "client_ts", "not an ISO 8601 time"),
    ("events", EVENT, {"position_s": "-1"}, "position_s", "below the lowest value allowed"),
    ("events", EVENT, {"position_s": "NaN"}, "position_s", "not a number"),
    ("events", EVENT, {"position_s": "inf"}, "position_s", "not a number"),
    ("events", EVENT, {"position_s": "12s"}, "position_s", "not a number"),
    ("events", EVENT, {"rate": "101"}, "rate", "above the highest value allowed"),
    ("events", EVENT, {"visible": "maybe"}, "visible", "neither true nor false"),
    ("lessons", LESSON, {"kind": "film"}, "kind", "not one of the values allowed"),
    ("lessons", LESSON, {"seq": "1.5"}, "seq", "not a whole number"),
    ("lessons", LESSON, {"seq": "99999999999999999999"}, "seq", "not a whole number"),
    ("records", RECORD, {"subsidy_cny": "12.345"}, "subsidy_cny", "not an amount in yuan with at most two decimals"),
    ("records", RECORD, {"subsidy_cny": "free"}, "subsidy_cny", "not an amount in yuan with at most two decimals"),
    ("records", RECORD, {"subsidy_cny": "-1"}, "subsidy_cny", "below the lowest value allowed"),
    ("records", RECORD, {"skill_level": "6"}, "skill_level", "above the highest value allowed"),
    ("records", RECORD, {"claimed_hours": ""}, "claimed_hours", "missing"),
    ("records", RECORD, {"started_at": "2026-03-02"}, "completed_at", "ends before it begins"),
    ("attempts", ATTEMPT, {"submitted_at": "2026-03-01 08:59"}, "submitted_at", "ends before it begins"),
    ("attempts", ATTEMPT, {"face_score": "1.01"}, "face_score", "above the highest value allowed"),
    (
        "roster",
        {"platform_id": "p", "account_id": "a"},
        {"learner_id": ""},
        "learner_id",
        "neither learner_id nor id_number is given",
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda c: f"{c[0]}-{c[3]}-{c[4][:12]}")
def test_a_bad_value_puts_the_row_aside(
    lake: Store, case: tuple[str, dict[str, str], dict[str, str], str, str]
) -> None:
    table, base, change, column, reason = case
    good = {**base, "learner_id": "L"} if table == "roster" else base
    lake.csv(table, good, {**base, **change})
    outcome = lake.ingest()
    assert (outcome.rows, outcome.good, outcome.bad) == (2, 1, 1)
    assert outcome.reasons == {(f"{table}.csv", column, reason): 1}
    value = change[column].strip() if column in change and change[column].strip() else None
    found = lake.rows("SELECT file, row, \"column\", reason, nullif(trim(value), '') FROM quarantine")
    assert [f[:4] for f in found] == [(f"{table}.csv", 3, column, reason)]
    if value:
        assert found[0][4] == value
    assert lake.rows(f"SELECT count(*) FROM {table}") == [(1,)]


def test_the_same_rules_hold_for_typed_parquet(lake: Store) -> None:
    at = datetime(2026, 3, 1, 1, tzinfo=UTC)
    n = 8
    data = {
        "platform_id": ["p", "", None, "p", "p", "p", "p", "p"],
        "ts": pa.array([at, at, at, None, at, datetime(1970, 1, 1, tzinfo=UTC), at, at], pa.timestamp("ms", tz="UTC")),
        "account_id": pa.array([7] * n, pa.int32()),
        "verb": ["play"] * 4 + [""] + ["play"] * 3,
        "position_s": pa.array([1.0, 1, 1, 1, 1, 1, float("nan"), -0.5], pa.float32()),
        "visible": [True] * n,
    }
    pq.write_table(pa.table(data), lake.folder / "events.parquet")
    outcome = lake.ingest()
    assert (outcome.good, outcome.bad) == (1, 7)
    assert lake.rows('SELECT row, "column", reason FROM quarantine ORDER BY row') == [
        (2, "platform_id", "missing"),
        (3, "platform_id", "missing"),
        (4, "ts", "missing"),
        (5, "verb", "missing"),
        (6, "ts", "a time outside the years 1990 to 2100"),
        (7, "position_s", "not a number"),
        (8, "position_s", "below the lowest value allowed"),
    ]
    assert lake.rows("SELECT account_id, position_s FROM events") == [("7", 1.0)]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-01T09:00:00", "01:00:00"),
        ("2026-03-01 09:00", "01:00:00"),
        ("2026/03/01 09:00:05", "01:00:05"),
        ("2026-03-01T09:00:00Z", "09:00:00"),
        ("2026-03-01T09:00:00.25+0800", "01:00:00.25"),
        ("2026-03-01T09:00:00 +08:00", "01:00:00"),
        ("20260301T090000Z", "09:00:00"),
        ("20260301T090000.5+08", "01:00:00.5"),
        ("20260301T0900", "01:00:00"),
        ("2026-03-01T09:00+08", "01:00:00"),
        ("2026-03-01T09:00Z", "09:00:00"),
        ("2026-03-01T09:00:00-05:30", "14:30:00"),
    ],
)
def test_times(lake: Store, text: str, utc: str) -> None:
    lake.csv("events", {**EVENT, "ts": text})
    assert lake.ingest().bad == 0
    assert lake.rows("SELECT CAST(ts AS VARCHAR) FROM events") == [(f"2026-03-01 {utc}+00",)]


def test_a_day_is_the_delivery_zones_day_also_where_clocks_change(lake: Store) -> None:
    times = ["2026-03-28T23:59:59", "2026-03-29T00:00:00", "2026-03-29T23:59:59", "2026-03-30T00:00:00"]
    lake.csv("events", *({**EVENT, "ts": t} for t in times))
    lake.ingest(timezone="Europe/Berlin")
    parts = store.Lake.open(lake.root).parts("events")
    assert [(str(p.date), p.rows) for p in parts] == [("2026-03-28", 1), ("2026-03-29", 2), ("2026-03-30", 1)]
    assert parts[1].last_at == datetime(2026, 3, 29, 21, 59, 59, tzinfo=UTC)


def test_words_for_true_and_kinds_are_taken_as_people_write_them(lake: Store) -> None:
    lake.csv("events", *({**EVENT, "visible": v} for v in ("TRUE", "0", "是", "否", "")))
    lake.csv("lessons", {**LESSON, "kind": " Video "}, {**LESSON, "lesson_id": "m", "kind": ""})
    assert lake.ingest().bad == 0
    assert sorted(lake.rows("SELECT visible FROM events"), key=str) == [(False,), (False,), (None,), (True,), (True,)]
    assert lake.rows("SELECT kind FROM lessons ORDER BY lesson_id") == [("video",), (None,)]


def test_a_delivery_of_bad_rows_only_is_kept_as_such(lake: Store) -> None:
    lake.csv("events", {**EVENT, "ts": "x"})
    lake.csv("lessons", {**LESSON, "seq": "x"})
    outcome = lake.ingest()
    assert (outcome.is_new, outcome.good, outcome.bad) == (True, 0, 2)
    assert lake.rows("SELECT count(*) FROM quarantine") == [(2,)]
    assert lake.rows("SELECT count(*) FROM events") == [(0,)]


# ------------------------------------------------------------------------------------------------------ identity


def number(first17: str) -> str:
    return first17 + identity.check_character(first17)


def pseudonym(text: str) -> str:
    return "L" + hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()[:32]


def test_numbers_become_pseudonyms_and_nothing_else_remains(lake: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    plain, with_x = number("34082719900101061"), number("11010519491231002")
    wrong = plain[:-1] + ("0" if plain[-1] != "0" else "1")
    unborn = number("34082719901331061")
    lake.csv(
        "roster",
        {
            "platform_id": "p",
            "account_id": "a1",
            "id_number": plain,
            "learner_id": "theirs",
            "name": "张三",
            "phone": "13800001111",
        },
        {"platform_id": "p", "account_id": "a2", "id_number": with_x.lower()},
        {"platform_id": "p", "account_id": "a3", "id_number": f" {plain[:6]} {plain[6:]} "},
        {"platform_id": "p", "account_id": "a4", "id_number": wrong, "name": "李四", "phone": "13900002222"},
        {"platform_id": "p", "account_id": "a5", "id_number": plain[:17]},
        {"platform_id": "p", "account_id": "a6", "id_number": unborn},
        {"platform_id": "p", "account_id": "a7", "learner_id": "kept"},
        {"platform_id": "p", "account_id": "a8", "learner_id": with_x},
    )
    wide = plain.translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    lake.csv("registry", {"id_number": wide, "registered_at": "2025-01-01"})
    # A platform that uses the number as its account name, and rows that are bad for another reason.
    lake.csv(
        "events",
        {**EVENT, "account_id": plain},
        {**EVENT, "account_id": plain, "verb": ""},
        {**EVENT, "ts": plain},
        {**EVENT, "account_id": with_x, "position_s": "x"},
    )
    rest = '"occupation": "o", "skill_level": 3, "issued_at": "2026-01-01"'
    lines = [f'{{"id_number": "{plain}", {rest}}}', f'{{"id_number": "{with_x}"', f'{{"id_number": "{wrong}", {rest}}}']
    (lake.folder / "certificates.jsonl").write_text("\n".join(lines))
    lake.ingest()
    found = lake.rows("SELECT account_id, learner_id, id_masked FROM roster ORDER BY account_id")
    assert found == [
        ("a1", pseudonym(plain), f"340827********{plain[-4:]}"),
        ("a2", pseudonym(with_x), "110105********002X"),
        ("a3", pseudonym(plain), f"340827********{plain[-4:]}"),
        ("a7", "kept", None),
        ("a8", pseudonym(with_x), None),
    ]
    assert lake.rows("SELECT learner_id FROM registry") == [(pseudonym(plain),)]
    assert lake.rows("SELECT DISTINCT account_id FROM events") == [(pseudonym(plain),)]
    assert lake.rows("SELECT learner_id FROM certificates") == [(pseudonym(plain),)]
    assert lake.rows("SELECT row, reason, value FROM quarantine WHERE \"table\" = 'roster' ORDER BY row") == [
        (5, "the check digit of the number is wrong", f"340827********{wrong[-4:]}"),
        (6, "not an identity number of 18 characters", f"340***{plain[15:17]}"),
        (7, "the date of birth in the number is impossible", f"340827********{unborn[-4:]}"),
    ]
    secrets = [plain, with_x, wrong, unborn, plain[:17], wide, "13900002222", "李四"]
    kept = b"".join(p.read_bytes() for p in lake.root.rglob("*") if p.is_file())
    # Parquet pages are compressed: what is in them is looked at as text too.
    for part in (p for p in lake.root.rglob("*.parquet")):
        kept += str(duckdb.sql("SELECT * FROM read_parquet($f)", params={"f": str(part)}).fetchall()).encode()
    for secret in secrets:
        assert secret.encode() not in kept, secret
        assert secret.lower().encode() not in kept, secret
        assert secret not in caplog.text


def test_no_number_in_an_error(lake: Store) -> None:
    plain = number("34082719900101061")
    names = "platform_id,account_id,id_number"
    (lake.folder / "roster.csv").write_text(f'{names}\np,a,{plain}\np,b,"{plain}\n' + f"p,c,{plain},\x00\n" * 3)
    (lake.folder / "events.parquet").write_bytes(b"PAR1" + plain.encode() + b"PAR1")
    with pytest.raises(DeliveryError) as caught:
        lake.ingest()
    text = "".join(traceback.format_exception(caught.value))
    chain: BaseException | None = caught.value
    while chain is not None:
        assert plain not in str(chain)
        chain = chain.__cause__ or chain.__context__
    assert plain not in text
    assert not any(plain.encode() in p.read_bytes() for p in lake.root.rglob("*") if p.is_file())


# -------------------------------------------------------------------------------------------------- offline uploads

T0 = datetime(2026, 3, 1, 1, 0, tzinfo=UTC)


def clock_rows(device: str, pairs: list[tuple[float, float]]) -> list[dict[str, str]]:
    """Rows of (server minute, client minute) since T0."""

    def iso(minutes: float) -> str:
        return (T0 + timedelta(minutes=minutes)).isoformat()

    return [{**EVENT, "device_id": device, "ts": iso(s), "client_ts": iso(c)} for s, c in pairs]


def minutes_of(lake: Store, device: str) -> list[tuple[float, float | None]]:
    sql = (
        "SELECT (epoch(ts) - $t) / 60, (epoch(logged_ts) - $t) / 60 FROM events WHERE device_id = $d ORDER BY client_ts"
    )
    store.Lake.open(lake.root).register(lake.con)
    found = lake.con.execute(sql, {"t": T0.timestamp(), "d": device}).fetchall()
    return [(round(a, 3), None if b is None else round(b, 3)) for a, b in found]


LIVE = [(float(m), float(m)) for m in range(30)]


def test_a_batch_among_live_rows_goes_back_to_its_time(lake: Store) -> None:
    late = [(600.0, 100.0 + m) for m in range(20)]
    lake.csv("events", *clock_rows("d", LIVE + late))
    assert lake.ingest().late_uploads == 20
    assert minutes_of(lake, "d") == [(s, None) for s, _ in LIVE] + [(100.0 + m, 600.0) for m in range(20)]


def test_a_batch_alone_goes_back_to_the_clients_time_and_day(lake: Store) -> None:
    late = [(2000.0, float(m)) for m in range(40)]
    lake.csv("events", *clock_rows("d", late))
    assert lake.ingest().late_uploads == 40
    assert minutes_of(lake, "d") == [(float(m), 2000.0) for m in range(40)]
    assert [str(p.date) for p in store.Lake.open(lake.root).parts("events")] == ["2026-03-01"]


def test_several_batches_with_other_delays_are_no_skew(lake: Store) -> None:
    late = [(500.0, float(m)) for m in range(40)] + [(1500.0, 700.0 + m) for m in range(40)]
    lake.csv("events", *clock_rows("d", late))
    lake.ingest()
    assert [a for a, _ in minutes_of(lake, "d")] == [float(m) for m in range(40)] + [700.0 + m for m in range(40)]


@pytest.mark.parametrize("skew", [-180.0, -4.0, 4.0, 90.0, 60 * 24 * 400.0])
def test_a_skewed_clock_alone_moves_nothing(lake: Store, skew: float) -> None:
    lake.csv("events", *clock_rows("d", [(m, m - skew) for m, _ in LIVE]))
    assert lake.ingest().late_uploads == 0
    assert minutes_of(lake, "d") == [(s, None) for s, _ in LIVE]


def test_a_late_row_of_a_skewed_device_is_put_right_by_its_offset(lake: Store) -> None:
    skew = 90.0
    late = [(600.0, 100.0 + m - skew) for m in range(20)]
    lake.csv("events", *clock_rows("d", [(m, m - skew) for m, _ in LIVE] + late))
    assert lake.ingest().late_uploads == 20
    assert minutes_of(lake, "d")[-20:] == [(100.0 + m, 600.0) for m in range(20)]


def test_a_small_offset_counts_as_none_and_the_edge_stays(lake: Store) -> None:
    offset = 3.0
    edge = [(100.0, 100.0 - offset - 5.0), (200.0, 200.0 - offset - 5.0 - 1 / 60)]
    lake.csv("events", *clock_rows("d", [(m, m - offset) for m, _ in LIVE] + edge))
    assert lake.ingest().late_uploads == 1
    moved = 200.0 - offset - 5.0 - 1 / 60
    assert minutes_of(lake, "d")[-2:] == [(100.0, None), (round(moved, 3), 200.0)]


def test_a_clock_that_was_reset_moves_nothing(lake: Store) -> None:
    reset = [(50.0 + m, m - 60 * 24 * 365 * 10.0) for m in range(3)]
    lake.csv("events", *clock_rows("d", LIVE + reset))
    assert lake.ingest().late_uploads == 0


def test_devices_are_judged_apart_and_over_all_files(lake: Store) -> None:
    skew = 90.0
    lake.csv("events-1", *clock_rows("d", [(m, m - skew) for m, _ in LIVE]), *clock_rows("e", LIVE))
    lake.csv("events-2", *clock_rows("d", [(600.0, 100.0 + m - skew) for m in range(20)]), {**EVENT, "device_id": "f"})
    outcome = lake.ingest()
    assert (outcome.good, outcome.late_uploads) == (81, 20)
    assert minutes_of(lake, "d")[-20:] == [(100.0 + m, 600.0) for m in range(20)]
    assert minutes_of(lake, "e") == [(s, None) for s, _ in LIVE]


def test_late_rows_in_parquet_too(lake: Store) -> None:
    pairs = LIVE + [(600.0, 100.0 + m) for m in range(20)]
    stamp = pa.timestamp("us", tz="UTC")
    data = {
        "platform_id": ["p"] * len(pairs),
        "ts": pa.array([T0 + timedelta(minutes=s) for s, _ in pairs], stamp),
        "client_ts": pa.array([T0 + timedelta(minutes=c) for _, c in pairs], stamp),
        "account_id": ["a"] * len(pairs),
        "verb": ["heartbeat"] * len(pairs),
        "device_id": ["d"] * len(pairs),
    }
    pq.write_table(pa.table(data), lake.folder / "events.parquet")
    assert lake.ingest().late_uploads == 20
    assert minutes_of(lake, "d")[-1] == (119.0, 600.0)
