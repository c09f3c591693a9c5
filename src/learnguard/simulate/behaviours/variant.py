"""The shape of a behaviour's variant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from learnguard.simulate.study import Study

Expand = Callable[[pl.DataFrame, np.random.Generator], Study]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which a behaviour is shown.

    ``behaviour`` is the detector's name; ``platforms`` where it can happen and ``observable_on`` where the
    platform's log can show it; ``choice`` which lessons it takes: ``any`` of them by chance, a ``run`` of lessons in
    one go, ``all`` of them in one go, or ``none``; ``at_once`` how many go together and
    ``at_least`` how many are taken at the least; ``expand`` makes the study out
    of the chosen tasks (None: the learning itself is honest); ``also`` names the other detectors that the same
    evidence rightly concerns; ``is_alone`` asks for a person with one record, ``is_at_home`` for one outside the
    training rooms, ``ends_early`` for one who is done before the last day, ``start_hour`` for one who
    begins then.
    """

    behaviour: str
    name: str
    platforms: tuple[str, ...]
    observable_on: tuple[str, ...]
    choice: Literal["any", "run", "all", "none"]
    expand: Expand | None = None
    at_once: int = 1
    at_least: int = 1
    also: tuple[str, ...] = ()
    is_alone: bool = False
    is_at_home: bool = False
    ends_early: bool = False
    start_hour: float | None = None
