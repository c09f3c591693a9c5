"""A made-up province: its people learn, some of them not as their records say, and platforms deliver their logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal

import polars as pl

from learnguard.errors import LearnGuardError
from learnguard.simulate.behaviours import VARIANTS, Variant
from learnguard.simulate.delivering import deliver
from learnguard.simulate.lookalikes import make_lookalikes
from learnguard.simulate.platforms import PLATFORMS
from learnguard.simulate.province import learn, log_of
from learnguard.simulate.schedule import Calendar
from learnguard.simulate.truth import make_truth
from learnguard.simulate.writing import Delivery

README: Final = """All of this is invented.

No platform, institution, learner, device, address or training record in this folder exists. Identity numbers begin
with 9900, which is assigned to no place; telephone numbers begin with 100; network addresses are those set aside for
tests and for carriers' internal use.

deliveries/<platform>/<day>   what each platform hands over on the evening of that day
truth.parquet                 what was injected: one row per record that was given a behaviour; all other records are
                              honest. See "strikes" for the seconds that no log may support.
lookalikes.parquet            what looks odd and is not: one row per record and honest reason

这里的一切均为虚构：平台、机构、学员、设备、地址和培训记录都不存在。
"""


@dataclass(frozen=True, slots=True)
class World:
    """A written world: where it is, what it holds, and the frame of what was injected (see :mod:`.truth`)."""

    out: Path
    start: date
    days: int
    deliveries: tuple[Delivery, ...]
    truth: pl.DataFrame
    learners: int
    accounts: int
    records: int
    events: int
    sessions: int

    @property
    def lookalikes_path(self) -> Path:
        """The file that says which records look odd, and why they are not."""
        return self.out / "lookalikes.parquet"

    @property
    def truth_path(self) -> Path:
        """The file that holds :attr:`truth`."""
        return self.out / "truth.parquet"

    def deliveries_of(self, day: date) -> tuple[Delivery, ...]:
        """What arrived on the evening of ``day``."""
        return tuple(d for d in self.deliveries if d.day == day)


def write_world(
    out: Path,
    *,
    learners: int = 600,
    days: int = 7,
    seed: int = 20260301,
    start: date = date(2026, 3, 2),
    prevalence: float = 0.06,
    behaviours: Sequence[str] | None = None,
    registry_format: Literal["csv", "xlsx"] = "csv",
) -> World:
    """Writes a world of ``learners`` people over ``days`` local days from ``start`` on into ``out``.

    ``prevalence`` is the share of records that are given a behaviour; ``behaviours`` limits these to the detectors
    or ``detector/variant`` named. The same arguments always give the same bytes. Raises LearnGuardError when an
    argument is out of range, when a behaviour is unknown, or when ``out`` holds another world.
    """
    variants = _chosen(behaviours)
    _check(out, learners, days, prevalence)
    province = learn(seed, learners, Calendar(start, days), prevalence, variants)
    out.mkdir(parents=True, exist_ok=True)
    (out / "README.txt").write_text(README, encoding="utf-8")
    truth = make_truth(variants, province.records, province.tasks, province.blocks, province.learned.strikes)
    truth.write_parquet(out / "truth.parquet")
    logs = {p.platform_id: log_of(seed, p, province) for p in PLATFORMS}
    make_lookalikes(province, logs).write_parquet(out / "lookalikes.parquet")
    claims, deliveries = deliver(out / "deliveries", seed, province, logs, registry_format)
    return World(
        out=out,
        start=start,
        days=days,
        deliveries=deliveries,
        truth=truth,
        learners=learners,
        accounts=province.accounts.height,
        records=claims,
        events=sum(logs[p.platform_id].height for p in PLATFORMS if p.logs_events),
        sessions=sum(logs[p.platform_id].height for p in PLATFORMS if not p.logs_events),
    )


def honest_world(
    out: Path,
    *,
    learners: int = 600,
    days: int = 7,
    seed: int = 20260301,
    start: date = date(2026, 3, 2),
    registry_format: Literal["csv", "xlsx"] = "csv",
) -> World:
    """A world in which nobody contradicts a record, with all that looks odd and is not; see :func:`write_world`."""
    return write_world(
        out, learners=learners, days=days, seed=seed, start=start, prevalence=0.0, registry_format=registry_format
    )


def _check(out: Path, learners: int, days: int, prevalence: float) -> None:
    for name, value, low, high in (
        ("learners", learners, 20, 100_000),
        ("days", days, 2, 366),
        ("prevalence", prevalence, 0.0, 0.5),
    ):
        if not low <= value <= high:
            raise LearnGuardError(
                f"{name} must lie between {low} and {high}, got {value}", hint="Choose another value."
            )
    if (out / "deliveries").exists():
        raise LearnGuardError(f"{out} already holds a world", hint="Choose an empty folder.")


def _chosen(behaviours: Sequence[str] | None) -> tuple[Variant, ...]:
    if behaviours is None:
        return VARIANTS
    known = {n for v in VARIANTS for n in (v.behaviour, f"{v.behaviour}/{v.name}")}
    unknown = sorted(set(behaviours) - known)
    if unknown:
        raise LearnGuardError(f"no such behaviour: {', '.join(unknown)}", hint="Known: " + ", ".join(sorted(known)))
    return tuple(v for v in VARIANTS if v.behaviour in behaviours or f"{v.behaviour}/{v.name}" in behaviours)
