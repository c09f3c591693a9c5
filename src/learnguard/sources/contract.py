"""The contract's own files: ``<table>[-suffix].<ext>`` with the contract's column names.

Row numbers: of .parquet the row from 1; of .csv and .xlsx the row as a spreadsheet shows it (the header is
row 1); of JSON lines the line from 1.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb
import fastexcel
import pyarrow as pa

from learnguard.errors import DeliveryError
from learnguard.schema import DELIVERED, Extract, Table
from learnguard.sources.delivery import DeliveredFile, DeliveryFiles
from learnguard.sources.reading import Reading
from learnguard.sources.text import BUFFER, MAX_LINE, TextFile, lines_sql, open_text, query, quiet, suffixes

_NAME: Final = re.compile(r"([a-z_]+?)(?:-.*)?", re.DOTALL)
_JSON: Final = (".jsonl", ".ndjson")
_SAMPLE_LINES: Final = 20_000
_EXTRA_FIELDS: Final = 8
_DELIMITERS: Final = (",", "\t", ";", "|")
#: A value that no CSV holds: with it an empty field is '' and only a field that is not there is null.
_NEVER: Final = "\x1e\x1f"


class ContractSource:
    """Files named after the contract's tables."""

    name = "contract"

    def recognises(self, file: DeliveredFile) -> bool:
        """Whether the name is a table's and the extension one of the contract's."""
        return table_of(file.name) is not None

    def extracts(
        self,
        delivery: DeliveryFiles,
        *,
        con: duckdb.DuckDBPyConnection,
        workdir: Path,
        platform_id: str | None = None,
    ) -> Reading:
        """See :class:`learnguard.sources.Source`."""
        extracts: list[Extract] = []
        unknown: dict[str, tuple[str, ...]] = {}
        unrecognised = []
        for number, file in enumerate(delivery.files):
            table = table_of(file.name)
            if table is None:
                unrecognised.append(file.name)
                continue
            extract, columns = _read(file, table, con, workdir, number)
            require_columns(table, file.name, columns, has_platform=platform_id is not None)
            left = tuple(sorted(set(columns) - set(table.names)))
            if left:
                unknown[file.name] = left
            extracts.append(extract)
        return Reading(tuple(extracts), unknown, tuple(unrecognised))


SOURCE: Final = ContractSource()


def table_of(name: str) -> Table | None:
    """The table that a file of this name holds, None when it is none of the contract's."""
    extension, compression = suffixes(name)
    base = name.rsplit("/", 1)[-1].lower()
    stem = base.removesuffix(compression).removesuffix(extension)
    known = {".csv", *_JSON} if compression else {".csv", *_JSON, ".parquet", ".xlsx"}
    match = _NAME.fullmatch(stem)
    return DELIVERED.get(match[1]) if match and extension in known else None


def require_columns(table: Table, file: str, columns: Sequence[str], *, has_platform: bool) -> None:
    """Raise DeliveryError when ``columns`` lack one that ``table`` requires, naming what was found."""
    given = set(columns) | ({"platform_id"} if has_platform else set())
    missing = [c.name for c in table.columns if c.required and c.name not in given]
    missing += [" or ".join(group) for group in table.either if given.isdisjoint(group)]
    if missing:
        found = ", ".join(columns) or "none"
        hint = "Correct the header, or export the column."
        if missing == ["platform_id"]:
            hint = "Add the column, or name the platform in delivery.toml or on the command line."
        raise DeliveryError(f"{file} lacks {', '.join(missing)}; its columns are: {found}", hint=hint)


def _read(
    file: DeliveredFile, table: Table, con: duckdb.DuckDBPyConnection, workdir: Path, number: int
) -> tuple[Extract, tuple[str, ...]]:
    extension = suffixes(file.name)[0]
    if extension == ".parquet":
        return _parquet(file, table, con)
    if extension == ".xlsx":
        return _xlsx(file, table, con, number)
    text = open_text(file, workdir)
    return _csv(text, table, con) if extension == ".csv" else _json_lines(text, table, con)


def _parquet(file: DeliveredFile, table: Table, con: duckdb.DuckDBPyConnection) -> tuple[Extract, tuple[str, ...]]:
    params: dict[str, object] = {"path": str(file.path)}
    found = query(con, file.name, "DESCRIBE SELECT * FROM read_parquet($path, hive_partitioning=false)", params)
    names = tuple(str(r[0]) for r in found)
    selected = _selected(table, file.name, [n.lower() for n in names])
    columns = "".join(f', "{name}"' for name in selected)
    sql = (
        f"SELECT file_row_number + 1 AS _row{columns} "
        "FROM read_parquet($path, file_row_number=true, hive_partitioning=false)"
    )
    return Extract(table.name, file.name, sql, params, parquet=True), tuple(_clean(n) for n in names)


def _json_lines(text: TextFile, table: Table, con: duckdb.DuckDBPyConnection) -> tuple[Extract, tuple[str, ...]]:
    lines, params = lines_sql(text)
    keys = (
        f"SELECT DISTINCT unnest(json_keys(line)) FROM ({lines}{{limit}}) AS t "
        "WHERE CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END ORDER BY 1"
    )
    columns = tuple(
        str(r[0]) for r in query(con, text.name, keys.replace("{limit}", f" LIMIT {_SAMPLE_LINES}"), params)
    )
    if {c.name for c in table.columns if c.required} - set(columns):
        # A column may come late in a long file: only then is all of it looked through.
        columns = tuple(str(r[0]) for r in query(con, text.name, keys.replace("{limit}", ""), params))
    if not columns:
        if query(con, text.name, f"SELECT count(*) FROM ({lines}) AS l WHERE trim(line) <> ''", params) != [(0,)]:
            raise DeliveryError(f"{text.name} holds no JSON objects", hint="Each line must be one object: {…}.")
        columns = table.names
    shape = "{" + ", ".join(f'"{n}": "VARCHAR"' for n in table.names) + "}"
    fields = "".join(f', o."{n}" AS "{n}"' for n in table.names)
    # Rows are numbered by their order in the file, so that it can be read in parallel.
    sql = (
        f"SELECT 1 AS _first, coalesce(trim(line), '') = '' AS _skip, "
        f"CASE WHEN o IS NULL THEN 'not a JSON object' END AS _error{fields} FROM ("
        "SELECT line, CASE WHEN starts_with(ltrim(line), '{') THEN TRY(json_transform(line, $shape)) END AS o "
        f"FROM ({lines}) AS l) AS t"
    )
    return Extract(table.name, text.name, sql, {**params, "shape": shape}), columns


def _xlsx(
    file: DeliveredFile, table: Table, con: duckdb.DuckDBPyConnection, number: int
) -> tuple[Extract, tuple[str, ...]]:
    try:
        book = fastexcel.read_excel(str(file.path))
        sheet = table.name if table.name in book.sheet_names else 0
        cells = book.load_sheet(sheet, header_row=0, dtypes="string").to_arrow()
    except fastexcel.FastExcelError as error:
        raise DeliveryError(
            f"{file.name} cannot be read as a workbook: {quiet(error)}",
            hint="Save it again as .xlsx, with the header in row 1.",
        ) from None
    names = tuple(str(n) for n in cells.schema.names)
    if not names:
        raise DeliveryError(f"{file.name} has no header", hint="Row 1 must hold the column names.")
    fields = [f"f{i}" for i in range(len(names))]
    view = f"_sheet_{number}"
    con.register(view, pa.Table.from_batches([pa.RecordBatch.from_arrays(cells.columns, fields)]))
    selected = _selected(table, file.name, names)
    columns = "".join(f', f{names.index(raw)} AS "{name}"' for name, raw in selected.items())
    filled = " OR ".join(f"{f} IS NOT NULL" for f in fields)
    sql = f'SELECT row_number() OVER () + 1 AS _row{columns} FROM "{view}" QUALIFY {filled}'
    return Extract(table.name, file.name, sql), tuple(_clean(n) for n in names)


def _csv(text: TextFile, table: Table, con: duckdb.DuckDBPyConnection) -> tuple[Extract, tuple[str, ...]]:
    names, delimiter = _header(text)
    selected = _selected(table, text.name, names)
    fields = [f"f{i}" for i in range(len(names))]
    params: dict[str, object] = {
        "path": str(text.path),
        "compression": text.compression,
        "delim": delimiter,
        "never": _NEVER,
        "max_line": MAX_LINE,
        "buffer": BUFFER,
        "columns": dict.fromkeys([*fields, *(f"x{i}" for i in range(_EXTRA_FIELDS))], "VARCHAR"),
    }
    columns = "".join(f', f{names.index(raw)} AS "{name}"' for name, raw in selected.items())
    empty = " AND ".join(f"coalesce({f}, '') = ''" for f in fields)
    for parallel in ("true", "false"):
        rows = (
            "read_csv($path, auto_detect=false, header=true, delim=$delim, quote='\"', escape='\"', comment='', "
            "nullstr=$never, null_padding=true, strict_mode=true, max_line_size=$max_line, buffer_size=$buffer, "
            f"columns=$columns, compression=$compression, parallel={parallel})"
        )
        # Reading all of it once tells whether every quote closes: else the file is taken line by line.
        if _reads(con, f"SELECT count({fields[-1]}), count(x0) FROM {rows}", params):
            sql = (
                f"SELECT 2 AS _first, {empty} AND x0 IS NULL AS _skip, "
                f"CASE WHEN {fields[-1]} IS NULL THEN 'too few fields' "
                f"WHEN x0 IS NOT NULL THEN 'too many fields' END AS _error{columns} FROM {rows}"
            )
            return Extract(table.name, text.name, sql, params), tuple(_clean(n) for n in names)
    return _csv_by_line(text, table, names, delimiter, selected), tuple(_clean(n) for n in names)


def _reads(con: duckdb.DuckDBPyConnection, sql: str, params: dict[str, object]) -> bool:
    try:
        con.execute(sql, params).fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        return False
    return True


def _csv_by_line(
    text: TextFile, table: Table, names: Sequence[str], delimiter: str, selected: dict[str, str]
) -> Extract:
    """Line by line, for a file in which some quote is wrong: such lines are bad rows, the others go on."""
    lines, params = lines_sql(text)
    d = re.escape(delimiter)
    plain, quoted = rf'[^"{d}][^{d}]*|', r'"(?:[^"]|"")*"'
    params |= {
        "whole": rf"(?:{quoted}|{plain})(?:{d}(?:{quoted}|{plain}))*",
        "each": rf"(?:^|{d})({quoted}|{plain})",
        "delim_char": delimiter,
    }
    columns = "".join(
        f", CASE WHEN starts_with(v[{i}], '\"') THEN replace(v[{i}][2:-2], '\"\"', '\"') ELSE v[{i}] END AS \"{name}\""
        for name, i in ((n, names.index(raw) + 1) for n, raw in selected.items())
    )
    sql = (
        "SELECT _row, CASE WHEN v IS NULL THEN 'a quote does not close' "
        f"WHEN len(v) < {len(names)} THEN 'too few fields' WHEN len(v) > {len(names)} THEN 'too many fields' END "
        f"AS _error{columns} FROM (SELECT _row, "
        "CASE WHEN NOT contains(line, '\"') THEN string_split(line, $delim_char) "
        "WHEN regexp_full_match(line, $whole) THEN regexp_extract_all(line, $each, 1) END AS v "
        f"FROM (SELECT row_number() OVER () AS _row, line FROM ({lines}) AS l) AS l "
        "WHERE _row > 1 AND trim(line) <> '') AS t"
    )
    return Extract(table.name, text.name, sql, params)


def _header(text: TextFile) -> tuple[tuple[str, ...], str]:
    first = text.head().lstrip("\r\n").splitlines()
    line = first[0] if first else ""
    if not line.strip():
        raise DeliveryError(
            f"{text.name} is empty: it has no header", hint="The first line must hold the column names."
        )
    delimiter = max(_DELIMITERS, key=line.count)
    return tuple(next(csv.reader([line], delimiter=delimiter))), delimiter


def _selected(table: Table, file: str, names: Sequence[str]) -> dict[str, str]:
    """The table's columns that the file has: contract name to the name in the file."""
    found: dict[str, str] = {}
    for raw in names:
        name = _clean(raw)
        if name in found:
            raise DeliveryError(f"{file} has the column {name} twice", hint="Leave one of the two out.")
        if name in table.names:
            found[name] = raw
    return found


def _clean(name: str) -> str:
    return name.strip().lstrip("\ufeff").lower()
