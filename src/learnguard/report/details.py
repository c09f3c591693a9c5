"""The grounds of flags: findings in full, what was struck when, and the learning around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import duckdb

from learnguard.report.model import Check, Detail, Finding, Mark, Stretch, Strike
from learnguard.report.rows import fetch, json_object
from learnguard.report.words import Lang

#: Days with most time struck that are drawn, and days in all with their neighbours.
FOCUS_DAYS: Final = 5
DRAWN_DAYS: Final = 9
#: Rows of struck stretches that are written out per record.
STRIKE_ROWS: Final = 30

_KEYS = """
WITH keys AS (SELECT unnest($platforms::VARCHAR[]) AS platform_id, unnest($records::VARCHAR[]) AS record_id),
"""

_FINDINGS = """
WITH keys AS (SELECT unnest($platforms::VARCHAR[]) AS platform_id, unnest($records::VARCHAR[]) AS record_id)
SELECT f.platform_id, f.record_id, f.finding_id AS id, f.detector, f.detector_version AS version,
       coalesce(f.strength, '') AS strength, coalesce(f.severity, '') AS severity, coalesce(f.status, '') AS status,
       f.p_value, f.struck_s, f.facts,
       coalesce(CASE $lang WHEN 'zh' THEN f.explanation_zh ELSE f.explanation_en END, '') AS explanation,
       coalesce(f.clause, '') AS clause, coalesce(f.institution_id, '') AS institution_id
FROM findings AS f JOIN keys USING (platform_id, record_id) JOIN decisions AS d USING (platform_id, record_id)
ORDER BY f.platform_id, f.record_id,
         coalesce(nullif(list_position(CAST(d.reasons AS JSON)::VARCHAR[], f.detector), 0), 1000),
         (f.strength = 'proof') DESC, f.score DESC NULLS LAST, f.finding_id
"""

_LESSONS = """
lessons AS (
  SELECT platform_id, lesson_id, min(lesson_title) AS title FROM timeline
  WHERE lesson_id IS NOT NULL GROUP BY ALL
),
"""

# Strikes of the wanted records, cut at local midnight. Strikes without times stay whole, without a day.
_STRUCK = """
struck AS (
  SELECT s.platform_id, s.record_id, s.detector, s.lesson_id,
         s.started_at AT TIME ZONE $zone AS a, s.ended_at AT TIME ZONE $zone AS b, s.seconds
  FROM strikes AS s JOIN keys USING (platform_id, record_id)
),
struck_days AS (
  SELECT *, unnest(generate_series(date_trunc('day', a), date_trunc('day', b), INTERVAL 1 DAY)) AS day
  FROM struck WHERE a < b
),
struck_pieces AS (
  SELECT platform_id, record_id, detector, lesson_id, day, greatest(a, day) AS a, least(b, day + INTERVAL 1 DAY) AS b
  FROM struck_days WHERE greatest(a, day) < least(b, day + INTERVAL 1 DAY)
),
"""

# The learner's learning at that platform, other records included; one row per stretch, cut at local midnight.
# A row of timeline stands under the record it is shown for and names the record it was learned for.
_SEGMENTS = """
family AS (
  SELECT platform_id, record_id, record_id AS other_id FROM keys
  UNION
  SELECT k.platform_id, k.record_id, o.record_id
  FROM keys AS k JOIN decisions AS d USING (platform_id, record_id)
  JOIN decisions AS o ON o.platform_id = d.platform_id AND o.learner_id = d.learner_id
),
segment AS (
  SELECT f.platform_id, f.record_id, coalesce(t.account_id, '') AS account_id, coalesce(t.device_id, '') AS device_id,
         coalesce(t.page_id, '') AS page_id, t.lesson_id, coalesce(t.lesson_title, t.lesson_id, '') AS lesson,
         t.started_at AT TIME ZONE $zone AS a, t.ended_at AT TIME ZONE $zone AS b,
         max(t.active_s) AS active_s, bool_or(t.is_hidden) AS is_hidden, max(t.rate) AS rate,
         max(coalesce(t.source, '')) AS source, bool_or(t.own_record_id = f.record_id) AS is_own
  FROM timeline AS t JOIN family AS f ON f.platform_id = t.platform_id AND f.other_id = t.record_id
  GROUP BY ALL
),
segment_days AS (
  SELECT *, unnest(generate_series(date_trunc('day', a), date_trunc('day', b), INTERVAL 1 DAY)) AS day
  FROM segment WHERE a < b
),
piece AS (
  SELECT * EXCLUDE (a, b), greatest(a, day) AS a, least(b, day + INTERVAL 1 DAY) AS b,
         active_s * epoch(least(b, day + INTERVAL 1 DAY) - greatest(a, day)) / epoch(b - a) AS active_part_s
  FROM segment_days WHERE greatest(a, day) < least(b, day + INTERVAL 1 DAY)
),
"""

# Days worth drawing: those with most time struck, else the days the findings name; then learning days next to them.
_DAYS = """
focus AS (
  SELECT platform_id, record_id, day, sum(CAST(epoch(b - a) AS DECIMAL(18,3))) AS weight FROM struck_pieces GROUP BY ALL
  UNION ALL
  SELECT platform_id, record_id, unnest([date_trunc('day', f.started_at AT TIME ZONE $zone),
                                         date_trunc('day', f.ended_at AT TIME ZONE $zone)]) AS day, 0 AS weight
  FROM findings AS f JOIN keys USING (platform_id, record_id)
  WHERE f.started_at IS NOT NULL AND (f.struck_s > 0 OR f.strength = 'statistical')
),
ranked AS (
  SELECT platform_id, record_id, day, max(weight) AS weight,
         row_number() OVER (PARTITION BY platform_id, record_id ORDER BY max(weight) DESC, day) AS nth
  FROM focus GROUP BY platform_id, record_id, day
),
chosen AS (SELECT * FROM ranked WHERE nth <= $focus_days AND (weight > 0 OR nth <= 2)),
near AS (
  SELECT c.platform_id, c.record_id, c.day + INTERVAL 1 DAY * step AS day, min(nth + abs(step) * 100) AS nth
  FROM chosen AS c, (SELECT unnest([-1, 0, 1]) AS step)
  GROUP BY c.platform_id, c.record_id, c.day + INTERVAL 1 DAY * step
),
active_days AS (SELECT DISTINCT platform_id, record_id, day FROM piece),
drawn AS (
  SELECT platform_id, record_id, day FROM near JOIN active_days USING (platform_id, record_id, day)
  QUALIFY row_number() OVER (PARTITION BY platform_id, record_id ORDER BY nth, day) <= $drawn_days
),
"""

_STRETCHES = """
merged AS (
  SELECT *, sum(is_new) OVER (PARTITION BY platform_id, record_id, account_id, device_id, page_id, day, lesson,
                              is_hidden, rate, source, is_own ORDER BY a, b ROWS UNBOUNDED PRECEDING) AS run
  FROM (SELECT *, CASE WHEN a <= max(b) OVER (PARTITION BY platform_id, record_id, account_id, device_id, page_id, day,
                       lesson, is_hidden, rate, source, is_own ORDER BY a, b
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) + INTERVAL 60 SECOND
                       THEN 0 ELSE 1 END AS is_new
        FROM piece JOIN drawn USING (platform_id, record_id, day))
)
SELECT platform_id, record_id, strftime(merged.day, '%Y-%m-%d') AS day, account_id, device_id, page_id, lesson,
       epoch(min(a) - merged.day) AS start_s, epoch(max(b) - merged.day) AS end_s, sum(active_part_s) AS active_s,
       is_hidden, rate, source, is_own
FROM merged GROUP BY platform_id, record_id, merged.day, account_id, device_id, page_id, lesson, is_hidden, rate,
                     source, is_own, run
ORDER BY platform_id, record_id, merged.day, start_s, account_id, device_id, page_id, lesson, is_hidden, is_own
"""

_MARKS = """
hit AS (
  SELECT p.platform_id, p.record_id, p.day, p.account_id, p.device_id, p.page_id, s.detector,
         greatest(p.a, s.a) AS a, least(p.b, s.b) AS b
  FROM piece AS p JOIN drawn USING (platform_id, record_id, day)
  JOIN struck_pieces AS s ON s.platform_id = p.platform_id AND s.record_id = p.record_id AND s.day = p.day
       AND s.a < p.b AND p.a < s.b AND p.is_own AND (s.lesson_id IS NULL OR s.lesson_id = p.lesson_id)
)
SELECT DISTINCT platform_id, record_id, strftime(hit.day, '%Y-%m-%d') AS day, account_id, device_id, page_id,
       epoch(a - hit.day) AS start_s, epoch(b - hit.day) AS end_s, detector
FROM hit ORDER BY platform_id, record_id, day, start_s, end_s, detector, account_id, device_id, page_id
"""

_CHECKS = """
met AS (
  SELECT c.platform_id, c.record_id, c.checked_at AT TIME ZONE $zone AS at, c.kind, c.result
  FROM timeline_checks AS c JOIN keys USING (platform_id, record_id)
)
SELECT m.platform_id, m.record_id, strftime(d.day, '%Y-%m-%d') AS day, epoch(m.at - d.day) AS at_s,
       coalesce(m.kind, '') AS kind, coalesce(m.result, '') AS result
FROM met AS m JOIN drawn AS d
  ON d.platform_id = m.platform_id AND d.record_id = m.record_id AND d.day = date_trunc('day', m.at)
ORDER BY m.platform_id, m.record_id, m.at, m.kind, m.result
"""

_STRIKES = """
numbered AS (
  SELECT *, row_number() OVER (PARTITION BY platform_id, record_id
                               ORDER BY a NULLS LAST, b, detector, lesson_id) AS nth,
         count(*) OVER (PARTITION BY platform_id, record_id) AS total,
         count(DISTINCT date_trunc('day', a)) OVER (PARTITION BY platform_id, record_id) AS days
  FROM struck
)
SELECT n.platform_id, n.record_id, n.detector, coalesce(l.title, n.lesson_id, '') AS lesson,
       coalesce(strftime(n.a, '%Y-%m-%d'), '') AS day, coalesce(strftime(n.a, '%H:%M:%S'), '') AS start,
       coalesce(CASE WHEN n.b::DATE = n.a::DATE THEN strftime(n.b, '%H:%M:%S')
                     ELSE strftime(n.b, '%m-%d %H:%M:%S') END, '') AS "end",
       coalesce(epoch(n.b - n.a), n.seconds, 0) AS seconds,
       n.total, n.days
FROM numbered AS n LEFT JOIN lessons AS l ON l.platform_id = n.platform_id AND l.lesson_id = n.lesson_id
WHERE n.nth <= $strike_rows ORDER BY n.platform_id, n.record_id, n.nth
"""

_TIMELINE = _KEYS + _STRUCK + _SEGMENTS + _DAYS

Key = tuple[str, str]


def finding(row: Mapping[str, Any]) -> Finding:
    """A row of ``findings`` (explanation chosen by language) with its facts read."""
    facts = json_object(row["facts"])
    examined = facts.pop("examined", None)
    return Finding(**{**row, "facts": facts, "examined": examined if isinstance(examined, dict) else {}})


def _by_record(rows: list[dict[str, Any]]) -> dict[Key, list[dict[str, Any]]]:
    found: dict[Key, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row.pop("platform_id"), row.pop("record_id")), []).append(row)
    return found


def _lane(row: dict[str, Any]) -> Mark:
    lane = (row.pop("account_id"), row.pop("device_id"), row.pop("page_id"))
    return Mark(lane=lane, **row)


def load_details(con: duckdb.DuckDBPyConnection, keys: Sequence[Key], *, lang: Lang, zone: str) -> dict[Key, Detail]:
    """The grounds of the records ``keys`` (platform, record id), their times as local times of ``zone``.

    Raises duckdb.Error when a table lacks a column.
    """
    if not keys:
        return {}
    wanted = {"platforms": [k[0] for k in keys], "records": [k[1] for k in keys]}
    local = wanted | {"zone": zone}
    days = local | {"focus_days": FOCUS_DAYS, "drawn_days": DRAWN_DAYS}
    findings = _by_record(fetch(con, _FINDINGS, wanted | {"lang": lang}))
    strikes = _by_record(fetch(con, (_KEYS + _LESSONS + _STRUCK + _STRIKES), local | {"strike_rows": STRIKE_ROWS}))
    stretches = _by_record(fetch(con, _TIMELINE + _STRETCHES, days))
    marks = _by_record(fetch(con, _TIMELINE + _MARKS, days))
    checks = _by_record(fetch(con, _TIMELINE + _CHECKS, days))
    details: dict[Key, Detail] = {}
    for key in keys:
        struck = strikes.get(key, [])
        totals = [(r.pop("total"), r.pop("days")) for r in struck]
        details[key] = Detail(
            findings=tuple(finding(r) for r in findings.get(key, [])),
            strikes=tuple(Strike(**r) for r in struck),
            strikes_total=totals[0][0] if totals else 0,
            strike_days=totals[0][1] if totals else 0,
            focus_days=FOCUS_DAYS,
            stretches=tuple(Stretch(**r) for r in stretches.get(key, [])),
            marks=tuple(_lane(r) for r in marks.get(key, [])),
            checks=tuple(Check(**r) for r in checks.get(key, [])),
        )
    return details
