"""What had arrived in the store by the end of a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb

from learnguard.errors import StoreError
from learnguard.settings import zone
from learnguard.store.lake import Lake, Part
from learnguard.store.manifest import DeliveryEntry


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What had arrived by the end of a day: deliveries, and the log parts of them."""

    run_date: date
    end: datetime
    deliveries: tuple[DeliveryEntry, ...]
    events: tuple[Part, ...]
    sessions: tuple[Part, ...]
    cutoffs: dict[Path, datetime]

    @property
    def known(self) -> list[str]:
        """Names of the deliveries read."""
        return sorted({d.delivery_id for d in self.deliveries})

    @property
    def parts(self) -> list[str]:
        """Names of the log files read whole: what of a file had not arrived yet is news to the next run."""
        return sorted(part_name(p) for p in (*self.events, *self.sessions) if p.path not in self.cutoffs)


def part_name(part: Part) -> str:
    """A log file's name in the list of what a run had read: unique in the store."""
    return f"{part.table}/{part.path.name}"


def arrivals(lake: Lake, run_date: date, *, timezone: str) -> Arrivals:
    """What had arrived by the end of ``run_date``.

    A delivery that names its ``delivered_at`` arrived then, whole. One that does not arrived row by row: logs on the
    day they tell of (or when the server received them, if later), everything else with the first of them.
    Raises StoreError when nothing had.
    """
    end = datetime.combine(run_date + timedelta(days=1), datetime.min.time(), tzinfo=zone(timezone))
    there = tuple(d for d in lake.deliveries() if _arrived_on(d) <= run_date)
    if not there:
        raise StoreError(
            f"nothing had arrived by the end of {run_date}", hint="List what there is: learnguard deliveries"
        )
    dated = {d.delivery_id for d in there if d.delivered_at is not None}
    ids = {d.delivery_id for d in there}

    def arrived(table: str) -> tuple[Part, ...]:
        parts = lake.parts(table, ids)
        return tuple(p for p in parts if p.delivery_id in dated or (p.date is not None and p.date <= run_date))

    events = arrived("events")
    return Arrivals(
        run_date=run_date,
        end=end,
        deliveries=there,
        events=events,
        sessions=arrived("sessions"),
        cutoffs=_cutoffs([p for p in events if p.delivery_id not in dated], end),
    )


def _arrived_on(delivery: DeliveryEntry) -> date:
    """The first day on which something of ``delivery`` was there."""
    if delivery.delivered_at is not None:
        return delivery.delivered_at.astimezone(zone(delivery.timezone)).date()
    return min((p.date for p in delivery.parts if p.date is not None), default=date.min)


def _cutoffs(parts: Sequence[Part], end: datetime) -> dict[Path, datetime]:
    """Parts of undated deliveries that hold rows received after ``end``."""
    if not parts:
        return {}
    con = duckdb.connect()
    try:
        con.execute("SET TimeZone = 'UTC'")
        late = con.execute(
            "SELECT filename FROM read_parquet($files, filename = TRUE) "
            "GROUP BY filename HAVING max(received_at) >= $end",
            {"files": [str(p.path) for p in parts], "end": end},
        ).fetchall()
    finally:
        con.close()
    names = {row[0] for row in late}
    return {p.path: end for p in parts if str(p.path) in names}
