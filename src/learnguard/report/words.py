"""The report's own words in Chinese and English, read from ``words.toml``."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Final, Literal, cast

Lang = Literal["zh", "en"]
LANGS: Final[tuple[Lang, ...]] = ("zh", "en")

_Words = dict[str, dict[str, dict[str, str]]]


@functools.cache
def _words() -> _Words:
    text = resources.files("learnguard.report").joinpath("words.toml").read_text(encoding="utf-8")
    return cast(_Words, tomllib.loads(text))


def _said(section: str, lang: Lang) -> dict[str, str]:
    return {key: pair[lang] for key, pair in _words()[section].items()}


def texts(lang: Lang) -> dict[str, str]:
    """Every text of the page in ``lang``."""
    return _said("text", lang)


def reason_title(reason: str, lang: Lang) -> str:
    """The title of a reason that has no detector in the run (its id where no title is known)."""
    return _said("reason", lang).get(reason, reason)


def change_title(key: str, lang: Lang) -> str:
    """What a count of a re-run's ``changes`` is called."""
    return _said("change", lang).get(key, key.replace("_", " "))


def column_meanings(lang: Lang) -> dict[str, str]:
    """What the contract's columns mean, by name."""
    return _said("column", lang)


def fact_words(lang: Lang) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Names of facts, text values by ``fact.value``, and the parts that unknown names are put together from."""
    return _said("fact", lang), _said("choice", lang), _said("part", lang)
