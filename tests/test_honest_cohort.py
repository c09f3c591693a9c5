"""Honest people stay silent: no honest cohort yields a flag, on any day, and real logs with broken clocks yield none.

A known exception would be a line in ``KNOWN`` with its reason, never a looser test. There is none.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from learnguard import pipeline
from learnguard.runs import open_run
from learnguard.settings import Settings
from learnguard.simulate import World, honest_world, write_world

#: (seed, platform, record, detector): why honest logs look like that, and why nothing better can be done.
KNOWN: dict[tuple[int, str, str, str], str] = {}


def _findings(store: Path, world: World) -> list[tuple[date, str, str, str, str]]:
    """Every finding of every day's run: (day, platform, record, detector, explanation)."""
    settings = Settings(store=store, memory_limit="1GB")
    found = []
    for number in range(world.days):
        day = world.start + timedelta(days=number)
        for delivery in world.deliveries_of(day):
            assert pipeline.ingest(settings, delivery.path).bad == 0
        with open_run(pipeline.run(settings, day).run) as con:
            rows = con.execute("SELECT platform_id, record_id, detector, explanation_en FROM findings").fetchall()
            found += [(day, *row) for row in rows]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [20260301, 5, 99])
def test_the_honest_world_yields_no_flag(seed: int, tmp_path: Path) -> None:
    world = honest_world(tmp_path / "world", learners=400, days=4, seed=seed)
    assert world.records > 300
    found = [f for f in _findings(tmp_path / "store", world) if (seed, *f[1:4]) not in KNOWN]
    assert found == []


@pytest.mark.slow
def test_among_others_only_those_with_something_injected_are_flagged(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", learners=400, days=4, seed=31, prevalence=0.2)
    injected = set(world.truth.select("platform_id", "account_id").iter_rows())
    found = _findings(tmp_path / "store", world)
    last = [f for f in found if f[0] == world.start + timedelta(days=world.days - 1)]
    accounts = {(r["platform_id"], r["record_id"]): r["account_id"] for r in world.truth.iter_rows(named=True)}
    flagged = {(platform, accounts.get((platform, record), record.split("/")[0])) for _, platform, record, *_ in found}
    assert flagged <= injected
    observable = world.truth.filter("is_observable").select("platform_id", "record_id", "behaviour")
    hit = {(platform, record, detector) for _, platform, record, detector, _ in last}
    missed = [row for row in observable.iter_rows() if row not in hit]
    # Low doses fall below the tolerances that keep honest people silent: the evaluation reports how many.
    assert len(missed) <= 0.1 * observable.height, missed


@pytest.mark.shared
def test_real_statements_whose_clocks_contradict_them_yield_no_flag(shared_data: Path, tmp_path: Path) -> None:
    settings = Settings(store=tmp_path / "store", memory_limit="1GB")
    taken = pipeline.ingest(settings, shared_data / "ralph" / "data" / "statements.json.gz", platform_id="mooc")
    assert taken.good >= 22_000
    outcome = pipeline.run(settings, date(2021, 12, 31))
    assert outcome.records > 1_000
    assert outcome.findings == 0
    with open_run(outcome.run) as con:
        unsaid = con.execute("""
            SELECT count(*) FROM decisions AS d
            WHERE NOT EXISTS (SELECT 1 FROM not_assessed AS n
                              WHERE n.record_id = d.record_id AND n.missing IN ('ts', 'events'))
        """).fetchone()
    assert unsaid == (0,), "dates were shuffled by the publisher: every record says that its order is not trusted"
