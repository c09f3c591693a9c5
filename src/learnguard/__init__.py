"""LearnGuard checks the learning logs behind training subsidies.

It takes deliveries of session logs into a Parquet lake, runs detectors over them with DuckDB, and flags records whose
logs contradict them, so that their subsidy waits until a person has decided. Four names are public here::

    open_store(path)          a DuckDB connection over everything in a store
    load_detectors()          the detectors, as data
    run(path, date)           assess what arrived, publish findings and decisions
    score(tables)             assess one learner's rows now, storing nothing
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learnguard.public import load_detectors, open_store, run, score

__all__ = ["load_detectors", "open_store", "run", "score"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: importing learnguard starts no engine and reads no file.
    if name in __all__:
        from learnguard import public  # noqa: PLC0415 - see above

        return getattr(public, name)
    raise AttributeError(f"module 'learnguard' has no attribute {name!r}")
