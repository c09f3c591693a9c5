"""The one file that knows the route of the data.

deliveries → sources → store → condense → scope → detectors → hours → scoring → decisions → a published run.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import polars as pl

from learnguard import scope
from learnguard.condense.units import Unit, condense_units
from learnguard.decisions import Thresholds, decide
from learnguard.detection.model import Detector
from learnguard.detection.overrides import in_force, load_overrides
from learnguard.detection.packs import default_root, load_packs
from learnguard.detection.run import run_detectors
from learnguard.errors import DeliveryError
from learnguard.hours import Ledger, Limits, keep_ledger
from learnguard.opening import RULES, offer_condensed, units_of
from learnguard.policy import Policy, load_policy
from learnguard.publication import publish_run, read_inputs
from learnguard.runs import PublishedRun, latest_runs
from learnguard.schema import DELIVERED, RESULTS, create_sql
from learnguard.scoring import score_records
from learnguard.settings import Settings, zone
from learnguard.sources import find_source, guess_source, open_delivery
from learnguard.store import Lake, Outcome, load_key, workspace, write_delivery
from learnguard.store.arrivals import Arrivals, arrivals, part_name

Step = Callable[[str, float], None]
"""Called with the name of a step and how far it is, 0 to 1."""


#: Days of logs on which the order of rows is checked: enough to see, and no more with a longer history.
_DAYS_OF_ORDER: Final = 8
#: Segments that detectors take at once; more are taken in buckets of whole people, with the same answers.
_BUCKET_ROWS: Final = 2_000_000


def _quiet(_step: str, _share: float) -> None:
    """Nobody is watching."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run did: its file, how many records were assessed, flagged and withheld, yuan held and seconds taken."""

    run: PublishedRun
    records: int
    withheld: int
    reviewed: int
    withheld_cny: str
    findings: int
    condensed: int
    seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def flagged(self) -> int:
        """Records withheld or to be reviewed."""
        return self.withheld + self.reviewed


# ---------------------------------------------------------------------------------------------------- taking it in


def ingest(
    settings: Settings,
    path: Path,
    *,
    platform_id: str | None = None,
    timezone: str | None = None,
    source: str | None = None,
    step: Step = _quiet,
) -> Outcome:
    """Take one delivery (a folder, a zip or a file) into the store; one that is already there changes nothing.

    What delivery.toml says is overruled by ``platform_id`` and ``timezone`` where given; ``source`` names the mapping
    of a foreign format (default: found by the files' names). Raises DeliveryError when it cannot be taken: then
    nothing is.
    """
    lake = Lake.create(settings.store)
    key = load_key(key=settings.identity_key, file=settings.resolved_key_file())

    def watched(name: str, done: int, total: int) -> None:
        step(name, done / total if total else 1.0)

    with workspace(lake, memory_limit=settings.memory_limit, threads=settings.resolved_threads()) as room:
        scratch = room.folder("delivery")
        files = open_delivery(path, workdir=scratch, progress=watched)
        mapping = find_source(source) if source else guess_source(files.files)
        platform = platform_id or files.platform_id
        zone_name = timezone or files.timezone or settings.timezone
        zone(zone_name)
        found = mapping.extracts(files, con=room.con, workdir=scratch, platform_id=platform)
        outcome = write_delivery(
            room,
            files=files.files,
            extracts=found.extracts,
            source=mapping.name,
            timezone=zone_name,
            key=key,
            platform_id=platform,
            delivered_at=files.delivered_at,
            unknown_columns=found.unknown_columns,
            missing_files=files.missing,
            unrecognised=found.unrecognised,
            progress=watched,
        )
        if outcome.is_new:
            # The delivery is in the store: what follows saves the next run its work, and may be lost without loss.
            units = [u for u in units_of(lake.parts("events"), lake.parts("sessions"), lake) if _is_mainly(u, outcome)]
            _condense(room.con, units, lake, settings, step)
        return outcome


def _is_mainly(unit: Unit, outcome: Outcome) -> bool:
    """Whether a day's logs came mainly with this delivery: days that it only adds to are left to the next run, so that
    many small deliveries do not condense a growing day again and again."""
    own = sum(p.rows for p in unit.parts if p.delivery_id == outcome.delivery_id)
    return own > 0 and 2 * own >= unit.rows


# ------------------------------------------------------------------------------------------------------ the run


def run(settings: Settings, run_date: date, *, step: Step = _quiet) -> RunOutcome:
    """Assess every record to which something arrived since it was last assessed, and publish the result.

    Raises StoreError when nothing had arrived by ``run_date``, LedgerError when a record's hours do not add up (nothing
    is published then), PackError and PolicyError for faulty rules.
    """
    started = time.monotonic()
    lake = Lake.open(settings.store)
    rules = _rules(settings, run_date)
    had = arrivals(lake, run_date, timezone=settings.timezone)
    before = [r for r in latest_runs(settings.store) if r.run_date < run_date]
    with workspace(lake, memory_limit=settings.memory_limit, threads=settings.resolved_threads()) as room:
        known = read_inputs(before[-1]) if before else None
        condensed = _lay(room.con, lake, had, known, rules.policy, settings, step)
        built = _assess(room.con, had, rules, settings, step)
        seconds = round(time.monotonic() - started, 1)
        published = publish_run(
            room.con,
            settings.store,
            run_date,
            facts={
                "timezone": settings.timezone,
                "policy": rules.policy.label,
                "class_hour_s": f"{rules.policy.class_hour_s:g}",
                "deliveries": str(len(had.deliveries)),
                "before": before[-1].path.name if before else "",
                "seconds": str(seconds),
                "overrides": json.dumps(rules.overrides, sort_keys=True),
                "warnings": json.dumps(rules.warnings, ensure_ascii=False),
                **{k: str(v) for k, v in built.items()},
            },
            inputs=[("delivery", n) for n in had.known] + [("part", n) for n in had.parts],
            detectors=rules.detectors,
            overrides=rules.overrides,
        )
    return RunOutcome(run=published, condensed=condensed, seconds=round(time.monotonic() - started, 1), **built)


def score(settings: Settings, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Assess rows of the contract's tables now, by the same code as a run, and store nothing.

    ``tables``: table name to rows as JSON objects. Returns ``run_date`` (the last day of the logs), ``findings``,
    ``decisions`` (lists of row objects), ``quarantine`` (rows that could not be read, with their reason) and
    ``unknown_columns`` (by file, not in the contract and ignored).
    Raises DeliveryError when a table is not known or lacks a required column.
    """
    unknown = sorted(set(tables) - set(DELIVERED))
    if unknown:
        raise DeliveryError(f"there is no table {unknown[0]!r}", hint="Tables: " + ", ".join(DELIVERED) + ".")
    key = load_key(key=settings.identity_key, file=settings.resolved_key_file())
    with tempfile.TemporaryDirectory(prefix="learnguard-score-") as folder:
        asked = Path(folder) / "asked"
        asked.mkdir()
        for name, rows in tables.items():
            lines = "\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in rows)
            (asked / f"{name}.jsonl").write_text(lines + "\n", encoding="utf-8")
        inside = replace(settings, store=Path(folder) / "store", identity_key=key.hex())
        taken = ingest(inside, asked)
        lake = Lake.open(inside.store)
        days = [p.date for t in ("events", "sessions") for p in lake.parts(t) if p.date is not None]
        had = arrivals(
            lake, max(days, default=datetime.now(zone(settings.timezone)).date()), timezone=settings.timezone
        )
        with workspace(lake, memory_limit=settings.memory_limit, threads=1) as room:
            rules = _rules(settings, had.run_date)
            _lay(room.con, lake, had, None, rules.policy, inside, _quiet)
            _assess(room.con, had, rules, inside, _quiet)
            return {
                "run_date": had.run_date,
                "rows": taken.rows,
                "unknown_columns": {f: list(c) for f, c in taken.unknown_columns.items()},
                "findings": _rows(room.con, "SELECT * FROM findings ORDER BY ALL"),
                "decisions": _rows(room.con, "SELECT * FROM decisions ORDER BY platform_id, record_id"),
                "quarantine": _rows(
                    room.con, 'SELECT file, "row", "column", reason, value FROM quarantine ORDER BY ALL'
                ),
            }


def _rows(con: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    return con.sql(query).pl().to_dicts()


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a run judges by: the policy, the detectors, and a region's own parameters (with what expired of them)."""

    policy: Policy
    detectors: tuple[Detector, ...]
    overrides: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...]


def _rules(settings: Settings, run_date: date) -> _Rules:
    roots = [default_root(), *settings.packs]
    detectors = load_packs(roots)
    files = [f for root in roots for f in sorted(root.glob("*/overrides.toml"))]
    values, warnings = in_force([o for f in files for o in load_overrides(f, detectors)], run_date=run_date)
    return _Rules(load_policy(settings.policy), detectors, values, warnings)


def _lay(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    had: Arrivals,
    known: tuple[set[str], set[str]] | None,
    policy: Policy,
    settings: Settings,
    step: Step,
) -> int:
    """Condense what is new and lay the tables that detectors read; returns how many days were condensed."""
    units = units_of(had.events, had.sessions, lake, had.cutoffs)
    condensed = _condense(con, units, lake, settings, step)
    step("scope", 0.0)
    lake.register(con, [d.delivery_id for d in had.deliveries])
    offer_condensed(con, units, lake.root)
    _lay_scope(con, had, units, known, lake.root, policy, settings)
    step("scope", 1.0)
    return condensed


def _condense(con: duckdb.DuckDBPyConnection, units: Sequence[Unit], lake: Lake, settings: Settings, step: Step) -> int:
    step("condense", 0.0)
    done = 0

    def count(_: Unit) -> None:
        nonlocal done
        done += 1
        step("condense", min(1.0, done / max(1, len(units))))

    made = condense_units(
        con, units, lake.root / "condensed", rules=RULES, workers=settings.resolved_threads(), done=count
    )
    step("condense", 1.0)
    return made


def _lay_scope(
    con: duckdb.DuckDBPyConnection,
    had: Arrivals,
    units: Sequence[Unit],
    known: tuple[set[str], set[str]] | None,
    root: Path,
    policy: Policy,
    settings: Settings,
) -> None:
    """The tables that detectors read, for the records to which something arrived."""
    first_logs = [(p.platform_id, p.first_at) for p in (*had.events, *had.sessions) if p.first_at is not None]
    con.execute("CREATE OR REPLACE TEMP TABLE platform_first_logs (platform_id VARCHAR, first_at TIMESTAMPTZ)")
    if first_logs:
        con.executemany("INSERT INTO platform_first_logs VALUES (?, ?)", first_logs)
    scope.find_people(con, class_hour_s=policy.class_hour_s)
    new_logs = None
    if known is not None:
        logs = (*had.events, *had.sessions)
        new_logs = [p.path for p in logs if part_name(p) not in known[1] or p.path in had.cutoffs]
        fresh = [u for u in units if u.cutoff is not None or any(p.path in new_logs for p in u.parts)]
        offer_condensed(con, fresh, root, "new")
    scope.find_touched(con, known=None if known is None else known[0], new_logs=new_logs)
    recent = sorted({p.date for p in had.events if p.date is not None})[-_DAYS_OF_ORDER:]
    sampled = [p for p in had.events if p.date in recent]
    scope.check_clock_order(con, [p.path for p in sampled], sum(p.rows for p in sampled))
    scope.lay_tables(con, timezone=settings.timezone)


def _assess(
    con: duckdb.DuckDBPyConnection,
    had: Arrivals,
    rules: _Rules,
    settings: Settings,
    step: Step,
) -> dict[str, Any]:
    """Detectors, ledger, risk and decisions; leaves ``decisions`` and ``days`` on ``con``."""

    def watched(_detector: str, number: int, total: int) -> None:
        step("detect", (number - 1) / total)

    policy = rules.policy
    segments = con.execute("SELECT count(*) FROM segments").fetchone() or (0,)
    run_detectors(
        con,
        rules.detectors,
        run_date=had.run_date,
        overrides=rules.overrides,
        buckets=1 + segments[0] // _BUCKET_ROWS,
        timezone=settings.timezone,
        progress=watched,
    )
    step("detect", 1.0)
    step("decide", 0.0)
    claims = con.sql("SELECT * FROM claims").pl()
    findings = con.sql("SELECT * FROM findings").pl()
    ledger = _ledger(con, claims, policy, settings)
    decided = decide(
        claims,
        ledger.records,
        score_records(claims, findings),
        findings,
        con.sql("SELECT platform_id, record_id, detector, missing FROM not_assessed").pl(),
        Thresholds(
            min_struck_s=policy.withhold_min_struck_s,
            min_struck_share=policy.withhold_min_struck_share,
            basis=policy.withhold_basis,
            label=policy.label,
        ),
    ).with_columns(run_date=pl.lit(had.run_date))
    _store_frame(con, "decisions", decided)
    _store_frame(con, "days", ledger.days)
    step("decide", 1.0)
    counts = dict(decided.group_by("decision").len().iter_rows())
    return {
        "records": decided.height,
        "withheld": counts.get("withhold", 0),
        "reviewed": counts.get("review", 0),
        "withheld_cny": str(decided["withheld_cny"].sum() or "0.00"),
        "findings": findings.height,
    }


def _ledger(con: duckdb.DuckDBPyConnection, claims: pl.DataFrame, policy: Policy, settings: Settings) -> Ledger:
    return keep_ledger(
        claims,
        con.sql("SELECT * FROM segments WHERE active_s > 0").pl(),
        con.sql("SELECT * FROM strikes").pl(),
        con.sql("SELECT platform_id, course_id, lesson_id, kind, duration_s FROM lessons").pl(),
        logs_presence=con.sql(
            "SELECT DISTINCT platform_id, terminal FROM capabilities WHERE \"column\" IN ('interaction', 'prompt')"
        ).pl(),
        limits=Limits(settings.timezone, policy.daily_cap_s, policy.closed_night),
    )


def _store_frame(con: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame) -> None:
    """Put ``frame`` into a new table with the contract's columns and types."""
    con.execute(f'DROP TABLE IF EXISTS "{name}"')
    con.execute(create_sql(RESULTS[name]))
    con.register("_frame", frame.to_arrow())
    columns = ", ".join(f'"{c}"' for c in RESULTS[name].names)
    con.execute(f'INSERT INTO "{name}" SELECT {columns} FROM _frame')
    con.unregister("_frame")
