"""From extracts to rows that can be written: typed, checked, counted, clocks put right.

Parquet without personal numbers is read where it lies. Everything else is parsed once, into a Parquet file in
the work room that holds no personal number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import duckdb

from learnguard.errors import DeliveryError, StoreError
from learnguard.schema import Extract, Table
from learnguard.store import clocks, identity
from learnguard.store.checks import Checked, checked
from learnguard.store.lake import QUARANTINE_COLUMNS
from learnguard.store.partition import Rows, Slot, buckets_sql, slots
from learnguard.store.workspace import Workspace

Progress = Callable[[str, int, int], None]
#: Up to so many Parquet files of one table are read in place, without a copy in the work room.
_IN_PLACE: Final = 16
_ID_LENGTH: Final = 18
#: A staged file as rows; those that bear no number yet have it from their place in the file.
_STAGED: Final = (
    "SELECT * EXCLUDE (file_row_number, _first, _skip) REPLACE (coalesce(_row, file_row_number + _first) AS _row) "
    "FROM read_parquet($staged, file_row_number=true) WHERE NOT _skip"
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one extract came to: its rows, and how many failed by (column, reason)."""

    file: str
    table: str
    total: int
    reasons: Mapping[tuple[str, str], int]

    @property
    def bad(self) -> int:
        """Rows that failed."""
        return sum(self.reasons.values())


@dataclass(frozen=True, slots=True)
class TakenTable:
    """All rows of one table: ``rows`` to write, by ``slots`` where it is a log, and the counts of each file."""

    table: Table
    rows: Rows
    taken: tuple[Taken, ...]
    slots: list[Slot]
    platforms: frozenset[str]
    late: int

    @property
    def good(self) -> int:
        """Rows that passed all checks."""
        return sum(t.total - t.bad for t in self.taken)


class Staging:
    """The preparation of one delivery in its work room, table by table."""

    def __init__(
        self, room: Workspace, timezone: str, platform_id: str | None, key: bytes, progress: Progress | None
    ) -> None:
        self.con = room.con
        self.timezone = timezone
        self.scratch = room.folder("staged")
        self._platform_id = platform_id
        self._key = key
        self._progress = progress
        names = ", ".join(f'"{c.name}" {c.sql_type}' for c in QUARANTINE_COLUMNS)
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE _bad ({names})")

    @contextmanager
    def zone(self) -> Iterator[None]:
        """While it lasts, text without an offset is in the delivery's zone."""
        self.con.execute("SET TimeZone = $zone", {"zone": self.timezone})
        try:
            yield
        finally:
            self.con.execute("SET TimeZone = 'UTC'")

    def take(self, table: Table, extracts: Sequence[Extract]) -> TakenTable:
        """Type, check and count the rows of ``table``, and keep the bad ones for the quarantine.

        Raises DeliveryError naming the file where one cannot be read."""
        sources = [self._checked(table, e) for e in extracts]
        in_place = len(sources) <= _IN_PLACE and all(self._is_in_place(c) for c in sources)
        rows = [self._in_place(c) if in_place else self._staged(c, i, len(sources)) for i, c in enumerate(sources)]
        late = 0
        if table.name == "events" and not in_place:
            rows, late = self._clocks_set_right(rows)
        taken = tuple(self._count(table, c, r, number) for number, (c, r) in enumerate(zip(sources, rows, strict=True)))
        rows = [Rows(r.sql, r.params, t.bad > 0) for r, t in zip(rows, taken, strict=True)]
        days: list[Slot] = []
        if table.time:
            days = slots(self.con, "_buckets", self.timezone)
            platforms = frozenset(s.platform_id for s in days)
        else:
            platforms = self._platforms(table, rows)
        return TakenTable(table, union(rows), taken, days, platforms, late)

    def drop_files(self) -> None:
        """Remove the copies of a table that is written."""
        for file in self.scratch.iterdir():
            file.unlink()

    def _checked(self, table: Table, extract: Extract) -> Checked:
        with reading(extract.file):
            found = self.con.execute(f"DESCRIBE {extract.sql}", dict(extract.params)).fetchall()
        types = {str(r[0]): str(r[1]) for r in found}
        if "platform_id" in table.names and "platform_id" not in types and self._platform_id is None:
            raise DeliveryError(
                f"{extract.file} does not say which platform its rows are of",
                hint="Add the column platform_id, or name the platform in delivery.toml or on the command line.",
            )
        holds_ids = True
        if extract.parquet and "account_id" in types:
            # One column, once: spares every row a look at whether its account name is an identity number.
            with reading(extract.file):
                sql = (
                    f"SELECT count(*) FILTER (length(CAST(account_id AS VARCHAR)) = {_ID_LENGTH}) FROM ({extract.sql})"
                )
                holds_ids = self._number(sql, extract.params) > 0
        return checked(extract, types, platform_id=self._platform_id, key=self._key, holds_ids=holds_ids)

    def _is_in_place(self, source: Checked) -> bool:
        if not source.is_typed:
            return False
        if source.table.name == "events" and "client_ts" in source.types:
            with reading(source.extract.file):
                found = f"SELECT count(client_ts) FROM ({source.extract.sql})"
                return self._number(found, source.extract.params) == 0
        return True

    def _in_place(self, source: Checked) -> Rows:
        return Rows(
            f"SELECT *, CAST($file AS VARCHAR) AS _file FROM ({source.sql})",
            {**source.params, "file": source.extract.file},
        )

    def _staged(self, source: Checked, number: int, of: int) -> Rows:
        target = str(self.scratch / f"{number}.parquet")
        rows = self._in_place(source)
        if self._progress:
            self._progress(f"checking {source.extract.file}", number, of)
        with reading(source.extract.file):
            # Rows are numbered by their place: the engine's default setting keeps the order of plain reads only.
            copy = f"COPY ({rows.sql}) TO $target (FORMAT parquet, COMPRESSION lz4, PRESERVE_ORDER true)"
            self.con.execute(copy, {**rows.params, "target": target})
        return Rows(_STAGED, {"staged": target})

    def _clocks_set_right(self, rows: list[Rows]) -> tuple[list[Rows], int]:
        """Late uploads go back to when they happened; a device's offset is judged by all files together."""
        paths = {"staged": [r.params["staged"] for r in rows]}
        everything = f"({_STAGED}) AS s"
        if not self._number(f"SELECT count(client_ts) FROM {everything}", paths):
            return rows, 0
        offsets = clocks.offsets_sql(everything)
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE _offsets AS {offsets}", {**paths, "tolerance": clocks.TOLERANCE_US}
        )
        moved = []
        late = 0
        for number, r in enumerate(rows):
            target = str(self.scratch / f"{number}-clocks.parquet")
            sql = clocks.corrected_sql(f"({_STAGED})", "_offsets")
            bounds = {"tolerance": clocks.TOLERANCE_US, "longest": clocks.LONGEST_US}
            self.con.execute(
                f"COPY ({sql}) TO $target (FORMAT parquet, COMPRESSION lz4)", {**r.params, **bounds, "target": target}
            )
            moved.append(Rows("SELECT * FROM read_parquet($staged)", {"staged": target}))
            late += self._number("SELECT count(logged_ts) FROM read_parquet($staged)", {"staged": target})
        return moved, late

    def _count(self, table: Table, source: Checked, rows: Rows, number: int) -> Taken:
        """Count ``rows``; those of a log also into the table ``_buckets``, by platform and quarter hour."""
        with reading(source.extract.file):
            if table.time:
                into = "INSERT INTO _buckets" if number else "CREATE OR REPLACE TEMP TABLE _buckets AS"
                counted = buckets_sql(table, f"({rows.sql})")
                self.con.execute(f"{into} SELECT *, {int(number)} AS part FROM ({counted})", dict(rows.params))
                sql = "SELECT CAST(sum(n) AS BIGINT), CAST(sum(n) FILTER (_fail IS NOT NULL) AS BIGINT) FROM _buckets "
                found = self.con.execute(sql + "WHERE part = $part", {"part": number}).fetchone()
            else:
                sql = f"SELECT count(*), count(_fail) FROM ({rows.sql})"
                found = self.con.execute(sql, dict(rows.params)).fetchone()
            total, bad = (int(n or 0) for n in found or (0, 0))
            reasons = self._keep_bad(source, rows) if bad else {}
        return Taken(source.extract.file, table.name, total, reasons)

    def _keep_bad(self, source: Checked, rows: Rows) -> dict[tuple[str, str], int]:
        """Put the bad rows of one extract into ``_bad``; how many there were by (column, reason)."""
        columns = [c.column for c in source.checks]
        self.con.execute(
            "INSERT INTO _bad SELECT NULL, CAST($table AS VARCHAR), _file, _row, list_extract($columns, _fail), "
            "CASE WHEN _fail = 0 THEN _error ELSE list_extract($reasons, _fail) END, "
            "json_extract_string(_json, '$.' || list_extract($columns, _fail)), _json "
            f"FROM ({rows.sql}) WHERE _fail IS NOT NULL",
            {
                **rows.params,
                "table": source.table.name,
                "columns": columns,
                "reasons": [c.reason for c in source.checks],
            },
        )
        found = self.con.execute(
            "SELECT coalesce(\"column\", ''), coalesce(reason, ''), count(*) FROM _bad "
            'WHERE file = $file AND "table" = $table GROUP BY ALL ORDER BY 3 DESC, 1, 2',
            {"file": source.extract.file, "table": source.table.name},
        ).fetchall()
        return {(str(c), str(r)): int(n) for c, r, n in found}

    def _platforms(self, table: Table, rows: list[Rows]) -> frozenset[str]:
        if "platform_id" not in table.names:
            return frozenset()
        everything = union(rows)
        sql = f"SELECT DISTINCT platform_id FROM ({everything.sql}) WHERE {everything.where}"
        return frozenset(str(r[0]) for r in self.con.execute(sql, dict(everything.params)).fetchall())

    def _number(self, sql: str, params: Mapping[str, object]) -> int:
        row = self.con.execute(sql, dict(params)).fetchone()
        return int(row[0]) if row else 0


def union(rows: Sequence[Rows]) -> Rows:
    """All of ``rows`` one after another; parameters are told apart by a number."""
    if len(rows) == 1:
        return rows[0]
    paths = [r.params.get("staged") for r in rows]
    has_bad = any(r.has_bad for r in rows)
    if all(paths):
        return Rows(rows[0].sql, {"staged": paths}, has_bad)
    params: dict[str, object] = {}
    parts = []
    for number, r in enumerate(rows):
        parts.append(re.sub(r"\$([a-z_]+)", rf"$r{number}_\1", r.sql))
        params |= {f"r{number}_{k}": v for k, v in r.params.items()}
    return Rows(" UNION ALL ".join(parts), params, has_bad)


@contextmanager
def reading(file: str) -> Iterator[None]:
    """What DuckDB says about ``file`` becomes an error of ours; the row that it may quote is left out."""
    problem: DeliveryError | StoreError | None = None
    try:
        yield
    except duckdb.OutOfMemoryException:
        problem = StoreError(f"{file} needs more memory than allowed", hint="Raise memory_limit, or lower threads.")
    except duckdb.Error as error:
        first = identity.redact(str(error).split("\n", 1)[0])
        if "No space left" in first:
            problem = StoreError("the disk of the store is full", hint="Free disk space and ingest again.")
        else:
            problem = DeliveryError(f"{file} cannot be read: {first}", hint="The file is broken: transfer it again.")
    if problem is not None:
        raise problem
