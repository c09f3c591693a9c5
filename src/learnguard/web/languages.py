"""Which language an answer speaks."""

from __future__ import annotations

import re
from typing import Final

from learnguard.report.words import LANGS, Lang

_ENTRY: Final = re.compile(r"\s*([a-zA-Z*]{1,8})(?:-[a-zA-Z0-9-]*)?\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?))?\s*")


def preferred(accept: str | None, default: str) -> Lang:
    """The language that an ``Accept-Language`` header likes best among ours; ``default`` where it names none."""
    fallback: Lang = "en" if default == "en" else "zh"
    best, best_weight = fallback, 0.0
    for part in (accept or "").split(","):
        entry = _ENTRY.fullmatch(part)
        if entry is None:
            continue
        weight = float(entry[2]) if entry[2] else 1.0
        named = entry[1].lower()
        for lang in LANGS:
            if weight > best_weight and (named == lang or (named == "*" and lang == fallback)):
                best, best_weight = lang, weight
    return best
