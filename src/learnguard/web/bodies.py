"""Reading a request's body: never more than the limit, and only of the agreed shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import Request

from learnguard.schema import DELIVERED, Column
from learnguard.web.problems import Problem

LIMIT: Final = 16 * 1024 * 1024
"""Bytes of a body at the most."""

Cell = str | int | float | bool | None

#: One optional field per delivered table, so that an error names the table, and a table of another name is one.
_Tables = msgspec.defstruct(
    "_Tables",
    [(name, list[dict[str, Cell]] | msgspec.UnsetType, msgspec.UNSET) for name in DELIVERED],
    forbid_unknown_fields=True,
)
_Request = msgspec.defstruct("_Request", [("tables", _Tables)], forbid_unknown_fields=True)

Tables = dict[str, list[dict[str, Any]]]


async def read_body(request: Request, *, limit: int = LIMIT) -> bytes:
    """The body of ``request``, JSON by its own word and not compressed. Raises Problem 413 and 415, the former before
    more than ``limit`` bytes are held."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(
            "media-type",
            "请以 Content-Type: application/json 发送未压缩的 JSON。",
            "Send plain JSON with Content-Type: application/json, not compressed.",
        )
    too_large = Problem(
        "too-large",
        f"上限为 {limit // 1024**2} MB。请分批提交，或作为一次数据交付导入。",
        f"The limit is {limit // 1024**2} MB. Send it in parts, or ingest it as a delivery.",
    )
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def decode_tables(body: bytes) -> Tables:
    """Tables by name from ``{"tables": {…}}``. Raises Problem 400 where it is not JSON, 422 where a type is another."""
    try:
        asked = msgspec.json.decode(body, type=_Request)
    except msgspec.ValidationError as error:
        raise Problem(
            "wrong-shape",
            f'正文应为 {{"tables": {{"events": [{{…}}], …}}}}，单元格为文本、数字、真假或空。问题：{error}',
            f'The body must be {{"tables": {{"events": [{{…}}], …}}}}, cells text, number, boolean or null: {error}',
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("not-json", f"请检查正文：{error}", f"Check the body: {error}") from None
    tables = msgspec.structs.asdict(asked)["tables"]
    found = ((name, getattr(tables, name)) for name in DELIVERED)
    return {name: rows for name, rows in found if rows is not msgspec.UNSET}


_JSON_TYPE: Final[Mapping[str, dict[str, Any]]] = {
    "text": {"type": "string"},
    "time": {"type": "string", "format": "date-time"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "money": {"type": "string", "description": "yuan, decimal"},
    "json": {"type": "string"},
    "date": {"type": "string", "format": "date"},
}


def _cell(column: Column) -> dict[str, Any]:
    cell = dict(_JSON_TYPE[column.kind])
    if column.doc:
        cell["description"] = column.doc
    if column.choices:
        cell["enum"] = list(column.choices)
    for key, bound in (("minimum", column.low), ("maximum", column.high)):
        if bound is not None and cell["type"] in {"number", "integer"}:
            cell[key] = bound
    return cell


def request_schemas() -> dict[str, Any]:
    """JSON schemas of the body of a scoring request, by name: ``ScoreRequest`` and one ``Row_<table>`` per table."""
    rows = {
        f"Row_{table.name}": {
            "type": "object",
            "title": table.name,
            "description": table.doc,
            "required": [c.name for c in table.columns if c.required],
            "properties": {c.name: _cell(c) for c in table.columns},
        }
        for table in DELIVERED.values()
    }
    tables = {n: {"type": "array", "items": {"$ref": f"#/components/schemas/Row_{n}"}} for n in DELIVERED}
    request = {
        "type": "object",
        "title": "ScoreRequest",
        "description": "Rows of the contract's tables. A missing table or column means not observed, never fine.",
        "required": ["tables"],
        "additionalProperties": False,
        "properties": {"tables": {"type": "object", "additionalProperties": False, "properties": tables}},
    }
    return {"ScoreRequest": request, **rows}
