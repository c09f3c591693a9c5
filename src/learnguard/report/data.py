"""From a run database to :class:`ReportData`: figures, groups and the list of flags.

DuckDB does the sums; Python only touches the rows that a reader will see.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb

from learnguard.errors import ReportError
from learnguard.report.details import finding, load_details
from learnguard.report.model import Figures, Flag, Gap, Group, ReportData, Rule, Run
from learnguard.report.rows import fetch, json_list, json_object
from learnguard.report.words import LANGS, Lang, reason_title
from learnguard.schema import STRIKE_ORDER

#: Flags whose grounds go into the page; the rest keep their line and their sentence.
DETAIL_LIMIT: Final = 500

TABLES: Final = (
    "findings", "strikes", "decisions", "days", "not_assessed", "run", "detectors", "people", "timeline",
    "timeline_checks",
)  # fmt: skip

_FIGURES = """
SELECT count(*) AS records, count(claimed_s) AS claims,
       count(*) FILTER (WHERE decision = 'withhold') AS withhold, count(*) FILTER (WHERE decision = 'review') AS review,
       count(*) FILTER (WHERE decision = 'clear') AS clear,
       coalesce(sum(subsidy_cny), 0) AS subsidy_cny, coalesce(sum(withheld_cny), 0) AS withheld_cny,
       coalesce(sum(claimed_s), 0) AS claimed_s,
       coalesce(sum(credited_s) FILTER (WHERE claimed_s IS NOT NULL), 0) AS credited_s,
       coalesce(sum(struck_s) FILTER (WHERE claimed_s IS NOT NULL), 0) AS struck_s,
       coalesce(sum(unsupported_s) FILTER (WHERE claimed_s IS NOT NULL), 0) AS unsupported_s,
       (SELECT count(*) FROM findings) AS findings,
       (SELECT count(DISTINCT (platform_id, record_id)) FROM not_assessed) AS not_fully_assessed
FROM decisions
"""

_STRUCK = """
SELECT reason, sum(CAST(json_extract(struck, '$."' || reason || '"') AS BIGINT)) AS seconds
FROM (SELECT struck, unnest(json_keys(struck)) AS reason FROM decisions WHERE claimed_s IS NOT NULL)
GROUP BY reason
"""

# A record counts once per behaviour; its withheld money counts in full in each, so only records are summed over rows.
_BEHAVIOURS = """
WITH hit AS (
  SELECT detector, platform_id, record_id, sum(CAST(coalesce(struck_s, 0) AS DECIMAL(18, 3))) AS struck_s
  FROM findings WHERE record_id IS NOT NULL GROUP BY ALL
)
SELECT hit.detector AS id, count(*) AS records, count(*) FILTER (WHERE decision = 'withhold') AS withhold,
       count(*) FILTER (WHERE decision = 'review') AS review, CAST(sum(hit.struck_s) AS DOUBLE) AS struck_s,
       coalesce(sum(d.withheld_cny), 0) AS withheld_cny
FROM hit JOIN decisions AS d USING (platform_id, record_id)
WHERE d.decision <> 'clear'
GROUP BY hit.detector
ORDER BY withhold + review DESC, withheld_cny DESC, id
"""

_GROUPS = """
SELECT coalesce(CASE $by WHEN 'institution' THEN institution_id ELSE platform_id END, '') AS id, count(*) AS records,
       count(*) FILTER (WHERE decision = 'withhold') AS withhold, count(*) FILTER (WHERE decision = 'review') AS review,
       coalesce(sum(struck_s), 0) AS struck_s, coalesce(sum(withheld_cny), 0) AS withheld_cny
FROM decisions GROUP BY ALL
ORDER BY withheld_cny DESC, withhold + review DESC, id
"""

_GAPS = """
SELECT detector, missing, count(DISTINCT (platform_id, record_id)) AS records,
       list(DISTINCT platform_id ORDER BY platform_id) AS platforms
FROM not_assessed GROUP BY detector, missing ORDER BY records DESC, detector, missing
"""

_FLAGS = """
WITH best AS (
  SELECT f.platform_id, f.record_id, bool_or(f.strength = 'proof') AS has_proof,
         first(CASE $lang WHEN 'zh' THEN f.explanation_zh ELSE f.explanation_en END ORDER BY
               coalesce(nullif(list_position(CAST(d.reasons AS JSON)::VARCHAR[], f.detector), 0), 1000),
               (f.strength = 'proof') DESC, f.score DESC NULLS LAST, f.finding_id) AS sentence
  FROM findings AS f JOIN decisions AS d USING (platform_id, record_id)
  WHERE d.decision <> 'clear' OR d.record_id = $record GROUP BY ALL
)
SELECT d.platform_id, d.record_id, coalesce(d.account_id, '') AS account_id,
       coalesce(d.institution_id, '') AS institution_id, coalesce(d.class_id, '') AS class_id,
       coalesce(d.course_id, '') AS course_id, coalesce(p.course_title, '') AS course_title,
       coalesce(p.name_masked, '') AS name_masked, coalesce(p.id_masked, '') AS id_masked, d.decision, d.risk,
       coalesce(best.has_proof, FALSE) AS has_proof, d.reasons, d.claimed_s, coalesce(d.credited_s, 0) AS credited_s,
       coalesce(d.unsupported_s, 0) AS unsupported_s, coalesce(d.struck_s, 0) AS struck_s, d.struck,
       d.subsidy_cny, coalesce(d.withheld_cny, 0) AS withheld_cny, d.not_assessed,
       coalesce(CASE $lang WHEN 'zh' THEN d.note_zh ELSE d.note_en END, '') AS note,
       coalesce(best.sentence, '') AS sentence
FROM decisions AS d
LEFT JOIN best USING (platform_id, record_id)
LEFT JOIN (SELECT platform_id, record_id, min(name_masked) AS name_masked, min(id_masked) AS id_masked,
                  min(course_title) AS course_title FROM people GROUP BY ALL) AS p USING (platform_id, record_id)
WHERE ($record IS NULL AND d.decision <> 'clear') OR (d.platform_id = $platform AND d.record_id = $record)
ORDER BY (d.decision = 'withhold') DESC, has_proof DESC, withheld_cny DESC, d.risk DESC NULLS LAST,
         d.platform_id, d.record_id
"""

_INSTITUTION_FINDINGS = """
SELECT finding_id AS id, detector, detector_version AS version, strength, severity, status, p_value, struck_s, facts,
       coalesce(CASE $lang WHEN 'zh' THEN explanation_zh ELSE explanation_en END, '') AS explanation,
       coalesce(clause, '') AS clause, coalesce(institution_id, '') AS institution_id
FROM findings WHERE record_id IS NULL ORDER BY score DESC NULLS LAST, institution_id, finding_id
"""


def check_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Raise ReportError when ``con`` does not show the tables of one run."""
    found = {
        r["table_name"]
        for r in fetch(con, "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()")
    }
    absent = [t for t in TABLES if t not in found]
    if absent:
        raise ReportError(
            f"this is not the database of a run: it has no table {', '.join(absent)}",
            hint="Open a file of the store's runs folder, or run the day again.",
        )


def _run(con: duckdb.DuckDBPyConnection) -> Run:
    said: dict[str, str] = {r["key"]: r["value"] or "" for r in fetch(con, "SELECT key, value FROM run ORDER BY key")}
    if not said.get("run_date"):
        raise ReportError("the run does not say which date it is for", hint="Its table run needs the key run_date.")
    hour = said.get("class_hour_s", "")
    zone = said.get("timezone") or "Asia/Shanghai"
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ReportError(
            f"the run names a time zone that is not known: {zone}", hint="Use a name such as Asia/Shanghai."
        ) from error
    return Run(
        date=said["run_date"],
        version=said.get("version", ""),
        created_at=said.get("created_at", ""),
        timezone=zone,
        policy=said.get("policy", ""),
        learnguard_version=said.get("learnguard_version", ""),
        seconds=said.get("seconds", ""),
        deliveries=said.get("deliveries", ""),
        changed_from=said.get("changed_from", ""),
        changes=json_object(said.get("changes")),
        class_hour_s=int(hour) if hour.isdigit() and int(hour) else 2700,
    )


def _texts(value: str | None) -> tuple[str, ...]:
    return tuple(str(v) for v in json_list(value))


def _rules(con: duckdb.DuckDBPyConnection, lang: Lang) -> dict[str, Rule]:
    return {
        r["detector"]: Rule(
            id=r["detector"],
            title=r[f"title_{lang}"] or reason_title(r["detector"], lang),
            version=r["version"],
            clause=r["clause"] or "",
            strength=r["strength"] or "",
            severity=r["severity"] or "",
            status=r["status"] or "",
            triage=_texts(r[f"triage_{lang}"]),
            false_positives=_texts(r[f"false_positives_{lang}"]),
            lookalikes=json_object(r[f"lookalikes_{lang}"]),
            params=json_object(r["params"]),
        )
        for r in fetch(con, "SELECT * FROM detectors ORDER BY detector")
    }


def _groups(rows: Iterable[Mapping[str, Any]], titles: Mapping[str, str] | None = None) -> tuple[Group, ...]:
    return tuple(Group(title=(titles or {}).get(r["id"], r["id"]), **r) for r in rows)


def _ordered(struck: Mapping[str, Any]) -> dict[str, int]:
    """Struck seconds by reason in the fixed order of the ledger, nothing for reasons without seconds."""
    rank = {reason: i for i, reason in enumerate(STRIKE_ORDER)}
    return {k: round(float(struck[k])) for k in sorted(struck, key=lambda k: (rank.get(k, 99), k)) if struck[k]}


def _flag(row: dict[str, Any]) -> Flag:
    return Flag(
        **{
            **row,
            "reasons": _texts(row["reasons"]),
            "struck": _ordered(json_object(row["struck"])),
            "not_assessed": tuple(g for g in json_list(row["not_assessed"]) if isinstance(g, dict)),
        }
    )


def _figures(con: duckdb.DuckDBPyConnection) -> Figures:
    head: dict[str, Any] = {k: Decimal(v) if k.endswith("_cny") else int(v) for k, v in fetch(con, _FIGURES)[0].items()}
    return Figures(**head, struck=_ordered({r["reason"]: r["seconds"] for r in fetch(con, _STRUCK)}))


def load_report(
    con: duckdb.DuckDBPyConnection,
    *,
    lang: Lang,
    detail_limit: int = DETAIL_LIMIT,
    only: tuple[str, str] | None = None,
) -> ReportData:
    """Figures and flags of the run that ``con`` shows, in ``lang``; the grounds of the first ``detail_limit`` flags.

    ``only`` names one record (platform, record id), flagged or not: then that record is the list.
    Durations are seconds, money is yuan. Nothing is written; ``con`` may be read-only.
    Raises ReportError when a table of the run is missing or broken, or ``only`` is not in the run.
    """
    if lang not in LANGS:
        raise ReportError(f"no report in language {lang!r}", hint="Choose zh or en.")
    check_tables(con)
    try:
        return _load(con, lang, detail_limit, only)
    except (duckdb.Error, json.JSONDecodeError) as error:
        raise ReportError(
            f"the database of this run cannot be read: {error}",
            hint="It may have been made by another version of LearnGuard: run the day again.",
        ) from error


def _load(con: duckdb.DuckDBPyConnection, lang: Lang, detail_limit: int, only: tuple[str, str] | None) -> ReportData:
    run, rules = _run(con), _rules(con, lang)
    titles = {k: r.title for k, r in rules.items()}
    behaviours = list(fetch(con, _BEHAVIOURS))
    named = titles | {r["id"]: reason_title(r["id"], lang) for r in behaviours if r["id"] not in titles}
    platform, record = only or (None, None)
    bound = {"lang": lang, "platform": platform, "record": record}
    flags = tuple(_flag(r) for r in fetch(con, _FLAGS, bound))
    if only and not flags:
        raise ReportError(
            f"the run of {run.date} has no record {only[1]} of platform {only[0]}",
            hint="Each run holds only the records it assessed: look for the latest run that did.",
        )
    return ReportData(
        lang=lang,
        run=run,
        figures=_figures(con),
        behaviours=_groups(behaviours, named),
        institutions=_groups(fetch(con, _GROUPS, {"by": "institution"})),
        platforms=_groups(fetch(con, _GROUPS, {"by": "platform"})),
        gaps=tuple(
            Gap(
                title=titles.get(r["detector"], reason_title(r["detector"], lang)),
                **(r | {"platforms": tuple(r["platforms"])}),
            )
            for r in fetch(con, _GAPS)
        ),
        rules=rules,
        flags=flags,
        institution_findings=tuple(finding(r) for r in fetch(con, _INSTITUTION_FINDINGS, {"lang": lang})),
        details=load_details(con, [f.key for f in flags[:detail_limit]], lang=lang, zone=run.timezone),
    )
