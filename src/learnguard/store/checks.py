"""The contract's rules as SQL: a SELECT over an extract that types every value and names what is wrong.

``checked(...)`` gives one SELECT with the lake's columns, ``_row``, ``_fail`` (null: the row is good; 0: the row
could not be read, ``_error`` says why; n: the n-th check failed first) and ``_json`` (the failed row as delivered,
personal data masked). A column that is not asked for costs nothing: DuckDB does not read it.

An extract may leave out ``_row``: then its rows are numbered by their order, from ``_first`` on (a column with one
value); a row whose ``_skip`` is true (a blank line) takes a number and is no row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from learnguard.schema import DELIVERED, PERSONAL, Column, Extract, Table, lake_columns
from learnguard.store import identity

MISSING: Final = "missing"
NOT_TIME: Final = "not an ISO 8601 time"
TIME_RANGE: Final = "a time outside the years 1990 to 2100"
NOT_NUMBER: Final = "not a number"
NOT_INTEGER: Final = "not a whole number"
NOT_BOOLEAN: Final = "neither true nor false"
NOT_MONEY: Final = "not an amount in yuan with at most two decimals"
TOO_LOW: Final = "below the lowest value allowed"
TOO_HIGH: Final = "above the highest value allowed"
NO_CHOICE: Final = "not one of the values allowed"
ORDER: Final = "ends before it begins"
EITHER: Final = "neither learner_id nor id_number is given"
ID_FORM: Final = "not an identity number of 18 characters"
ID_BIRTH: Final = "the date of birth in the number is impossible"
ID_DIGIT: Final = "the check digit of the number is wrong"

#: Columns in which a platform may put the identity number itself as its account name.
_MAY_HOLD_ID: Final = ("account_id", "learner_id", "facilitator_id")
_EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_TEXT: Final = "VARCHAR"
_TRUE: Final = ("true", "t", "1", "yes", "y", "是")
_FALSE: Final = ("false", "f", "0", "no", "n", "否")
_NUMERIC: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
#: ISO 8601 forms that the engine's own cast does not take: basic form, comma, zone after minutes.
_ISO: Final = (
    r"^\s*([0-9]{4})[-/]?([0-9]{2})[-/]?([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]+))?)?\s*([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?\s*$"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One rule: the column it concerns, its reason in words, and SQL that is true where it is broken."""

    column: str
    reason: str
    broken: str


@dataclass(frozen=True, slots=True)
class Checked:
    """An extract with the contract's rules applied: ``sql`` with ``params``, and the ``checks`` behind ``_fail``.

    ``types`` are the delivered columns' types; ``is_typed``: no value needs parsing, so the file can be read twice.
    """

    extract: Extract
    table: Table
    sql: str
    params: Mapping[str, object]
    checks: tuple[Check, ...]
    types: Mapping[str, str]

    @property
    def is_typed(self) -> bool:
        """Whether this is a Parquet file without personal numbers."""
        return self.extract.parquet and not set(PERSONAL) & set(self.types)


def checked(
    extract: Extract, types: Mapping[str, str], *, platform_id: str | None, key: bytes, holds_ids: bool = True
) -> Checked:
    """The rules of ``extract``'s table over its columns of the given DuckDB ``types``.

    ``platform_id`` fills empty platform columns. ``holds_ids``: account names may be identity numbers and are
    looked at one by one.
    """
    table = DELIVERED[extract.table]
    given = {n: t for n, t in types.items() if n in table.names}
    params: dict[str, object] = dict(extract.params)
    values: list[str] = []
    checks: list[Check] = []
    number = 'v."_id"'
    for column in table.columns:
        name = column.name
        if name in PERSONAL:
            values.append(
                f"{identity.normal_sql(_raw(name))} AS _id" if name in given else "CAST(NULL AS VARCHAR) AS _id"
            )
            checks += [
                Check(name, ID_FORM, identity.length_sql(number)),
                Check(name, ID_BIRTH, identity.birth_sql(number)),
                Check(name, ID_DIGIT, identity.check_digit_sql(number)),
            ] * (name in given)
            continue
        value, own = _column(column, given.get(name), platform_id)
        values.append(f'{value} AS "{name}"')
        if column.required:
            checks.append(Check(name, MISSING, _is_empty(name, given, platform_id)))
        checks += own
    checks += [Check(group[0], EITHER, " AND ".join(_absent(c) for c in group)) for group in table.either]
    checks += [Check(end, ORDER, f'v."{end}" < v."{start}"') for start, end in table.ordered]
    if platform_id is not None:
        params["platform"] = platform_id
    looked_at = [c for c in _MAY_HOLD_ID if c in given] if holds_ids else []
    error, row, first, skip = (
        f"r.{name}" if name in types else absent
        for name, absent in (
            ("_error", "CAST(NULL AS VARCHAR)"),
            ("_row", "CAST(NULL AS BIGINT)"),
            ("_first", "CAST(NULL AS BIGINT)"),
            ("_skip", "false"),
        )
    )
    fails = " ".join(f"WHEN {c.broken} THEN {i}" for i, c in enumerate(checks, 1))
    output = ", ".join(f'{_final(c.name, table, looked_at, number)} AS "{c.name}"' for c in lake_columns(table.name))
    fail = f"CASE WHEN v._error IS NOT NULL THEN 0 {fails} END"
    sql = (
        f"SELECT {output}, v._row AS _row, v._first AS _first, v._skip AS _skip, "
        "v._error AS _error, v._fail AS _fail, "
        f"CASE WHEN v._fail > 0 THEN {_row_json(table, given)} END AS _json FROM ("
        f"SELECT *, CAST({fail} AS SMALLINT) AS _fail FROM ("
        f"SELECT {row} AS _row, {first} AS _first, {skip} AS _skip, {error} AS _error, "
        f"{', '.join(values)}{_raws(given)} FROM ({extract.sql}) AS r"
        ") AS v) AS v"
    )
    params |= {"earliest": _EARLIEST, "latest": _LATEST, "today": identity.today(), **identity.key_parameters(key)}
    used = set(re.findall(r"\$([a-z_]+)", sql))
    return Checked(extract, table, sql, {k: v for k, v in params.items() if k in used}, tuple(checks), given)


def _raw(name: str) -> str:
    return f'r."{name}"'


def _raws(given: Mapping[str, str]) -> str:
    return "".join(f', r."{n}" AS "raw_{n}"' for n in given)


def _absent(name: str) -> str:
    return "v._id IS NULL" if name in PERSONAL else f'v."{name}" IS NULL'


def _is_empty(name: str, given: Mapping[str, str], platform_id: str | None) -> str:
    """Nothing was delivered: what was, but could not be parsed, is another check's."""
    if name not in given or (name == "platform_id" and platform_id):
        return f'v."{name}" IS NULL'
    if given[name] == _TEXT:
        return f"""coalesce(trim(v."raw_{name}"), '') = ''"""
    return f'v."raw_{name}" IS NULL'


def _column(column: Column, sql_type: str | None, platform_id: str | None) -> tuple[str, list[Check]]:
    """SQL of the typed value over ``r``, and the column's own checks over ``v``."""
    if sql_type is None:
        value = "CAST($platform AS VARCHAR)" if column.name == "platform_id" and platform_id else "NULL"
        return (value if value != "NULL" else f"CAST(NULL AS {column.sql_type})"), []
    raw, out, was = _raw(column.name), f'v."{column.name}"', f'v."raw_{column.name}"'
    is_text = sql_type == _TEXT
    given = f"coalesce(trim({was}), '') <> ''" if is_text else f"{was} IS NOT NULL"
    checks: list[Check] = []
    match column.kind:
        case "time":
            value = _time(raw, sql_type)
            checks += [
                Check(column.name, NOT_TIME, f"{out} IS NULL AND {given}"),
                Check(column.name, TIME_RANGE, f"NOT ({out} >= $earliest AND {out} < $latest)"),
            ]
        case "number" | "integer":
            value = _number(raw, sql_type, whole=column.kind == "integer")
            word = NOT_INTEGER if column.kind == "integer" else NOT_NUMBER
            checks.append(Check(column.name, word, f"({out} IS NULL AND {given})" + _not_finite(out, column, sql_type)))
        case "money":
            value = _money(raw, sql_type)
            checks.append(Check(column.name, NOT_MONEY, f"{out} IS NULL AND {given}"))
        case "boolean":
            value = _boolean(raw, sql_type)
            checks.append(Check(column.name, NOT_BOOLEAN, f"{out} IS NULL AND {given}"))
        case _:
            value = _text(raw, sql_type, column)
            if column.choices:
                allowed = ", ".join(f"'{c}'" for c in column.choices)
                checks.append(Check(column.name, NO_CHOICE, f"{out} NOT IN ({allowed})"))
    if column.low is not None:
        checks.append(Check(column.name, TOO_LOW, f"{out} < {column.low:g}"))
    if column.high is not None:
        checks.append(Check(column.name, TOO_HIGH, f"{out} > {column.high:g}"))
    if column.name == "platform_id" and platform_id:
        value = f"coalesce(nullif({value}, ''), CAST($platform AS VARCHAR))"
    return value, checks


def _text(raw: str, sql_type: str, column: Column) -> str:
    text = raw if sql_type == _TEXT else f"CAST({raw} AS VARCHAR)"
    if column.choices:
        text = f"lower(trim({text}))"
    elif column.required:
        # Empty is a failure of its own. The bare column lets Parquet's statistics skip what another platform's is.
        return text
    return f"nullif({text}, '')"


def _time(raw: str, sql_type: str) -> str:
    if sql_type == "TIMESTAMP WITH TIME ZONE":
        return raw
    if sql_type.startswith("TIMESTAMP") or sql_type == "DATE":
        # The connection's zone is the delivery's while a file is read.
        return f"CAST(CAST({raw} AS TIMESTAMP) AS TIMESTAMPTZ)"
    if sql_type != _TEXT:
        return "CAST(NULL AS TIMESTAMPTZ)"
    parts = f"regexp_extract({raw}, '{_ISO}', ['y', 'mo', 'd', 'h', 'mi', 's', 'f', 'z'])"
    other = (
        f"list_transform([{parts}], lambda p: CASE WHEN p.y <> '' THEN concat(p.y, '-', p.mo, '-', p.d, ' ', "
        "CASE WHEN p.h = '' THEN '00:00' ELSE concat(p.h, ':', p.mi) END, ':', "
        "CASE WHEN p.s = '' THEN '00' ELSE p.s END, CASE WHEN p.f = '' THEN '' ELSE concat('.', p.f) END, "
        "upper(p.z)) END)[1]"
    )
    return f"coalesce(TRY_CAST({raw} AS TIMESTAMPTZ), TRY_CAST({other} AS TIMESTAMPTZ))"


def _is_numeric(sql_type: str) -> bool:
    return sql_type.startswith(_NUMERIC) or sql_type.removeprefix("U").startswith(_NUMERIC)


def _number(raw: str, sql_type: str, *, whole: bool) -> str:
    if sql_type != _TEXT and not _is_numeric(sql_type):
        return f"CAST(NULL AS {'BIGINT' if whole else 'DOUBLE'})"
    number = f"TRY_CAST(trim({raw}) AS DOUBLE)" if sql_type == _TEXT else f"CAST({raw} AS DOUBLE)"
    if not whole:
        return number
    # A cast of its own would round 1.5 to 2.
    return f"CASE WHEN {number} = trunc({number}) AND abs({number}) < 9e15 THEN TRY_CAST({number} AS BIGINT) END"


def _not_finite(out: str, column: Column, sql_type: str) -> str:
    if column.kind == "integer" or (_is_numeric(sql_type) and sql_type not in {"FLOAT", "DOUBLE"}):
        return ""
    return f" OR NOT isfinite({out})"


def _money(raw: str, sql_type: str) -> str:
    if sql_type in {"FLOAT", "DOUBLE"}:
        rounded = f"TRY_CAST(round({raw}, 2) AS DECIMAL(14,2))"
        return f"CASE WHEN abs(round({raw}, 2) - {raw}) < 1e-6 THEN {rounded} END"
    if sql_type != _TEXT and not _is_numeric(sql_type):
        return "CAST(NULL AS DECIMAL(14,2))"
    exact = f"TRY_CAST({f'trim({raw})' if sql_type == _TEXT else raw} AS DECIMAL(24,8))"
    return f"CASE WHEN {exact} = round({exact}, 2) THEN TRY_CAST({exact} AS DECIMAL(14,2)) END"


def _boolean(raw: str, sql_type: str) -> str:
    if sql_type == "BOOLEAN":
        return raw
    text = f"lower(trim(CAST({raw} AS VARCHAR)))"
    true, false = (", ".join(f"'{w}'" for w in words) for words in (_TRUE, _FALSE))
    return f"CASE WHEN {text} IN ({true}) THEN true WHEN {text} IN ({false}) THEN false END"


def _final(name: str, table: Table, looked_at: Sequence[str], number: str) -> str:
    """SQL of a lake column over ``v``: identity numbers leave as pseudonyms."""
    if name == "id_masked":
        return identity.mask_sql(number)
    if name == "logged_ts":
        return "CAST(NULL AS TIMESTAMPTZ)"
    value = f'v."{name}"'
    if name in looked_at:
        # The length alone lets nearly all pass without a closer look.
        normal = f"CASE WHEN length({value}) = 18 THEN {identity.normal_sql(value)} END"
        value = f"CASE WHEN {identity.valid_sql(normal)} THEN {identity.pseudonym_sql(normal)} ELSE {value} END"
    if name == "learner_id" and set(PERSONAL) & set(table.names):
        return f"CASE WHEN {number} IS NOT NULL THEN {identity.pseudonym_sql(number)} ELSE {value} END"
    return value


def _row_json(table: Table, given: Mapping[str, str]) -> str:
    """SQL: the row as delivered, with personal data masked."""
    pairs = []
    for name in given:
        text = f'CAST(v."raw_{name}" AS VARCHAR)'
        if name in PERSONAL:
            text = identity.mask_sql("v._id")
        elif name == "phone":
            text = f"CASE WHEN length({text}) >= 7 THEN left({text}, 3) || '****' || right({text}, 2) ELSE '***' END"
        elif name == "name" and table.name == "roster":
            text = f"left({text}, 1) || '**'"
        pairs.append(f"'{name}', {text}")
    return identity.redact_sql(f"CAST(json_object({', '.join(pairs)}) AS VARCHAR)") if pairs else "'{}'"
