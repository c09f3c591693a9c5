"""What a source is and what it gives: the types that every mapping shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import duckdb

from learnguard.schema import Extract
from learnguard.sources.delivery import DeliveredFile, DeliveryFiles


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source found: the extracts, columns it does not know (by file), and files it left aside."""

    extracts: tuple[Extract, ...]
    unknown_columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unrecognised: tuple[str, ...] = ()


class Source(Protocol):
    """A named mapping of one format to the contract's tables."""

    @property
    def name(self) -> str:
        """The name it is asked for by."""

    def recognises(self, file: DeliveredFile) -> bool:
        """Whether it can read ``file``; looks at the name, and at the first bytes where that does not tell."""

    def extracts(
        self,
        delivery: DeliveryFiles,
        *,
        con: duckdb.DuckDBPyConnection,
        workdir: Path,
        platform_id: str | None = None,
    ) -> Reading:
        """The rows of the delivery's files, as SQL over ``con`` that is not yet run.

        Scratch files go into ``workdir``, which the caller removes. ``platform_id`` is the platform named
        by the command line or delivery.toml. Raises DeliveryError for a file that cannot be read at all.
        """
