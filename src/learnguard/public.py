"""The public face: four functions for notebooks and other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnguard import pipeline
from learnguard.detection.packs import load_packs
from learnguard.opening import open_store
from learnguard.settings import load_settings

if TYPE_CHECKING:
    from learnguard.detection.model import Detector

__all__ = ["load_detectors", "open_store", "run", "score"]


def load_detectors(roots: Sequence[Path] | None = None) -> tuple[Detector, ...]:
    """The shipped detectors, or those in the pack folders ``roots``. PackError names a faulty file and key."""
    return load_packs(roots)


def run(path: Path | str, run_date: date) -> pipeline.RunOutcome:
    """Assess what had arrived in the store at ``path`` by the end of ``run_date``, and publish it."""
    return pipeline.run(load_settings(store=Path(path)), run_date)


def score(tables: Mapping[str, Sequence[Mapping[str, Any]]], *, path: Path | str | None = None) -> dict[str, Any]:
    """Findings and decisions for rows of the contract's tables, now; nothing is stored.

    ``tables``: table name to rows; ``path``: a store whose identity key is used, so that pseudonyms agree with it.
    """
    return pipeline.score(load_settings(store=None if path is None else Path(path)), tables)
