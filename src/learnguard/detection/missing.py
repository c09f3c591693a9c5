"""What could not be assessed, record by record: missing data is *not observed*, never *fine*.

A client (platform and terminal) either logs a thing or it does not. A record is learned on one or several clients;
its requirement counts as met where the clients that log the thing carried at least half of the record's active time.
*Any* client would hide that most of the learning was never looked at (a minute on a computer, the rest on a telephone);
*all* would call a record not assessed for a minute on an old client. The detector runs on what is there either way.
A record without a single log lacks ``events``, and nothing finer is said about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from learnguard.detection.model import Detector, Requirement

if TYPE_CHECKING:
    import duckdb

#: Share of a record's active time whose client must log the thing.
KNOWN_SHARE: Final = 0.5

_NOT_LOGGED: Final = """n_clients > 0 AND NOT EXISTS (
    SELECT 1 FROM known AS k
    WHERE k.platform_id = s.platform_id AND k.record_id = s.record_id AND k.active_s >= $share * s.active_s)"""
_NO_LESSON: Final = """NOT EXISTS (
    SELECT 1 FROM lessons AS l
    WHERE l.platform_id = s.platform_id AND l.course_id = s.course_id AND l.{column} IS NOT NULL)"""
_NOT_CLAIMED: Final = """EXISTS (
    SELECT 1 FROM claims AS c
    WHERE c.platform_id = s.platform_id AND c.record_id = s.record_id AND c.{column} IS NULL)"""


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create ``not_assessed`` and the temp tables that :func:`add` needs. Reads segments, claims and capabilities."""
    con.execute('DROP TABLE IF EXISTS "not_assessed"')
    con.execute("CREATE TABLE not_assessed (platform_id VARCHAR, record_id VARCHAR, detector VARCHAR, missing VARCHAR)")
    con.execute("""
        CREATE OR REPLACE TEMP TABLE record_clients AS
        SELECT platform_id, record_id, coalesce(terminal, '') AS terminal, sum(active_s) AS active_s
        FROM segments
        GROUP BY ALL
    """)
    con.execute("""
        CREATE OR REPLACE TEMP TABLE record_scope AS
        SELECT c.platform_id, c.record_id, c.course_id, c.claimed_s IS NOT NULL AS is_claimed,
               count(r.record_id) AS n_clients, coalesce(sum(r.active_s), 0) AS active_s
        FROM claims AS c
        LEFT JOIN record_clients AS r USING (platform_id, record_id)
        GROUP BY ALL
    """)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE lacking "
        "(platform_id VARCHAR, record_id VARCHAR, detector VARCHAR, missing VARCHAR)"
    )


def add(con: duckdb.DuckDBPyConnection, detector: Detector) -> None:
    """Note for each record in scope which of ``detector``'s requirements it does not meet.

    Tables that a requirement names must exist, if only empty.
    """
    logs = [r for r in detector.requires if r.kind == "logs"]
    if logs:
        _insert(con, detector, "events", "n_clients = 0", {})
    for requirement in detector.requires:
        _add_one(con, detector, requirement)


def finish(con: duckdb.DuckDBPyConnection) -> None:
    """Write what was noted to ``not_assessed``, sorted, each once, and drop the temp tables."""
    con.execute("""
        INSERT INTO not_assessed
        SELECT DISTINCT l.* FROM lacking AS l
        -- a lesson completed without a log of playing it was assessed: that is what was found
        WHERE l.missing <> 'events' OR NOT EXISTS (
            SELECT 1 FROM findings AS f
            WHERE f.platform_id = l.platform_id AND f.record_id = l.record_id AND f.detector = l.detector)
        ORDER BY ALL
    """)
    for table in ("record_clients", "record_scope", "lacking"):
        con.execute(f'DROP TABLE IF EXISTS temp."{table}"')


def _add_one(con: duckdb.DuckDBPyConnection, detector: Detector, requirement: Requirement) -> None:
    name, values = requirement.names[0], {}
    if requirement.kind == "logs":
        condition = _NOT_LOGGED
        values = {"names": list(requirement.names), "share": KNOWN_SHARE}
    elif requirement.kind == "table":
        condition = f'NOT EXISTS (SELECT 1 FROM "{name}")'
    elif requirement.kind == "lesson":
        condition = _NO_LESSON.format(column=f'"{name}"')
    else:
        condition = _NOT_CLAIMED.format(column=f'"{name}"')
    _insert(con, detector, requirement.missing, condition, values)


def _insert(
    con: duckdb.DuckDBPyConnection, detector: Detector, what: str, condition: str, values: dict[str, object]
) -> None:
    claimed = " AND s.is_claimed" if detector.applies_to == "claims" else ""
    known = (
        """
        WITH known AS (
            SELECT r.platform_id, r.record_id, sum(r.active_s) AS active_s
            FROM record_clients AS r
            WHERE EXISTS (
                SELECT 1 FROM capabilities AS k
                WHERE k.platform_id = r.platform_id AND coalesce(k.terminal, '') = r.terminal
                  AND list_contains($names, k."column"))
            GROUP BY ALL
        )"""
        if "names" in values
        else ""
    )
    con.execute(
        f"""
        INSERT INTO lacking {known}
        SELECT s.platform_id, s.record_id, $detector, $missing
        FROM record_scope AS s
        WHERE {condition}{claimed}
        """,
        {"detector": detector.id, "missing": what, **values},
    )
