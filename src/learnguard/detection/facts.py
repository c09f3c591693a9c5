"""Facts of a finding: a STRUCT of any shape, made tidy for hashing, explaining and printing.

``kind`` below is a DuckDB type object of the Python client (``relation.types``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def tree(kind: Any) -> Mapping[str, object]:
    """The field names of a STRUCT: nested mappings for nested STRUCTs, None for the rest."""
    return {name: tree(child) if child.id == "struct" else None for name, child in kind.children}


def tidy(expression: str, kind: Any, *, places: int) -> str:
    """SQL for ``expression`` with every inexact number as DOUBLE rounded to ``places``, and every count as BIGINT."""
    inexact = f"round(CAST({{}} AS DOUBLE), {places})"
    shapes = {"double": inexact, "float": inexact, "decimal": inexact, "hugeint": "CAST({} AS BIGINT)"}
    return _mapped(expression, kind, shapes)


def printable(expression: str, kind: Any) -> str:
    """SQL for ``expression`` with every instant as ISO 8601 text in UTC, whatever zone the session is in."""
    return _mapped(
        expression, kind, {"timestamp with time zone": "strftime({} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ')"}
    )


def _mapped(expression: str, kind: Any, shapes: Mapping[str, str]) -> str:
    if kind.id == "struct":
        fields = [(name, _mapped(f'{expression}."{name}"', child, shapes)) for name, child in kind.children]
        return "struct_pack(" + ", ".join(f'"{name}" := {value}' for name, value in fields) + ")"
    return shapes.get(kind.id, "{}").format(expression)
