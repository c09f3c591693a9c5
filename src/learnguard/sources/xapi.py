"""xAPI statements (Video Profile and cmi5) as ``events``, and the ``lessons`` that they speak of.

A file holds one statement a line, a JSON array of them, or a page of a learning record store
(``{"statements": [...]}``). Rows are numbered by line, or by place in the array.

What is not obvious:

* ``account_id`` is ``actor.account.name``, else ``mbox_sha1sum``, ``openid`` or a hash of ``mbox`` (an address is
  personal data). Groups have no account.
* ``course_id`` is the context activity typed as a course, else the parent, else the first grouping.
* cmi5 ``passed`` and ``failed`` are an ``exam_submit`` with its ``result``. ``launched``, ``abandoned`` and
  ``satisfied`` are said by the platform about a session, not done by the learner: they keep their own names, which
  detectors ignore, as do all other verbs.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Final

import duckdb

from learnguard.schema import Extract
from learnguard.sources.delivery import DeliveredFile, DeliveryFiles
from learnguard.sources.reading import Reading
from learnguard.sources.text import MAX_LINE, TextFile, first_bytes, lines_sql, open_text, query, suffixes

_VIDEO: Final = "https://w3id.org/xapi/video/extensions/"
_CMI5_SESSION: Final = "https://w3id.org/xapi/cmi5/context/extensions/sessionid"
_VERBS: Final = {
    "played": "play",
    "paused": "pause",
    "seeked": "seek",
    "completed": "complete",
    "initialized": "page_open",
    "terminated": "page_close",
    "interacted": "interaction",
    "passed": "exam_submit",
    "failed": "exam_submit",
    "logged-in": "login",
    "logged-out": "logout",
}
_TERMINALS: Final = ("pc", "mobile", "app", "miniprogram")
_VIDEO_EXTENSIONS: Final = (
    "time", "time-from", "time-to", "length", "session-id", "speed", "playback-rate", "user-agent",
)  # fmt: skip
_EXTENSIONS: Final = dict.fromkeys((*(_VIDEO + e for e in _VIDEO_EXTENSIONS), _CMI5_SESSION), "VARCHAR")
#: What is taken out of a statement; the rest is not parsed.
_SHAPE: Final = json.dumps(
    {
        "id": "VARCHAR",
        "timestamp": "VARCHAR",
        "stored": "VARCHAR",
        "actor": {
            "account": {"name": "VARCHAR", "homePage": "VARCHAR"},
            "mbox": "VARCHAR",
            "mbox_sha1sum": "VARCHAR",
            "openid": "VARCHAR",
        },
        "verb": {"id": "VARCHAR"},
        "object": {"id": "VARCHAR", "definition": {"type": "VARCHAR", "name": "JSON"}},
        "result": {"success": "VARCHAR", "score": {"scaled": "VARCHAR"}, "extensions": _EXTENSIONS},
        "context": {
            "registration": "VARCHAR",
            "platform": "VARCHAR",
            "contextActivities": {"parent": "JSON", "grouping": "JSON"},
            "extensions": _EXTENSIONS,
        },
    }
)
_ACTIVITY: Final = '{"id": "VARCHAR", "definition": {"type": "VARCHAR"}}'


class XapiSource:
    """xAPI statements."""

    name = "xapi"

    def recognises(self, file: DeliveredFile) -> bool:
        """Whether the name begins with ``statements``, or the first bytes hold an actor and a verb."""
        extension, _ = suffixes(file.name)
        if extension not in {".json", ".jsonl", ".ndjson"}:
            return False
        if PurePosixPath(file.name.lower()).name.startswith("statements"):
            return True
        start = first_bytes(file)
        return b'"actor"' in start and b'"verb"' in start

    def extracts(
        self,
        delivery: DeliveryFiles,
        *,
        con: duckdb.DuckDBPyConnection,
        workdir: Path,
        platform_id: str | None = None,
    ) -> Reading:
        """See :class:`learnguard.sources.Source`. Without ``platform_id`` the host of the actor's home page is it."""
        extracts: list[Extract] = []
        unrecognised = []
        for file in delivery.files:
            if not self.recognises(file):
                unrecognised.append(file.name)
                continue
            statements, params = _statements(open_text(file, workdir), con)
            params["shape"] = _SHAPE
            extracts.append(Extract("events", file.name, _events(statements, platform_id), params))
            lessons = _lessons(_events(statements, platform_id, described=True))
            extracts.append(Extract("lessons", file.name, lessons, params))
        return Reading(tuple(extracts), {}, tuple(unrecognised))


SOURCE: Final = XapiSource()


def _statements(text: TextFile, con: duckdb.DuckDBPyConnection) -> tuple[str, dict[str, object]]:
    """A SELECT of ``line``, one statement each in the file's order (null: nothing), and its parameters."""
    start = text.head().lstrip()
    if start.startswith("{") and _is_statement(start.split("\n", 1)[0]):
        return lines_sql(text)
    compression = "uncompressed" if text.compression == "none" else text.compression
    params = {"path": str(text.path), "max_line": MAX_LINE, "compression": compression}
    shape = "array" if start.startswith("[") else "unstructured"
    objects = (
        f"SELECT CAST(json AS VARCHAR) AS line FROM read_json_objects($path, format='{shape}', "
        "maximum_object_size=$max_line, compression=$compression)"
    )
    if shape == "unstructured":
        # Pages of a store hold their statements in a list; a statement alone is its own list.
        objects = (
            "SELECT unnest(CASE WHEN json_exists(line, '$.statements') THEN json_extract(line, '$.statements[*]') "
            f"ELSE [line] END) AS line FROM ({objects}) AS o"
        )
    query(con, text.name, f"SELECT count(line) FROM ({objects})", params)
    return objects, params


def _is_statement(line: str) -> bool:
    try:
        data = json.loads(line)
    except ValueError:
        # A statement longer than what was looked at, or the first line of one spread over many.
        return '"verb"' in line or '"actor"' in line
    return isinstance(data, dict) and "statements" not in data


def _events(statements: str, platform_id: str | None, *, described: bool = False) -> str:
    """The statements as ``events``; ``described`` adds what the lessons need: length, type and name."""
    names = " ".join(f"WHEN '{verb}' THEN '{name}'" for verb, name in _VERBS.items())
    terminals = ", ".join(f"'{t}'" for t in _TERMINALS)
    platform = "" if platform_id else f", {_host('s.actor.account.homePage')} AS platform_id"
    extra = ", duration, activity_type, activity_name" if described else ""
    return f"""
        SELECT 1 AS _first, _skip, _error, event_id, ts, received_at, account_id, verb, session_id, page_id,
            user_agent, terminal, course_id, lesson_id, position_s, to_position_s, rate, result,
            value{extra}{platform and ", platform_id"}
        FROM (
            SELECT _skip, CASE WHEN s IS NULL THEN 'not a JSON object' END AS _error,
                s.id AS event_id, s."timestamp" AS ts, s.stored AS received_at, {_account()} AS account_id,
                CASE word {names} ELSE word END AS verb,
                coalesce({_extension("session-id")}, s.context.extensions."{_CMI5_SESSION}", s.context.registration)
                    AS session_id,
                coalesce({_extension("session-id")}, s.context.extensions."{_CMI5_SESSION}") AS page_id,
                {_extension("user-agent")} AS user_agent,
                CASE WHEN lower(s.context.platform) IN ({terminals}) THEN lower(s.context.platform) END AS terminal,
                CASE WHEN is_course THEN s.object.id
                    ELSE coalesce(list_filter(acts, lambda a: a.definition."type" LIKE '%/course')[1].id, acts[1].id)
                END AS course_id,
                CASE WHEN NOT is_course THEN s.object.id END AS lesson_id,
                CASE WHEN word = 'seeked' THEN coalesce({_extension("time-from")}, {_extension("time")})
                    ELSE {_extension("time")} END AS position_s,
                {_extension("time-to")} AS to_position_s,
                regexp_extract(coalesce({_extension("speed")}, {_extension("playback-rate")}), '[0-9]+(?:[.][0-9]+)?')
                    AS rate,
                CASE word WHEN 'passed' THEN 'pass' WHEN 'failed' THEN 'fail' END AS result,
                CASE WHEN word IN ('passed', 'failed') THEN s.result.score.scaled END AS value,
                TRY_CAST({_extension("length")} AS DOUBLE) AS duration,
                s.object.definition."type" AS activity_type, s.object.definition.name AS activity_name{platform}
            FROM (
                SELECT *, regexp_extract(s.verb.id, '([^/#]+)/*$', 1) AS word,
                    coalesce(s.object.definition."type" LIKE '%/course', false) AS is_course,
                    list_concat({_activities("parent")}, {_activities("grouping")}) AS acts
                FROM (
                    SELECT coalesce(trim(line), '') = '' AS _skip,
                        CASE WHEN starts_with(ltrim(line), '{{') THEN TRY(json_transform(line, $shape)) END AS s
                    FROM ({statements}) AS l
                ) AS t
            ) AS t
        ) AS t"""


def _account() -> str:
    mbox = "lower(s.actor.mbox)"
    return (
        "coalesce(s.actor.account.name, s.actor.mbox_sha1sum, s.actor.openid, "
        f"CASE WHEN {mbox} IS NOT NULL THEN 'mbox-' || substr(sha256({mbox}), 1, 40) END)"
    )


def _extension(name: str) -> str:
    key = _VIDEO + name
    return f'coalesce(s.result.extensions."{key}", s.context.extensions."{key}")'


def _activities(kind: str) -> str:
    """Context activities as a list: the standard allows one of them to stand alone."""
    raw = f's.context."contextActivities".{kind}'
    return (
        f"CASE json_type({raw}) WHEN 'ARRAY' THEN json_transform({raw}, '[{_ACTIVITY}]') "
        f"WHEN 'OBJECT' THEN [json_transform({raw}, '{_ACTIVITY}')] ELSE [] END"
    )


def _host(url: str) -> str:
    return f"nullif(lower(regexp_extract({url}, '^(?:[A-Za-z][A-Za-z0-9+.-]*://)?([^/:?#]+)', 1)), '')"


def _lessons(events: str) -> str:
    """One row per lesson of which a statement gives the length: the length said most often, and its name."""
    name = "any_value(activity_name)"
    said = ", ".join(f"json_extract_string({name}, '$.\"{lang}\"')" for lang in ("zh-CN", "zh", "en-US", "en"))
    platform = ", platform_id" if "AS platform_id" in events else ""
    told = "duration > 0 AND isfinite(duration) AND course_id IS NOT NULL AND lesson_id IS NOT NULL"
    # The condition stands in an aggregate, because a plain one would have every statement parsed twice.
    return f"""
        SELECT 1 AS _first, course_id, lesson_id, mode(duration) FILTER ({told}) AS duration_s,
            CASE WHEN any_value(activity_type) LIKE '%/video' THEN 'video'
                WHEN any_value(activity_type) LIKE '%/audio' THEN 'audio' END AS kind,
            coalesce({said}, json_extract_string({name}, '$.*')[1]) AS title{platform}
        FROM ({events}) AS e
        GROUP BY course_id, lesson_id{platform} HAVING count(*) FILTER ({told}) > 0"""
