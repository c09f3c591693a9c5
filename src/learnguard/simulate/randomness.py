"""Named streams of random numbers: one seed, and no concern disturbs another's draws."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def stream(seed: int, name: str) -> np.random.Generator:
    """The generator of ``name`` under ``seed``: the same pair always gives the same numbers."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def positions_within(counts: Ints) -> Ints:
    """0, 1, … within each run of a table in which row ``i`` was repeated ``counts[i]`` times."""
    starts = np.cumsum(counts) - counts
    return np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(starts, counts)
