"""Learners who are not in the authority's registry, or came into it after their training."""

from __future__ import annotations

from typing import Final

from learnguard.simulate.behaviours.variant import Variant

_ALL: Final = ("muke", "zhangxue", "peixun")
MISSING: Final = "missing"
AFTER_COMPLETION: Final = "after_completion"
VARIANTS: Final = (
    Variant("unregistered_trainee", MISSING, _ALL, _ALL, "none", is_alone=True),
    Variant(
        "unregistered_trainee",
        AFTER_COMPLETION,
        _ALL,
        _ALL,
        "none",
        is_alone=True,
        is_at_home=True,
        ends_early=True,
        start_hour=9.0,
    ),
)
