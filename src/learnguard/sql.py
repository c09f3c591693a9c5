"""Run the SQL files that ship beside a module: statement by statement, each with the parameters that it names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb

_PARAMETER: Final = re.compile(r"\$([a-z_][a-z0-9_]*)")
_COMMENT: Final = re.compile(r"[ \t]*--[^\n]*")


def statements(package: str, name: str) -> list[str]:
    """The statements of the SQL file ``name`` in ``package``, without comments.

    Each ends with a semicolon at a line's end; the files hold no ``--`` inside a string.
    """
    text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    return [s for s in (part.strip() for part in (_COMMENT.sub("", text) + "\n").split(";\n")) if s]


def run_file(con: duckdb.DuckDBPyConnection, package: str, name: str, values: Mapping[str, object]) -> None:
    """Execute every statement of the file on ``con``; ``values`` may hold more names than a statement uses."""
    for statement in statements(package, name):
        named = set(_PARAMETER.findall(statement))
        con.execute(statement, {k: v for k, v in values.items() if k in named})
