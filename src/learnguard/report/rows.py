"""Rows out of DuckDB, and JSON columns out of rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import duckdb


def fetch(con: duckdb.DuckDBPyConnection, sql: str, bound: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
    """The rows of ``sql`` as dicts, in order. For what people will read, never for a whole log."""
    result = con.execute(sql, dict(bound or {}))
    names = [d[0] for d in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def json_object(text: str | None) -> dict[str, Any]:
    """A JSON object column (empty for null). Raises json.JSONDecodeError on broken text."""
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}


def json_list(text: str | None) -> list[Any]:
    """A JSON list column (empty for null). Raises json.JSONDecodeError on broken text."""
    value = json.loads(text) if text else []
    return value if isinstance(value, list) else []
