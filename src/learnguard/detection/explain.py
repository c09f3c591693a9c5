"""Explanations: templates over a finding's facts, compiled to SQL.

``{fact}`` stands for a fact, ``{fact|filter}`` for how it is shown; dots reach into nested facts. Filters:
``minutes`` and ``hours`` (of seconds), ``percent`` (of a share), ``number``, ``time`` and ``date`` (in the reader's
zone). A fact that is null reads 未记录 / not logged. The text is plain: escaping is left to who shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from learnguard.detection.model import Bilingual, Lang
from learnguard.errors import PackError

if TYPE_CHECKING:
    import duckdb

_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_FACT: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
FILTERS: Final = ("minutes", "hours", "percent", "number", "time", "date")

_MACROS: Final = (
    "shown_number(x) AS rtrim(rtrim(format('{:.2f}', CAST(x AS DOUBLE)), '0'), '.')",
    # Below ten the first decimal matters to a reader, above it does not.
    """shown_amount(x) AS CASE WHEN x < 10 THEN rtrim(rtrim(format('{:.1f}', CAST(x AS DOUBLE)), '0'), '.')
        ELSE format('{:.0f}', CAST(x AS DOUBLE)) END""",
)
_FORMATS: Final[Mapping[tuple[str, str], str]] = {
    ("time", "zh"): "%-m月%-d日 %H:%M",
    ("time", "en"): "%-d %b %H:%M",
    ("date", "zh"): "%Y年%-m月%-d日",
    ("date", "en"): "%-d %b %Y",
}
_MISSING: Final[Mapping[str, str]] = {"zh": "未记录", "en": "not logged"}


@dataclass(frozen=True, slots=True)
class Compiled:
    """An SQL expression of type VARCHAR over a struct column ``facts``, and the values it binds by name."""

    sql: str
    params: dict[str, object]


def install_macros(con: duckdb.DuckDBPyConnection) -> None:
    """Define on ``con`` the macros that compiled explanations use."""
    for macro in _MACROS:
        con.execute(f"CREATE OR REPLACE TEMP MACRO {macro}")


def placeholders(template: str) -> list[tuple[str, str]]:
    """The (fact, filter) pairs of ``template``; filter is empty where none is named.

    Raises PackError on a malformed placeholder, a stray brace or an unknown filter.
    """
    found = []
    for inner in _PLACE.findall(template):
        fact, _, filter_ = inner.partition("|")
        if not _FACT.fullmatch(fact) or (filter_ and filter_ not in FILTERS) or ("|" in inner and not filter_):
            raise PackError(
                f"placeholder {{{inner}}} is not known", hint="Use {fact} or {fact|" + "|".join(FILTERS) + "}."
            )
        found.append((fact, filter_))
    if set(_PLACE.sub("", template)) & {"{", "}"}:
        raise PackError(f"stray brace in {template!r}", hint="A placeholder is {fact} or {fact|filter}.")
    return found


def compile_explain(
    explain: Mapping[str, Bilingual], lang: Lang, *, known: Mapping[str, object] | None = None
) -> Compiled:
    """SQL that yields the explanation in ``lang``; with several variants ``facts.variant`` chooses.

    The parameter ``timezone`` must be bound by the caller as well. ``known`` holds the names of the facts (nested
    mappings for nested facts): a placeholder outside it raises PackError.
    """
    params: dict[str, object] = {}
    cases = []
    for variant, texts in explain.items():
        pieces = _concat(texts.text(lang), lang, params, known)
        if not variant:
            return Compiled(pieces, params)
        name = f"{lang}{len(params)}"
        params[name] = variant
        cases.append(f"WHEN ${name} THEN {pieces}")
    return Compiled(f"CASE facts.variant {' '.join(cases)} END", params)


def _concat(template: str, lang: Lang, params: dict[str, object], known: Mapping[str, object] | None) -> str:
    pieces, end = [], 0
    facts = placeholders(template)
    for match, (fact, filter_) in zip(_PLACE.finditer(template), facts, strict=True):
        if known is not None:
            _require(fact, known)
        pieces.append(_bind(template[end : match.start()], lang, params))
        pieces.append(_shown(fact, filter_, lang, params))
        end = match.end()
    pieces.append(_bind(template[end:], lang, params))
    return f"concat({', '.join(pieces)})"


def _bind(value: str, lang: Lang, params: dict[str, object]) -> str:
    name = f"{lang}{len(params)}"
    params[name] = value
    return f"CAST(${name} AS VARCHAR)"


def _shown(fact: str, filter_: str, lang: Lang, params: dict[str, object]) -> str:
    value = "facts." + ".".join(f'"{part}"' for part in fact.split("."))
    if filter_ in {"time", "date"}:
        # strftime takes a constant only; these formats are our own.
        shown = f"strftime({value} AT TIME ZONE $timezone, '{_FORMATS[filter_, lang]}')"
    else:
        shown = {
            "minutes": f"shown_amount({value} / 60)",
            "hours": f"shown_amount({value} / 3600)",
            "percent": f"shown_amount({value} * 100) || '%'",
            "number": f"shown_number({value})",
            "": f"CAST({value} AS VARCHAR)",
        }[filter_]
    return f"coalesce({shown}, {_bind(_MISSING[lang], lang, params)})"


def _require(fact: str, known: Mapping[str, object]) -> None:
    level: object = known
    for part in fact.split("."):
        if not isinstance(level, Mapping) or part not in level:
            raise PackError(f"the explanation names {{{fact}}}, but the facts have no such field", hint="Name a fact.")
        level = level[part]
