"""A day of heartbeats at a province's scale, made by DuckDB in one pass: for measurements of time and memory.

Simpler people than those of :mod:`.world` (everybody learns the same eight lessons in a row), but the same tables,
the same columns, and a few hundred learners whose records the log contradicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import polars as pl

from learnguard.errors import LearnGuardError
from learnguard.simulate.population import id_numbers
from learnguard.simulate.schedule import TIMEZONE
from learnguard.simulate.writing import Delivery, write_delivery

CADENCE_S: Final = 30
LESSONS, ROWS = 8, 60  # lessons of the day, log rows of a lesson
LESSON_S: Final = (ROWS - 2) * CADENCE_S
#: One account in so many is given a behaviour, in turn one of KINDS.
ONE_IN: Final = 60
KINDS: Final = (
    "concurrent_sessions",
    "hidden",
    "many_pages",
    "course_skipping",
    "idle_playback",
    "unregistered_trainee",
)
PLATFORMS: Final = ("muke", "zhangxue", "peixun")
#: Rows of one account after the beats that are lost on the way.
_KEPT: Final = 474

# One row per account and lesson: when it begins, on which device and page, and what is odd about it.
_PLAYS: Final = """
CREATE TABLE plays AS
WITH accounts AS (
  SELECT range AS a,
         CASE WHEN range % $one_in = 0 THEN $kinds[1 + (range // $one_in) % len($kinds)] END AS kind,
         -- Honest learners begin between six in the morning and seven in the evening.
         6 * 3600 + ((range * 7919 + $seed) % 45000) AS begin_s
  FROM range($accounts)
), numbered AS (
  SELECT a, kind, begin_s, b.range AS b, (a * 104729 + b.range * 7919 + $seed) % 420 + 15 AS gap_s
  FROM accounts CROSS JOIN range($lessons) AS b
)
SELECT a, kind, b,
       begin_s + CASE
         -- The odd lesson of a pair runs beside the even one, on another device.
         WHEN kind = 'concurrent_sessions' THEN (b // 2) * ($lesson_s + 435) + (b % 2) * 60
         WHEN kind = 'many_pages' THEN (b // 4) * ($lesson_s + 435) + (b % 4) * 20
         ELSE b * $lesson_s + sum(gap_s) OVER (PARTITION BY a ORDER BY b) END AS start_s,
       kind = 'concurrent_sessions' AND b % 2 = 1 AS is_second,
       (kind = 'hidden' AND b < 4) OR (kind = 'many_pages' AND b % 4 > 0) AS is_hidden,
       kind = 'course_skipping' AND b % 2 = 0 AS is_skipped,
       kind = 'idle_playback' AND b >= 2 AS is_idle
FROM numbered
"""

_EVENTS: Final = """
COPY (
WITH rows AS (
  SELECT p.*, k.range AS k,
         CASE WHEN k.range = 0 THEN 'play'
              WHEN k.range = $rows - 2 THEN 'pause'
              WHEN k.range = $rows - 1 THEN 'complete'
              WHEN p.is_skipped AND k.range = 2 THEN 'seek'
              WHEN k.range IN (24, 49) AND NOT coalesce(p.is_hidden, false) THEN 'prompt'
              WHEN k.range IN (25, 50) AND NOT coalesce(p.is_hidden, false) THEN 'prompt_answer'
              WHEN k.range % 13 = 7 AND NOT coalesce(p.is_idle OR p.is_hidden, false) THEN 'interaction'
              ELSE 'heartbeat' END AS verb
  FROM plays AS p CROSS JOIN range($rows) AS k
  WHERE p.a % 3 = $place
    AND (NOT coalesce(p.is_skipped, false) OR k.range <= 2 OR k.range >= $rows - 2)
), late AS (
  -- An answer comes some seconds after its check, a check that is not answered times out after a minute.
  SELECT *,
         CASE WHEN verb <> 'prompt_answer' THEN 0 WHEN is_idle THEN 29.9 ELSE -24 + (a + b) % 17 END AS late_s
  FROM rows
  WHERE verb <> 'heartbeat' OR (a * 7 + b * 13 + k * 31) % 83 <> 0
), timed AS (
  SELECT *,
         -- Media position at the row; what is skipped is not waited for.
         least(k, $rows - 2) * $cadence_s + late_s AS position,
         start_s + CASE WHEN is_skipped AND k > 2 THEN 3 * $cadence_s ELSE least(k, $rows - 2) * $cadence_s END
           + late_s + CASE WHEN verb = 'complete' THEN 0.4 ELSE 0 END
           + ((a * 31 + b * 17 + k * 7) % 900) / 10000.0 AS at_s
  FROM late
)
SELECT $platform_id AS platform_id,
       md5((a * 1000 + b * 100 + k)::VARCHAR || $seed::VARCHAR) AS event_id,
       $midnight::TIMESTAMPTZ + to_milliseconds((at_s * 1000)::BIGINT) AS ts,
       $midnight::TIMESTAMPTZ + to_milliseconds((at_s * 1000)::BIGINT + 20 + (a + k) % 300) AS received_at,
       'acc' || a AS account_id,
       verb,
       's' || a || '-' || coalesce(is_second, false)::INT AS session_id,
       'dev' || a || CASE WHEN is_second THEN 'b' ELSE 'a' END AS device_id,
       'pg' || a || '-' || b AS page_id,
       '198.18.' || (a % 250) || '.' || (a // 250 % 250) AS ip,
       'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/12' || (a % 9) || '.0 Safari/537.36'
         AS user_agent,
       CASE WHEN is_second THEN 'mobile' ELSE 'pc' END AS terminal,
       $platform_id || '-c' || (a // 3 % 40) AS course_id,
       $platform_id || '-c' || (a // 3 % 40) || '-l' || b AS lesson_id,
       position::DOUBLE AS position_s,
       CASE WHEN verb = 'seek' THEN (($rows - 3) * $cadence_s)::DOUBLE END AS to_position_s,
       1.0::DOUBLE AS rate,
       NOT coalesce(is_hidden, false) AS visible,
       CASE WHEN verb = 'prompt_answer' THEN CASE WHEN is_idle THEN 'timeout' ELSE 'pass' END END AS result,
       CASE WHEN verb = 'prompt_answer' AND NOT coalesce(is_idle, false) THEN 6.0 + (a + b) % 17 END AS value
FROM timed
ORDER BY received_at, event_id
) TO $path (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 245760)
"""

# What was injected, as in truth.parquet of a world.
_TRUTH: Final = """
WITH lived AS (
  SELECT *, $midnight::TIMESTAMPTZ + to_milliseconds((start_s * 1000)::BIGINT) AS began,
         $midnight::TIMESTAMPTZ + to_milliseconds(((start_s + $lesson_s) * 1000)::BIGINT) AS ended,
         $platforms[1 + a % 3] AS platform_id
  FROM plays WHERE kind IS NOT NULL
), struck AS (
  -- A pair from the second's beginning to the first's end; four pages from the second's to the last but one's.
  SELECT a, NULL AS b, max(began) AS started_at, min(ended) AS ended_at, NULL::DOUBLE AS lesson_s
  FROM lived WHERE kind = 'concurrent_sessions' GROUP BY a, b // 2
  UNION ALL
  SELECT a, NULL, min(began) + INTERVAL 20 SECOND, max(ended), NULL
  FROM lived WHERE kind = 'many_pages' GROUP BY a, b // 4
  UNION ALL
  SELECT a, b, began, ended, NULL FROM lived WHERE is_hidden AND kind = 'hidden' OR is_idle
  UNION ALL
  SELECT a, b, NULL, NULL, ($rows - 5) * $cadence_s FROM lived WHERE is_skipped
), sums AS (
  SELECT a, min(started_at) AS started_at, max(ended_at) AS ended_at,
         sum(coalesce(lesson_s, epoch(ended_at - started_at))) AS struck_s,
         list({'lesson_id': platform_id || '-c' || (a // 3 % 40) || '-l' || b, 'started_at': started_at,
               'ended_at': ended_at, 'seconds': coalesce(lesson_s, epoch(ended_at - started_at))}
              ORDER BY started_at, b) AS strikes
  FROM struck JOIN (SELECT DISTINCT a, platform_id FROM lived) USING (a) GROUP BY a
)
SELECT platform_id, 'acc' || a AS account_id, 'r' || a AS record_id, platform_id || '-c' || (a // 3 % 40) AS course_id,
       CASE WHEN kind IN ('hidden', 'many_pages') THEN 'background_playback' ELSE kind END AS behaviour,
       kind AS variant,
       CASE kind WHEN 'hidden' THEN 0.5 WHEN 'course_skipping' THEN 0.5 WHEN 'idle_playback' THEN 0.75 ELSE 1.0 END
         AS dose,
       true AS is_observable,
       CASE WHEN kind IN ('concurrent_sessions', 'many_pages', 'course_skipping')
            THEN ['anomalous_completion_time'] ELSE []::VARCHAR[] END AS also,
       started_at, ended_at, coalesce(struck_s, 0.0) AS struck_s, coalesce(strikes, []) AS strikes
FROM (SELECT DISTINCT a, kind, platform_id FROM lived) LEFT JOIN sums USING (a)
ORDER BY platform_id, record_id
"""


@dataclass(frozen=True, slots=True)
class HeartbeatDay:
    """What was written: its deliveries in order of arrival, the number of learners and of events, and the truth."""

    out: Path
    day: date
    deliveries: tuple[Delivery, ...]
    learners: int
    events: int
    truth: pl.DataFrame

    @property
    def truth_path(self) -> Path:
        """The file that holds :attr:`truth`."""
        return self.out / "truth.parquet"


def heartbeat_day(
    out: Path,
    *,
    events: int = 10_000_000,
    seed: int = 20260301,
    day: date = date(2026, 3, 2),
    threads: int = 2,
    memory_limit: str = "2GB",
) -> HeartbeatDay:
    """Writes one local day of at least ``events`` events of three platforms into ``out``, claims and registry included.

    One Parquet file of events per platform, in order of arrival; about one learner per 474 events. ``threads`` and
    ``memory_limit`` go to DuckDB, which spills into ``out``. Raises LearnGuardError when ``out`` holds a world already
    or more than 45 million events (100,000 learners) are asked for.
    """
    accounts = -(-events // _KEPT)
    if not 1 <= accounts <= 95_000:
        raise LearnGuardError(f"events must lie between 1 and {95_000 * _KEPT}, got {events}", hint="Choose fewer.")
    if (out / "deliveries").exists():
        raise LearnGuardError(f"{out} already holds a world", hint="Choose an empty folder.")
    out.mkdir(parents=True, exist_ok=True)
    midnight = datetime.combine(day, time(), ZoneInfo(TIMEZONE))
    spill = out / ".spill"
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": memory_limit,
        "temp_directory": str(spill),
    }
    shape = {"rows": ROWS, "cadence_s": CADENCE_S, "midnight": midnight}
    with duckdb.connect(config=config) as con:
        con.execute("SET TimeZone='UTC'")
        con.execute(
            _PLAYS,
            {
                "one_in": ONE_IN,
                "kinds": list(KINDS),
                "seed": seed,
                "accounts": accounts,
                "lessons": LESSONS,
                "lesson_s": LESSON_S,
            },
        )
        truth = con.sql(_TRUTH, params={**shape, "lesson_s": LESSON_S, "platforms": list(PLATFORMS)}).pl()
        tables = _tables(accounts, midnight)
        written: list[Delivery] = [write_delivery(out / "deliveries", "authority", day, tables.pop("authority"))]
        count = 0
        for place, platform_id in enumerate(PLATFORMS):
            delivery = write_delivery(out / "deliveries", platform_id, day, tables[platform_id])
            path = delivery.path / "events.parquet"
            given = {**shape, "place": place, "platform_id": platform_id, "seed": seed, "path": str(path)}
            count += int(con.execute(_EVENTS, given).fetchall()[0][0])
            written.append(delivery)
    truth.write_parquet(out / "truth.parquet")
    if spill.exists():
        spill.rmdir()
    return HeartbeatDay(out, day, tuple(written), accounts, count, truth)


Tables = Mapping[str, tuple[pl.DataFrame, str]]


def _tables(accounts: int, midnight: datetime) -> dict[str, Tables]:
    """Lessons, roster and records of each platform, and the authority's registry."""
    number = np.arange(accounts, dtype=np.int64)
    born = np.datetime64("1960-01-01") + (number * 37 % 16_000).astype("timedelta64[D]")
    everybody = pl.DataFrame({"a": number, "id_number": id_numbers(number, born)}).with_columns(
        platform_id=pl.Series(np.array(PLATFORMS)[number % 3]),
        kind=pl.Series(np.where(number % ONE_IN == 0, np.array(KINDS)[number // ONE_IN % len(KINDS)], "")),
    )
    course = pl.format("{}-c{}", "platform_id", pl.col("a") // 3 % 40)
    everybody = everybody.with_columns(course_id=course, account_id=pl.format("acc{}", "a"))
    registry = everybody.filter(pl.col("kind") != "unregistered_trainee").select(
        "id_number", registered_at=pl.lit(midnight - timedelta(days=400)), category=pl.lit("urban_rural_worker")
    )
    hours = LESSONS * LESSON_S * 100 // 2700 / 100
    made: dict[str, Tables] = {"authority": {"registry": (registry, "csv")}}
    for p in PLATFORMS:
        mine = everybody.filter(pl.col("platform_id") == p)
        roster = mine.select(
            "platform_id", "account_id", "id_number", name=pl.format("虚构学员{}", "a"),
            institution_id=pl.format("inst{}", pl.col("a") % 40), class_id=pl.format("class{}", pl.col("a") // 90),
        )  # fmt: skip
        records = mine.select(
            "platform_id", "account_id", "course_id", record_id=pl.format("r{}", "a"),
            institution_id=pl.format("inst{}", pl.col("a") % 40), class_id=pl.format("class{}", pl.col("a") // 90),
            occupation=pl.format("职业{}（虚构）", pl.col("a") // 3 % 40), skill_level=pl.lit(5),
            claimed_hours=pl.lit(hours), started_at=pl.lit(midnight + timedelta(hours=6)),
            completed_at=pl.lit(midnight + timedelta(hours=23, minutes=50)),
            claimed_at=pl.lit(midnight + timedelta(hours=23, minutes=55)),
            subsidy_type=pl.lit("skill_training"), subsidy_cny=pl.lit(f"{hours * 20:.2f}"),
        )  # fmt: skip
        courses = mine.select("platform_id", "course_id").unique().sort("course_id")
        lessons = courses.join(pl.DataFrame({"seq": list(range(LESSONS))}), how="cross").with_columns(
            lesson_id=pl.format("{}-l{}", "course_id", "seq"), kind=pl.lit("video"), duration_s=pl.lit(LESSON_S),
            max_rate=pl.lit(2.0), title=pl.format("第{}讲", pl.col("seq") + 1),
        )  # fmt: skip
        made[p] = {"lessons": (lessons, "csv"), "roster": (roster, "csv"), "records": (records, "csv")}
    return made
