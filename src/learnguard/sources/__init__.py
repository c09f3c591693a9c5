"""Sources: what foreign files say, as rows of the contract's tables.

A source is found by entry point (group ``learnguard.sources``); two are built in: ``contract`` (files named
after the contract's tables) and ``xapi`` (xAPI statements: Video Profile and cmi5).

    delivery = open_delivery(path, workdir=workdir)
    source = find_source("xapi") if asked else guess_source(delivery.files)
    reading = source.extracts(delivery, con=con, workdir=workdir, platform_id=platform_id)
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Final, cast

from learnguard.errors import DeliveryError
from learnguard.sources import contract, xapi
from learnguard.sources.delivery import DeliveredFile, DeliveryFiles, open_delivery
from learnguard.sources.reading import Reading, Source

GROUP: Final = "learnguard.sources"
_BUILT_IN: Final = ("contract", "xapi")


def sources() -> dict[str, Source]:
    """Every installed source by name, the built-in ones first."""
    found: dict[str, Source] = {s.name: s for s in (contract.SOURCE, xapi.SOURCE)}
    for point in entry_points(group=GROUP):
        if point.name not in _BUILT_IN:
            found[point.name] = cast(Source, point.load())
    return found


def find_source(name: str) -> Source:
    """The source called ``name``; DeliveryError naming the known ones when there is none."""
    known = sources()
    if name not in known:
        raise DeliveryError(
            f"there is no source mapping called {name!r}", hint="Known: " + ", ".join(sorted(known)) + "."
        )
    return known[name]


def guess_source(files: Iterable[DeliveredFile]) -> Source:
    """The source that reads most of ``files`` (the earlier one of equals); DeliveryError when none reads any."""
    files = tuple(files)
    counts = [(sum(s.recognises(f) for f in files), s) for s in sources().values()]
    best, source = max(counts, key=lambda c: c[0])
    if not best:
        names = ", ".join(f.name for f in files[:5]) + (" …" if len(files) > 5 else "")
        raise DeliveryError(
            f"no file of the delivery is named after a table or holds statements: {names}",
            hint="Name files after their table (events.csv, roster-2026.xlsx), or name the source mapping.",
        )
    return source


__all__ = [
    "DeliveredFile",
    "DeliveryFiles",
    "Reading",
    "Source",
    "find_source",
    "guess_source",
    "open_delivery",
    "sources",
]
