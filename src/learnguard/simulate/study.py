"""How study is described before it becomes a log: tasks, stretches, marks and strikes.

A *task* is one lesson to be learned for one record. A *block* is what a learner does in one go: usually one task,
for some behaviours several. Habits and behaviours turn tasks into

* *stretches*: media running (or a page read) without a change of anything: block, task, ``start_s`` after the
  block's beginning, ``wall_s`` long, from ``media_from_s`` (null: no media) at ``rate`` media seconds per second;
* *marks*: single events at ``at_s`` after the block's beginning;
* *strikes*: what the injected behaviour takes out of the record, in absolute terms of the block.

All of this is relative time; the calendar comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

STRETCH: Final[Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "block": pl.Int64,
    "task": pl.Int64,
    "start_s": pl.Float64,
    "wall_s": pl.Float64,
    "media_from_s": pl.Float64,  # null: nothing plays (reading, exercise)
    "rate": pl.Float64,  # media seconds per wall second
    "logged_rate": pl.Float64,  # what the player says its rate is
    "device": pl.Int64,  # 0 usual, 1 second, 2 lingering login, 3 far away
    "page": pl.Int64,  # number of the open page within the task
    "ip": pl.Int64,  # 0 home or room, 1 mobile network, 3 far away
    "is_hidden": pl.Boolean,
    "begin": pl.String,  # verb that opens the stretch; null: it goes on from the last one
    "end": pl.String,  # verb that closes it
    "seek_from_s": pl.Float64,  # where a stretch that begins with seek came from
    "is_present": pl.Boolean,  # somebody is there
    "has_prompts": pl.Boolean,  # presence checks are shown
}
MARK: Final[Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "block": pl.Int64,
    "task": pl.Int64,
    "at_s": pl.Float64,
    "verb": pl.String,
    "position_s": pl.Float64,
    "to_position_s": pl.Float64,
    "device": pl.Int64,
    "page": pl.Int64,
    "ip": pl.Int64,
    "is_hidden": pl.Boolean,
    "result": pl.String,
    "value": pl.Float64,
}
STRIKE: Final[Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "block": pl.Int64,
    "task": pl.Int64,  # null: the stretch concerns several lessons
    "start_s": pl.Float64,  # null: seconds of a lesson, without a place in time
    "end_s": pl.Float64,
    "seconds": pl.Float64,
}
_STRETCH_DEFAULTS: Final[Mapping[str, object]] = {
    "media_from_s": 0.0,
    "rate": 1.0,
    "device": 0,
    "page": 0,
    "ip": 0,
    "is_hidden": False,
    "begin": None,
    "end": None,
    "seek_from_s": None,
    "is_present": True,
    "has_prompts": True,
}
_MARK_DEFAULTS: Final[Mapping[str, object]] = {
    "position_s": None,
    "to_position_s": None,
    "device": 0,
    "page": 0,
    "ip": 0,
    "is_hidden": False,
    "result": None,
    "value": None,
}


@dataclass(frozen=True, slots=True)
class Study:
    """What some tasks become: stretches, marks and strikes (columns as in the module's tables)."""

    stretches: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=STRETCH))
    marks: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=MARK))
    strikes: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=STRIKE))


def _shaped(
    frame: pl.DataFrame,
    shape: Mapping[str, pl.DataType | type[pl.DataType]],
    defaults: Mapping[str, object],
) -> pl.DataFrame:
    missing = [pl.lit(defaults[n], dtype=shape[n]).alias(n) for n in shape if n not in frame.columns and n in defaults]
    return frame.with_columns(missing).select([pl.col(n).cast(t) for n, t in shape.items()])


def stretches(frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with every column of :data:`STRETCH`; what is not given is an ordinary visible playing."""
    if "logged_rate" not in frame.columns:
        frame = frame.with_columns(logged_rate=pl.col("rate") if "rate" in frame.columns else pl.lit(1.0))
    return _shaped(frame, STRETCH, _STRETCH_DEFAULTS)


def marks(frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with every column of :data:`MARK`."""
    return _shaped(frame, MARK, _MARK_DEFAULTS)


def strikes(frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with every column of :data:`STRIKE`; a stretch of time needs no ``seconds``."""
    defaults = {"task": None, "start_s": None, "end_s": None}
    if "seconds" not in frame.columns:
        frame = frame.with_columns(seconds=pl.col("end_s") - pl.col("start_s"))
    return _shaped(frame, STRIKE, defaults)


def together(parts: Iterable[Study]) -> Study:
    """All of ``parts`` in one."""
    some = [*parts, Study()]
    return Study(
        pl.concat([s.stretches for s in some]),
        pl.concat([s.marks for s in some]),
        pl.concat([s.strikes for s in some]),
    )


def completions(tasks: pl.DataFrame, at_s: pl.Expr, position_s: pl.Expr, **where: pl.Expr) -> pl.DataFrame:
    """One ``complete`` mark per task at ``at_s``, the media being at ``position_s``."""
    return marks(
        tasks.select(
            "block",
            "task",
            at_s=at_s,
            verb=pl.lit("complete"),
            position_s=pl.when(pl.col("has_media")).then(position_s),
            **where,
        )
    )
