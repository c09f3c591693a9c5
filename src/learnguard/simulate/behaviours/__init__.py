"""What some learners do that contradicts their records, one file per behaviour.

Every variant turns the lessons chosen for it into stretches and marks, and says itself what it takes out of the
record: truth comes from what was injected, never from a detector.
"""

from __future__ import annotations

from typing import Final

from learnguard.simulate.behaviours import background, completion, concurrent, idle, registration, skipping
from learnguard.simulate.behaviours.variant import Variant

VARIANTS: Final[tuple[Variant, ...]] = (
    *concurrent.VARIANTS,
    *background.VARIANTS,
    *skipping.VARIANTS,
    *idle.VARIANTS,
    *completion.VARIANTS,
    *registration.VARIANTS,
)

__all__ = ["VARIANTS", "Variant"]
