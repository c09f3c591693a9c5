"""Values are bound, never written into SQL: every piece of SQL text made at run time has been looked at.

A lint, on purpose a simple one. It finds f-strings, ``+`` and ``.format`` that put names into text with SQL keywords,
and holds each interpolated expression against ``sql_interpolations.toml``: by file, the expressions and why they may
stand there. Only identifiers from ``schema.py``, SQL made by the program itself, and paths that the program named
(quoted) belong there. Never what a person or a delivery said: bind that as ``$name``. Names in capitals are constants
and need no entry.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import learnguard
from learnguard.sql import statements

PACKAGE = Path(learnguard.__file__).parent
ALLOWED = tomllib.loads(Path(__file__).with_name("sql_interpolations.toml").read_text(encoding="utf-8"))
#: What nothing but SQL writes in capitals.
SQL = re.compile(
    r"\b(SELECT|INSERT INTO|CREATE|DROP TABLE|ATTACH|DETACH|COPY|ALTER TABLE|UPDATE \w+ SET|DELETE FROM|FROM|WHERE|JOIN"
    r"|QUALIFY|UNION|GROUP BY|ORDER BY|CAST|CASE|IS NOT NULL|EXCLUDE|SET \w+ ?=)(?!\w)"
)
#: A constant of a module: written in the code, by its name in capitals.
CONSTANT = re.compile(r"(\w+\.)*_*[A-Z][A-Z0-9_]*(\[-?\d+\])?")


def _text(node: ast.expr) -> str:
    """The literal text of a string expression."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return " ".join(_text(v) for v in node.values)
    if isinstance(node, ast.BinOp):
        return f"{_text(node.left)} {_text(node.right)}"
    return ""


def _names(node: ast.expr) -> Iterator[ast.expr]:
    """What is put into the text of a string expression."""
    if isinstance(node, ast.JoinedStr):
        yield from (v.value for v in node.values if isinstance(v, ast.FormattedValue))
    elif isinstance(node, ast.BinOp):
        yield from _names(node.left)
        yield from _names(node.right)
    elif not isinstance(node, ast.Constant):
        yield node


def interpolations(source: str) -> Iterator[tuple[int, str]]:
    """Line and expression of everything put into SQL text in ``source``."""
    tree = ast.parse(source)
    inner = {id(n) for b in ast.walk(tree) if isinstance(b, ast.BinOp) for n in (b.left, b.right)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            put: list[ast.expr] = [*node.args, *(k.value for k in node.keywords)]
            text = _text(node.func.value)
        elif isinstance(node, ast.JoinedStr) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)):
            if id(node) in inner:
                continue
            put, text = list(_names(node)), _text(node)
        else:
            continue
        if SQL.search(text):
            yield from ((p.lineno, ast.unparse(p)) for p in put if not isinstance(p, ast.Constant))


def _found() -> dict[str, dict[str, int]]:
    """By file: each interpolated expression that is no constant, and a line of it."""
    found: dict[str, dict[str, int]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for line, expression in interpolations(file.read_text(encoding="utf-8")):
            if not CONSTANT.fullmatch(expression):
                found.setdefault(file.relative_to(PACKAGE).as_posix(), {})[expression] = line
    return found


def test_whatever_is_put_into_sql_text_has_been_looked_at() -> None:
    new = [
        f"{file}:{line} puts {expression} into SQL"
        for file, expressions in _found().items()
        for expression, line in expressions.items()
        if expression not in ALLOWED.get(file, {"puts": []})["puts"]
    ]
    assert not new, (
        "bind values as $name; if it is an identifier or the program's own SQL, say so in sql_interpolations.toml"
    )


def test_the_list_holds_nothing_that_is_gone() -> None:
    found = _found()
    assert not [
        f"{file}: {e}" for file, entry in ALLOWED.items() for e in entry["puts"] if e not in found.get(file, {})
    ]


def test_every_entry_says_why() -> None:
    assert all(len(entry["why"]) > 20 and entry["puts"] for entry in ALLOWED.values())


@pytest.mark.parametrize(
    ("source", "expressions"),
    [
        ('con.execute(f"SELECT * FROM x WHERE name = \'{name}\'")', ["name"]),
        ('q = f"{a.b}" f" AND c = {d[0]} ORDER BY e"', ["a.b", "d[0]"]),
        ('con.execute("SELECT * FROM x WHERE name = \'" + name + "\'")', ["name"]),
        ('con.execute("SELECT {} FROM {table}".format(x, table=t))', ["x", "t"]),
        ('con.execute("SELECT * FROM x WHERE name = $name", {"name": name})', []),
        ('print(f"{name} was selected from {table}")', []),
    ],
)  # fmt: skip
def test_the_lint_sees_what_it_is_there_to_see(source: str, expressions: list[str]) -> None:
    assert [e for _, e in interpolations(source)] == expressions


def test_sql_files_are_no_templates() -> None:
    files = sorted(PACKAGE.rglob("*.sql"))
    assert len(files) > 10
    for file in files:
        bare = re.sub(r"--[^\n]*|'(?:[^']|'')*'", "", file.read_text(encoding="utf-8"))
        assert not re.search(r"\{\w*\}|%\(|\?", bare), f"{file.name} has a place to put text into"


def test_sql_files_come_apart_into_statements() -> None:
    """Also where a comment holds or ends in a semicolon, or names a parameter."""
    for package in ("learnguard.condense", "learnguard.scope"):
        for file in sorted((PACKAGE / package.split(".")[1]).glob("*.sql")):
            found = statements(package, file.name)
            assert found
            assert all(re.match(r"(CREATE OR REPLACE|INSERT INTO)\b", s) for s in found), file.name
            assert "--" not in "".join(found)


def test_a_comment_is_no_part_of_a_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd.sql").write_text("-- first;\nSELECT 1 -- $nobody;\n  + $a; -- end;\nSELECT 2", encoding="utf-8")
    monkeypatch.setattr("learnguard.sql.resources.files", lambda _: tmp_path)
    assert [s.split() for s in statements("any", "odd.sql")] == [["SELECT", "1", "+", "$a"], ["SELECT", "2"]]
