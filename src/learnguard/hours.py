"""The hour ledger: every claimed second of a record ends in exactly one account.

``claimed_s = credited_s + Σ struck_s(reason) + unsupported_s``. Frames in, frames out: no clock, no database,
no settings. Inside, times are whole milliseconds, so that sums do not depend on their order.

How a second finds its account:

1. The active time of one person is cut at every boundary of a segment or a strike (and, where the policy has
   limits, at local midnights and closed hours). Inside a cut nothing changes.
2. A cut that a finding covers is struck, by the first finding in :data:`learnguard.schema.STRIKE_ORDER` (a region's own
   detectors, by name, after those that are named there and before ``policy_limit``).
3. Of several segments that share an unstruck cut, the one that began first has it: time counts once per person.
4. A lesson earns its valid time, at most its length, once; what was struck can only fill what is left of it.
5. A claim takes credited time first, then struck time in the fixed order; what remains no log supports.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from learnguard.errors import LedgerError
from learnguard.schema import STRIKE_ORDER

_Ints = npt.NDArray[np.int64]
#: In a column of reasons: nothing strikes this piece.
_FREE: Final = 1 << 20
_UNCAPPED: Final = 1 << 53
#: Lessons that earn time on the page, and only with signs of presence where the client logs such signs.
_PRESENCE_KINDS: Final = ("reading", "exercise")


@dataclass(frozen=True, slots=True)
class Limits:
    """A region's limits on when and how much may be learned; None: no such limit. Times are local in ``timezone``."""

    timezone: str = "Asia/Shanghai"
    daily_cap_s: float | None = None
    closed_night: tuple[time, time] | None = None

    @property
    def are_set(self) -> bool:
        """Whether any limit is in force."""
        return self.daily_cap_s is not None or self.closed_night is not None


@dataclass(frozen=True, slots=True)
class Ledger:
    """``records``: one row per claim (platform_id, record_id, claimed_s, credited_s, unsupported_s, struck_s as
    integers or null, and one integer column per reason with seconds, in the order of precedence); ``days``: the same
    by calendar day."""

    records: pl.DataFrame
    days: pl.DataFrame


def keep_ledger(
    claims: pl.DataFrame,
    segments: pl.DataFrame,
    strikes: pl.DataFrame,
    lessons: pl.DataFrame,
    *,
    logs_presence: pl.DataFrame,
    limits: Limits | None = None,
) -> Ledger:
    """The hour ledger of every record in ``claims``.

    ``claims``: schema.CONDENSED claims; ``segments``: schema.CONDENSED segments of the same people, all their
    records; ``strikes``: schema.RESULTS strikes; ``lessons``: platform_id, course_id, lesson_id, kind, duration_s;
    ``logs_presence``: (platform_id, terminal) pairs whose client logs touches or prompts.
    Raises LedgerError where a record does not add up.
    """
    limits = limits or Limits()
    order = _order(strikes)
    ranked = strikes.with_columns(
        reason=pl.col("detector").replace_strict({name: i for i, name in enumerate(order)}, return_dtype=pl.Int64)
    )
    played = _played(segments, lessons, logs_presence)
    pieces = _cut(played, _timed(ranked), limits, order.index("policy_limit"))
    records = _settle(claims, _lesson_accounts(claims, pieces, ranked, lessons), order)
    _check(records, order)
    return Ledger(records, _days(pieces))


def _order(strikes: pl.DataFrame) -> tuple[str, ...]:
    """Reasons in their order of precedence."""
    *named, last = STRIKE_ORDER
    return (*named, *sorted(set(strikes["detector"].drop_nulls()) - set(STRIKE_ORDER)), last)


def _played(segments: pl.DataFrame, lessons: pl.DataFrame, logs_presence: pl.DataFrame) -> pl.DataFrame:
    """Active segments as (person, record, lesson, from_ms, to_ms, earn), in a fixed order."""
    signs = (pl.col("n_interactions").fill_null(0) + pl.col("n_passed").fill_null(0)).sum()
    return (
        segments.lazy()
        .filter((pl.col("active_s") > 0) & (pl.col("ended_at") > pl.col("started_at")))
        .join(
            lessons.lazy().select("platform_id", "course_id", "lesson_id", "kind"),
            on=["platform_id", "course_id", "lesson_id"],
            how="left",
        )
        .join(
            logs_presence.lazy().select("platform_id", "terminal", pl.lit(value=True).alias("has_signs")).unique(),
            on=["platform_id", "terminal"],
            how="left",
            nulls_equal=True,
        )
        .with_columns(
            person=pl.coalesce("learner_id", pl.concat_str("platform_id", "account_id", separator="\x1f")),
            from_ms=pl.col("started_at").dt.epoch("ms"),
            to_ms=pl.col("ended_at").dt.epoch("ms"),
            active_ms=(pl.col("active_s") * 1000).round().cast(pl.Int64),
            signs=signs.over("platform_id", "account_id", "course_id", "lesson_id"),
        )
        .filter(pl.col("to_ms") > pl.col("from_ms"))  # a stretch shorter than a millisecond earns nothing
        .filter(
            ~(
                pl.col("kind").is_in(_PRESENCE_KINDS).fill_null(value=False)
                & pl.col("has_signs").fill_null(value=False)
                & (pl.col("signs") == 0)
            )
        )
        .select(
            "person", "platform_id", "record_id", "course_id", "lesson_id", "day", "from_ms", "to_ms",
            earn=(pl.col("active_ms") / (pl.col("to_ms") - pl.col("from_ms"))).clip(0, 1),
        )
        .sort("person", "from_ms", "to_ms", "platform_id", "record_id", "lesson_id", nulls_last=True)
        .collect()
    )  # fmt: skip


def _timed(strikes: pl.DataFrame) -> pl.DataFrame:
    """Strikes of stretches of time, as (record, lesson or null, from_ms, to_ms, reason index)."""
    return (
        strikes.filter(pl.col("seconds").is_null())
        .select(
            "platform_id", "record_id", "lesson_id",
            from_ms=pl.col("started_at").dt.epoch("ms"),
            to_ms=pl.col("ended_at").dt.epoch("ms"),
            reason="reason",
        )
        # null where a strike names no stretch
        .filter(pl.col("to_ms") > pl.col("from_ms"))
    )  # fmt: skip


def _cut(played: pl.DataFrame, timed: pl.DataFrame, limits: Limits, limit: int) -> pl.DataFrame:
    """Pieces of active time: (platform, record, course, lesson, day, ms, reason), each second of a lesson once."""
    struck_people = (
        played.join(timed.select("platform_id", "record_id").unique(), on=["platform_id", "record_id"], how="semi")
        .select("person")
        .unique()
    )
    overlap = pl.col("from_ms") < pl.col("to_ms").cum_max().shift(1).over("person")
    overlapping = played.filter(overlap.fill_null(value=False)).select("person").unique()
    intricate = pl.concat([struck_people, overlapping]).unique()
    if limits.are_set:
        intricate = played.select("person").unique()
    simple = played.join(intricate, on="person", how="anti").select(
        "platform_id", "record_id", "course_id", "lesson_id", "day",
        ms=((pl.col("to_ms") - pl.col("from_ms")) * pl.col("earn")).round().cast(pl.Int64),
        reason=pl.lit(_FREE, pl.Int64),
    )  # fmt: skip
    rest = played.join(intricate, on="person", how="semi", maintain_order="left")
    return pl.concat([simple, _sweep(rest, timed, limits, limit)]) if rest.height else simple


def _sweep(played: pl.DataFrame, timed: pl.DataFrame, limits: Limits, limit: int) -> pl.DataFrame:
    people = played.select("person").unique(maintain_order=True).with_row_index("who")
    played = played.join(people, on="person", maintain_order="left").with_row_index("segment")
    owners = played.select("who", "platform_id", "record_id").unique()
    timed = timed.join(owners, on=["platform_id", "record_id"])
    walls = _walls(played, limits)
    times = np.concatenate([f[c].to_numpy() for f in (played, timed, walls) for c in f.columns if c.endswith("_ms")])
    base, top = int(times.min()), int(times.max())
    span = top - base + 1
    if people.height * span >= 1 << 62:
        raise LedgerError("too many people and too long a time for one ledger", hint="Assess fewer accounts at once.")

    def place(frame: pl.DataFrame, column: str) -> _Ints:
        placed: _Ints = frame["who"].to_numpy().astype(np.int64) * span + (frame[column].to_numpy() - base)
        return placed

    seg_from, seg_to = place(played, "from_ms"), place(played, "to_ms")
    hit_from, hit_to = place(timed, "from_ms"), place(timed, "to_ms")
    cuts = np.unique(np.concatenate([seg_from, seg_to, hit_from, hit_to, place(walls, "at_ms")]))
    owner, cut = _spread(np.searchsorted(cuts, seg_from), np.searchsorted(cuts, seg_to))
    pieces = played[owner].with_columns(
        cut=pl.Series(cut),
        at_ms=pl.Series(cuts[cut] % span + base),
        long_ms=pl.Series(cuts[cut + 1] - cuts[cut]),
    )
    hit_owner, hit_cut = _spread(np.searchsorted(cuts, hit_from), np.searchsorted(cuts, hit_to))
    hits = timed[hit_owner].with_columns(cut=pl.Series(hit_cut))
    by_record = (
        hits.filter(pl.col("lesson_id").is_null())
        .group_by("platform_id", "record_id", "cut")
        .agg(pl.col("reason").min().alias("reason_record"))
    )
    by_lesson = (
        hits.filter(pl.col("lesson_id").is_not_null())
        .group_by("platform_id", "record_id", "lesson_id", "cut")
        .agg(pl.col("reason").min().alias("reason_lesson"))
    )
    pieces = (
        pieces.join(by_record, on=["platform_id", "record_id", "cut"], how="left")
        .join(by_lesson, on=["platform_id", "record_id", "lesson_id", "cut"], how="left")
        .with_columns(reason=pl.min_horizontal("reason_record", "reason_lesson").fill_null(_FREE))
        .sort("who", "cut", "segment")
    )
    free, struck = _once(_closed(pieces, limits, limit))
    return pl.concat([*_capped(free, limits, limit), struck]).select(
        "platform_id", "record_id", "course_id", "lesson_id", "day", "ms", pl.col("reason").cast(pl.Int64)
    )


def _spread(low: npt.NDArray[np.intp], high: npt.NDArray[np.intp]) -> tuple[_Ints, _Ints]:
    """For ranges low[i]..high[i]-1: the owner i of every member, and the members."""
    count = (high - low).astype(np.int64)
    owner = np.repeat(np.arange(len(low), dtype=np.int64), count)
    ends = np.cumsum(count)
    member = np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64) - np.repeat(ends - count, count)
    return owner, member + np.repeat(low.astype(np.int64), count)


def _walls(played: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    """Instants at which a limit begins or ends: local midnights and the edges of closed hours."""
    if not limits.are_set:
        return pl.DataFrame(schema={"who": pl.UInt32, "at_ms": pl.Int64})
    days = (
        played.select("who", day=pl.date_ranges(_local("from_ms", limits).dt.date(), _local("to_ms", limits).dt.date()))
        .explode("day")
        .unique()
    )
    # The clock's hands, not hours since midnight: the two differ where the clock changes.
    marks = [
        pl.col("day").cast(pl.Datetime("ms")) + pl.duration(hours=m.hour, minutes=m.minute)
        for m in (time(0), *(limits.closed_night or ()))
    ]
    at = [m.dt.replace_time_zone(limits.timezone, ambiguous="earliest", non_existent="null") for m in marks]
    return pl.concat([days.select("who", at_ms=a.dt.epoch("ms")) for a in at]).drop_nulls()


def _local(column: str, limits: Limits) -> pl.Expr:
    """Milliseconds since 1970 as local time."""
    return pl.from_epoch(column, time_unit="ms").dt.replace_time_zone("UTC").dt.convert_time_zone(limits.timezone)


def _closed(pieces: pl.DataFrame, limits: Limits, limit: int) -> pl.DataFrame:
    """Strike what nothing else strikes in closed hours."""
    if limits.closed_night is None:
        return pieces
    start, end = (t.hour * 60 + t.minute for t in limits.closed_night)
    local = _local("at_ms", limits)
    minute = local.dt.hour().cast(pl.Int32) * 60 + local.dt.minute()
    shut = (minute >= start) & (minute < end) if start < end else (minute >= start) | (minute < end)
    free = pl.col("reason") == _FREE
    return pieces.with_columns(reason=pl.when(free & shut).then(limit).otherwise(pl.col("reason")))


def _once(pieces: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One person's unstruck time once, and struck time once per lesson; with ``ms`` that each is worth."""
    pieces = pieces.with_columns(ms=(pl.col("long_ms") * pl.col("earn")).round().cast(pl.Int64))
    free = pieces.filter(pl.col("reason") == _FREE).unique(["who", "cut"], keep="first", maintain_order=True)
    struck = pieces.filter(pl.col("reason") < _FREE).unique(
        ["platform_id", "record_id", "lesson_id", "cut"], keep="first", maintain_order=True
    )
    return free, struck


def _capped(free: pl.DataFrame, limits: Limits, limit: int) -> list[pl.DataFrame]:
    """Each local day's valid time up to the daily cap, and what is over it as struck: the piece across it is parted."""
    if limits.daily_cap_s is None:
        return [free]
    cap = round(limits.daily_cap_s * 1000)
    before = (pl.col("ms").cum_sum() - pl.col("ms")).over("who", _local("at_ms", limits).dt.date())
    parted = free.with_columns(within=pl.min_horizontal("ms", (cap - before).clip(0)))
    over = parted.with_columns(ms=pl.col("ms") - pl.col("within"), reason=pl.lit(limit, pl.Int64))
    return [
        parted.with_columns(ms="within").drop("within"),
        over.filter(pl.col("ms") > 0).drop("within"),
    ]


def _lesson_accounts(
    claims: pl.DataFrame, pieces: pl.DataFrame, strikes: pl.DataFrame, lessons: pl.DataFrame
) -> pl.DataFrame:
    """Per record, lesson and reason: milliseconds that the lesson can bear (rank -1: credited)."""
    keys = ["platform_id", "record_id", "lesson_id"]
    counted = strikes.filter(pl.col("seconds").is_not_null()).select(
        *keys,
        ms=(pl.col("seconds") * 1000).round().cast(pl.Int64),
        reason="reason",
    )
    amounts = (
        pl.concat([pieces.select(*keys, "ms", "reason"), counted])
        .join(claims.select("platform_id", "record_id", "course_id"), on=["platform_id", "record_id"])
        .group_by(*keys, "course_id", "reason")
        .agg(pl.col("ms").sum())
    )
    # Lessons are numbered within their course.
    lesson = ["platform_id", "course_id", "lesson_id"]
    length = lessons.group_by(lesson).agg(cap=(pl.col("duration_s").max() * 1000).round().cast(pl.Int64))
    # Valid time fills a lesson first; then the reasons in their order fill what is left.
    rank = pl.when(pl.col("reason") == _FREE).then(-1).otherwise(pl.col("reason"))
    return (
        amounts.join(length, on=lesson, how="left")
        .with_columns(rank=rank, cap=pl.col("cap").fill_null(_UNCAPPED))
        .sort(*keys, "rank", nulls_last=True)
        .with_columns(before=(pl.col("ms").cum_sum() - pl.col("ms")).over(keys))
        .with_columns(ms=pl.min_horizontal("ms", (pl.col("cap") - pl.col("before")).clip(0)))
        .select(*keys, "rank", "ms")
    )


def _settle(claims: pl.DataFrame, accounts: pl.DataFrame, order: tuple[str, ...]) -> pl.DataFrame:
    """Fill each claim: credited first, then struck in order; the rest is unsupported. Whole seconds that add up."""
    keys = ["platform_id", "record_id"]
    wide = accounts.group_by(*keys, "rank").agg(pl.col("ms").sum()).pivot(on="rank", index=keys, values="ms")
    frame = claims.select(*keys, claimed_ms=(pl.col("claimed_s") * 1000).round().cast(pl.Int64)).join(
        wide, on=keys, how="left", nulls_equal=True
    )
    ranks = [-1, *range(len(order))]
    frame = frame.with_columns(
        [
            (pl.col(str(r)) if str(r) in frame.columns else pl.lit(0)).fill_null(0).cast(pl.Int64).alias(str(r))
            for r in ranks
        ]
    )
    # Cumulative amounts, cut at the claim and rounded to seconds, differ by whole seconds that sum to the claim.
    room = pl.col("claimed_ms").fill_null(_UNCAPPED)
    totals = [
        ((pl.min_horizontal(pl.sum_horizontal([str(r) for r in ranks[: i + 1]]), room) + 500) // 1000).alias(f"to_{r}")
        for i, r in enumerate(ranks)
    ]
    frame = frame.with_columns(totals)
    struck = [(pl.col(f"to_{r}") - pl.col(f"to_{r - 1}")).alias(reason) for r, reason in enumerate(order)]
    last = pl.col(f"to_{len(order) - 1}")
    claimed = (pl.col("claimed_ms") + 500) // 1000
    return frame.select(
        *keys,
        claimed.alias("claimed_s"),
        pl.col("to_-1").alias("credited_s"),
        (last - pl.col("to_-1")).alias("struck_s"),
        pl.when(claimed.is_null()).then(0).otherwise(claimed - last).alias("unsupported_s"),
        *struck,
    ).sort(keys)


def _check(records: pl.DataFrame, order: tuple[str, ...]) -> None:
    """The identity, for every record with a claim; and no account below zero for any."""
    reasons = pl.sum_horizontal(list(order))
    parts = ["credited_s", "unsupported_s", *order]
    wrong = records.filter(
        (pl.col("claimed_s") != pl.col("credited_s") + reasons + pl.col("unsupported_s")).fill_null(value=False)
        | (pl.col("struck_s") != reasons)
        | pl.any_horizontal([pl.col(c) < 0 for c in parts])
    )
    if wrong.height:
        first = wrong.row(0, named=True)
        name = f"{first['platform_id']}/{first['record_id']}"
        raise LedgerError(
            f"the hour ledger of {wrong.height} record(s) does not add up, first {name}: {first}",
            hint="Nothing was published. Please report this with the run's log.",
        )


def _days(pieces: pl.DataFrame) -> pl.DataFrame:
    """Seconds by record and calendar day, before the caps of lessons and claims."""
    free = pl.col("reason") == _FREE
    return (
        pieces.filter(pl.col("record_id").is_not_null())
        .group_by("platform_id", "record_id", "day")
        .agg(
            credited_s=pl.col("ms").filter(free).sum() / 1000,
            struck_s=pl.col("ms").filter(~free).sum() / 1000,
        )
        .sort("platform_id", "record_id", "day")
    )
