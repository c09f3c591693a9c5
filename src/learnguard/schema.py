"""The contract's tables: names, types, units, keys. No behaviour.

Three groups of tables:

* ``DELIVERED``: what a platform or an authority hands over, row by row (the lake).
* ``CONDENSED``: what the run makes of the logs (segments, checks, completions, capabilities) and the
  record table that detectors read.
* ``RESULTS``: what a run puts out (findings, strikes, decisions, run).

Times are ``TIMESTAMPTZ`` in UTC, durations seconds (``_s``), money yuan as decimals (``_cny``),
media positions seconds of media time. A null means *not observed*, never *fine*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["text", "time", "number", "integer", "boolean", "money", "json", "date"]

SQL_TYPE: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "text": "VARCHAR",
        "time": "TIMESTAMPTZ",
        "number": "DOUBLE",
        "integer": "BIGINT",
        "boolean": "BOOLEAN",
        "money": "DECIMAL(14,2)",
        "json": "VARCHAR",
        "date": "DATE",
    }
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, kind, whether a row without it is refused, and its permitted values.

    ``low``/``high`` are inclusive bounds, ``choices`` the closed vocabulary (empty: anything).
    """

    name: str
    kind: Kind = "text"
    required: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    doc: str = ""

    @property
    def sql_type(self) -> str:
        """The DuckDB type that stores this column."""
        return SQL_TYPE[self.kind]


@dataclass(frozen=True, slots=True)
class Table:
    """One table. ``time`` names the column that places a row on a day (None: not a log);
    ``key`` identifies a row: of two rows with one key the later delivery is the valid one;
    ``either`` lists groups of columns of which at least one must be filled."""

    name: str
    columns: tuple[Column, ...]
    time: str | None = None
    key: tuple[str, ...] = ()
    either: tuple[tuple[str, ...], ...] = ()
    ordered: tuple[tuple[str, str], ...] = field(default=())
    doc: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(c.name for c in self.columns)

    def column(self, name: str) -> Column:
        """The column called ``name`` (KeyError when there is none)."""
        for c in self.columns:
            if c.name == name:
                return c
        raise KeyError(f"table {self.name} has no column {name}")


def _text(*names: str, required: bool = False) -> tuple[Column, ...]:
    return tuple(Column(n, required=required) for n in names)


def _time(*names: str, required: bool = False) -> tuple[Column, ...]:
    return tuple(Column(n, "time", required=required) for n in names)


def _seconds(*names: str) -> tuple[Column, ...]:
    return tuple(Column(n, "number", low=0) for n in names)


_PLATFORM = Column("platform_id", required=True)

VERBS: Final = (
    "login", "logout", "page_open", "page_close", "play", "pause", "heartbeat", "seek", "rate_change",
    "hidden", "visible", "prompt", "prompt_answer", "face_check", "interaction", "complete",
    "exam_start", "exam_submit",
)  # fmt: skip
LESSON_KINDS: Final = ("video", "audio", "reading", "exercise", "exam", "live")

_DELIVERED = (
    Table(
        "events",
        (
            _PLATFORM,
            Column("event_id"),
            Column("ts", "time", required=True, doc="when it happened, by the server's clock"),
            Column("client_ts", "time", doc="when it happened, by the client's clock"),
            Column("received_at", "time", doc="when the server got it; later than ts for offline uploads"),
            Column("account_id", required=True),
            Column("verb", required=True, doc="unknown verbs are kept and ignored"),
            *_text("session_id", "device_id", "page_id", "ip", "user_agent", "terminal", "course_id", "lesson_id"),
            *_seconds("position_s", "to_position_s"),
            Column("rate", "number", low=0, high=100),
            Column("visible", "boolean"),
            Column("result"),
            Column("value", "number"),
        ),
        time="ts",
        doc="one thing a client or the server logged",
    ),
    Table(
        "sessions",
        (
            _PLATFORM,
            *_text("session_id", "account_id", required=True),
            *_time("started_at", "ended_at", required=True),
            *_text("device_id", "page_id", "ip", "user_agent", "terminal", "course_id", "lesson_id"),
            *_seconds("learned_s", "foreground_s", "from_position_s", "to_position_s"),
        ),
        time="started_at",
        ordered=(("started_at", "ended_at"),),
        doc="one study of a lesson (one login where lesson_id is empty), for platforms that log no events",
    ),
    Table(
        "lessons",
        (
            _PLATFORM,
            *_text("course_id", "lesson_id", required=True),
            Column("seq", "integer"),
            Column("kind", choices=LESSON_KINDS),
            *_seconds("duration_s"),
            Column("max_rate", "number", low=0, high=100),
            Column("title"),
        ),
        key=("platform_id", "course_id", "lesson_id"),
        doc="one lesson of a course",
    ),
    Table(
        "roster",
        (
            _PLATFORM,
            Column("account_id", required=True),
            *_text("learner_id", "id_number", "name", "phone", "institution_id", "class_id"),
        ),
        key=("platform_id", "account_id", "class_id"),
        either=(("learner_id", "id_number"),),
        doc="one account in one class",
    ),
    Table(
        "records",
        (
            _PLATFORM,
            *_text("record_id", "account_id", "course_id", required=True),
            *_text("learner_id", "institution_id", "class_id", "occupation"),
            Column("skill_level", "integer", low=1, high=5, doc="5 lowest to 1 highest"),
            Column("claimed_hours", "number", required=True, low=0, high=100_000, doc="class hours of 45 minutes"),
            Column("required_hours", "number", low=0, high=100_000),
            Column("started_at", "time"),
            Column("completed_at", "time", required=True),
            Column("claimed_at", "time"),
            Column("subsidy_type"),
            Column("subsidy_cny", "money", low=0),
            Column("score", "number"),
        ),
        key=("platform_id", "record_id"),
        ordered=(("started_at", "completed_at"),),
        doc="one training record: what a subsidy is claimed for",
    ),
    Table(
        "attempts",
        (
            _PLATFORM,
            *_text("attempt_id", "exam_id", "account_id", required=True),
            Column("course_id"),
            *_time("started_at", "submitted_at", required=True),
            *_text("device_id", "ip"),
            Column("score", "number"),
            Column("passed", "boolean"),
            Column("face_score", "number", low=0, high=1),
            Column("kind", doc="mock or final"),
            Column("attempts_allowed", "integer", low=0),
        ),
        time="started_at",
        key=("platform_id", "attempt_id"),
        ordered=(("started_at", "submitted_at"),),
        doc="one exam attempt",
    ),
    Table(
        "responses",
        (
            _PLATFORM,
            *_text("attempt_id", "item_id", required=True),
            Column("position", "integer", low=0),
            Column("response"),
            Column("correct", "boolean"),
            *_seconds("time_s"),
            Column("answered_at", "time"),
            Column("changes", "integer", low=0),
        ),
        key=("platform_id", "attempt_id", "item_id"),
        doc="one answer in an attempt",
    ),
    Table(
        "items",
        (
            _PLATFORM,
            Column("item_id", required=True),
            Column("key"),
            Column("n_options", "integer", low=0),
            Column("reading_chars", "integer", low=0),
            Column("is_answer_forced", "boolean", doc="all right answers must look alike"),
        ),
        key=("platform_id", "item_id"),
        doc="one exam item",
    ),
    Table(
        "group_sessions",
        (
            _PLATFORM,
            Column("class_id", required=True),
            *_time("started_at", "ended_at", required=True),
            *_text("ip", "facilitator_id", "place"),
        ),
        key=("platform_id", "class_id", "started_at"),
        ordered=(("started_at", "ended_at"),),
        doc="a supervised group studying together, declared beforehand",
    ),
    Table(
        "corrections",
        (_PLATFORM, *_text("table", "key", "reason", required=True), Column("declared_at", "time", required=True)),
        doc="a change to delivered data that the platform declares",
    ),
    Table(
        "registry",
        (
            *_text("learner_id", "id_number"),
            Column("registered_at", "time"),
            *_text("category", "ineligible_reason", "region"),
        ),
        key=("learner_id",),
        either=(("learner_id", "id_number"),),
        doc="one person in the authority's real-name system",
    ),
    Table(
        "certificates",
        (
            *_text("learner_id", "id_number"),
            Column("occupation", required=True),
            Column("skill_level", "integer", required=True, low=1, high=5),
            Column("issued_at", "time", required=True),
            Column("subsidy_type"),
            Column("subsidy_paid", "boolean"),
        ),
        key=("learner_id", "occupation", "skill_level", "issued_at"),
        either=(("learner_id", "id_number"),),
        doc="one certificate or paid subsidy on file",
    ),
)

DELIVERED: Final[Mapping[str, Table]] = MappingProxyType({t.name: t for t in _DELIVERED})

#: Columns the lake adds to delivered tables. ``logged_ts`` keeps the delivered ``ts`` of an offline
#: upload whose ``ts`` was corrected to when it happened (null: ts stands as delivered). ``id_number``
#: is never stored: ``learner_id`` holds its pseudonym and ``id_masked`` what people may see.
LAKE_EXTRA: Final[Mapping[str, tuple[Column, ...]]] = MappingProxyType(
    {
        "events": (Column("logged_ts", "time"),),
        "roster": (Column("id_masked"),),
        "registry": (Column("id_masked"),),
        "certificates": (Column("id_masked"),),
    }
)
PERSONAL: Final = ("id_number",)


def lake_columns(table: str) -> tuple[Column, ...]:
    """The columns a delivered table has once it is in the lake, in order.

    The lake also keeps ``delivery_id`` (text) on every row, after these.
    """
    base = tuple(c for c in DELIVERED[table].columns if c.name not in PERSONAL)
    return base + LAKE_EXTRA.get(table, ())


_CONDENSED = (
    Table(
        "segments",
        (
            *_text("platform_id", "account_id", "learner_id", "record_id", "course_id", "lesson_id"),
            *_text("session_id", "device_id", "page_id", "terminal", "ip", "user_agent"),
            Column("source", doc="events or sessions: what the segment was made of"),
            *_time("started_at", "ended_at"),
            Column(
                "active_s", "number", doc="seconds of activity inside; all of it for events, learned_s for sessions"
            ),
            Column("media_from_s", "number", doc="first media position played; null: positions not logged"),
            Column("media_to_s", "number", doc="last media position played"),
            Column("skipped_s", "number", doc="media seconds jumped over just before, with no seek logged"),
            Column("rate", "number", doc="playback rate in force as logged; null: not logged"),
            Column("is_hidden", "boolean", doc="page not in front; null: visibility not logged by this client"),
            Column("hidden_s", "number"),
            *(Column(n, "integer") for n in ("n_events", "n_interactions", "n_passed", "n_missed")),
            *(Column(n, "integer") for n in ("n_faces_passed", "n_faces_failed")),
            Column("cadence_s", "number", doc="the platform's own beat for this terminal; null: it sends none"),
            Column("gap_s", "number", doc="silence longer than this ended the segment"),
            Column("is_late_upload", "boolean", doc="holds rows uploaded after the fact, put back in their time"),
            Column("is_clock_suspect", "boolean", doc="media runs backwards in time here: order cannot be trusted"),
            Column("day", "date", doc="calendar day in the delivery's time zone"),
        ),
        doc="a stretch of one account on one device, page and lesson, alike in visibility and rate",
    ),
    Table(
        "checks",
        (
            *_text("platform_id", "account_id", "learner_id", "record_id", "course_id", "lesson_id"),
            *_text("session_id", "device_id", "page_id"),
            Column("checked_at", "time"),
            Column("kind", doc="prompt or face"),
            Column("result", doc="pass, fail, timeout or no_face"),
            Column("value", "number", doc="reaction in seconds, or similarity 0 to 1"),
        ),
        doc="one presence check met by a learner",
    ),
    Table(
        "completions",
        (
            *_text("platform_id", "account_id", "learner_id", "record_id", "course_id", "lesson_id"),
            Column("completed_at", "time"),
            Column("counted_s", "number", doc="content seconds the platform counts for the lesson"),
            Column("source", doc="complete (an event) or sessions (sum of learned_s)"),
        ),
        doc="one lesson that the platform counts as learned, once per account",
    ),
    Table(
        "capabilities",
        (
            *_text("platform_id", "terminal"),
            Column("column", doc="what is logged: device_id, page_id, visible, position_s, prompt, face_check …"),
            Column("first_at", "time"),
            Column("last_at", "time"),
            Column("n", "integer"),
        ),
        doc="what a platform's client was ever seen to log",
    ),
    Table(
        "claims",
        (
            *_text("platform_id", "record_id", "account_id", "learner_id", "institution_id", "class_id", "course_id"),
            *_text("occupation", "subsidy_type"),
            Column("skill_level", "integer"),
            Column("claimed_s", "number", doc="null: no claim was delivered"),
            Column("required_s", "number"),
            *_time("started_at", "completed_at", "claimed_at"),
            Column("subsidy_cny", "money"),
            Column("score", "number"),
            Column("first_log_at", "time", doc="first log of this record"),
            Column("platform_first_log_at", "time", doc="first log of its platform: learning before it left no trace"),
            Column(
                "has_begun_before",
                "boolean",
                doc="learning may have begun before the first delivery; null: nobody says when",
            ),
        ),
        doc="one record in scope of the run, claim or not, with what is known of its learner",
    ),
)
CONDENSED: Final[Mapping[str, Table]] = MappingProxyType({t.name: t for t in _CONDENSED})

_RESULTS = (
    Table(
        "findings",
        (
            Column("run_date", "date"),
            *_text("finding_id", "detector"),
            Column("detector_version", "integer"),
            *_text("platform_id", "record_id", "account_id", "course_id", "institution_id"),
            *_time("started_at", "ended_at"),
            Column("strength", doc="proof or statistical"),
            Column("severity", doc="high, medium or low"),
            Column("status", doc="stable or experimental"),
            Column("p_value", "number"),
            Column("score", "number", low=0, high=1),
            Column("struck_s", "number"),
            Column("facts", "json"),
            *_text("explanation_zh", "explanation_en", "clause"),
        ),
    ),
    Table(
        "strikes",
        (
            Column("run_date", "date"),
            *_text("finding_id", "detector", "platform_id", "record_id", "lesson_id"),
            *_time("started_at", "ended_at"),
            Column("seconds", "number", doc="lesson seconds counted but not played; null for a stretch of time"),
        ),
        doc="what a finding takes out of the ledger: a stretch of time, or seconds of a lesson",
    ),
    Table(
        "decisions",
        (
            Column("run_date", "date"),
            *_text("platform_id", "record_id", "account_id", "learner_id", "institution_id", "class_id", "course_id"),
            Column("decision", doc="clear, review or withhold"),
            Column("risk", "number", low=0, high=1),
            Column("reasons", "json", doc="detector ids, strongest first"),
            *(Column(n, "integer") for n in ("claimed_s", "credited_s", "unsupported_s")),
            Column("struck", "json", doc="reason to seconds"),
            Column("struck_s", "integer"),
            Column("subsidy_cny", "money"),
            Column("withheld_cny", "money"),
            Column("not_assessed", "json", doc="[{detector, missing}]"),
            Column("policy", doc="id and version of the policy applied"),
            Column("note_zh", doc="why this decision, in one sentence"),
            Column("note_en"),
        ),
    ),
    Table(
        "days",
        (
            *_text("platform_id", "record_id"),
            Column("day", "date"),
            *(Column(n, "number") for n in ("credited_s", "struck_s")),
        ),
        doc="the ledger by calendar day, for the case page",
    ),
)
RESULTS: Final[Mapping[str, Table]] = MappingProxyType({t.name: t for t in _RESULTS})

DETECTORS: Final = (
    "record_tampering", "record_fabrication", "unregistered_trainee", "ineligible_trainee",
    "duplicate_claim", "lower_level_claim", "late_claim", "concurrent_sessions", "background_playback",
    "course_skipping", "idle_playback", "proxy_attendance", "exam_brushing", "proxy_test_taking",
    "anomalous_completion_time", "collusion_ring",
)  # fmt: skip
#: Where several findings cover one second, the first of these takes it.
STRIKE_ORDER: Final = (*DETECTORS, "policy_limit")


def create_sql(table: Table, *, name: str | None = None) -> str:
    """``CREATE TABLE`` for ``table`` with the contract's column names and types."""
    columns = ", ".join(f'"{c.name}" {c.sql_type}' for c in table.columns)
    return f'CREATE TABLE "{name or table.name}" ({columns})'


@dataclass(frozen=True, slots=True)
class Extract:
    """Rows of one contract table found in one file of a delivery, not yet checked.

    ``sql`` is a DuckDB SELECT (no trailing semicolon) that yields a subset of the table's columns, in any
    type (text is parsed later, by the contract's rules), plus ``_row`` (BIGINT, 1-based row or line number
    in ``file``) and optionally ``_error`` (VARCHAR: why the row cannot be read; null: readable).
    It may name files only through ``params`` (bound by name), never inside the text. ``_row`` may be left out: rows are
    then numbered by order from ``_first`` (a column with one value); rows whose ``_skip`` is true take a number and
    are no row.
    """

    table: str
    file: str
    sql: str
    params: Mapping[str, object] = field(default_factory=dict)
    parquet: bool = False


#: Delivered tables of which a new or changed row makes its records news.
TABLES_OF_NEWS: Final = ("records", "roster", "registry", "certificates", "lessons", "attempts", "corrections")
