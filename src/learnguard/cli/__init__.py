"""The command line: ``learnguard COMMAND``. Every command has ``--help`` with an example."""

from __future__ import annotations

import sys
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import click
import typer

from learnguard.cli import detectors as detectors_command
from learnguard.cli.screen import complain, progress, say, say_json
from learnguard.errors import LearnGuardError
from learnguard.settings import Settings, load_settings

app = typer.Typer(
    name="learnguard",
    help="Check learning logs behind training subsidies: every flag explains itself, and people decide.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(detectors_command.app, name="detectors")


class ReportFormat(StrEnum):
    """What a report can be written as."""

    html = "html"
    csv = "csv"
    xlsx = "xlsx"
    json = "json"


class Language(StrEnum):
    """What a report can be read in."""

    zh = "zh"
    en = "en"


StoreOption = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="The store's folder (default: learnguard-store).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs.")]
DateOption = Annotated[
    str | None, typer.Option("--date", metavar="YYYY-MM-DD", help="The report date (default: today, in the zone set).")
]


def _example(*lines: str) -> str:
    return "Example:\n\n" + "\n\n".join(f"  {line}" for line in lines)


def _settings(**values: Any) -> Settings:
    return load_settings(**values)


def _date(text: str | None, settings: Settings) -> date:
    if text is None:
        return datetime.now(ZoneInfo(settings.timezone)).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise LearnGuardError(f"{text!r} is not a date", hint="Write it as 2026-03-01.") from None


@app.command(epilog=_example("learnguard ingest deliveries/2026-03-02 roster.xlsx --platform muke"))
def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Deliveries: folders, zips or single files.")],
    platform: Annotated[str | None, typer.Option(help="Platform of rows that do not name one.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Zone of times without one (default: Asia/Shanghai).")] = None,
    source: Annotated[str | None, typer.Option(help="Mapping of a foreign format, for example xapi.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take deliveries into the store. Bad rows go to quarantine with their reason; good rows go on."""
    from learnguard import pipeline  # noqa: PLC0415 - keeps --help fast

    settings = _settings(store=store)
    results = []
    failed: LearnGuardError | None = None
    for path in paths:
        try:
            with progress(path.name, quiet=as_json) as step:
                outcome = pipeline.ingest(
                    settings, path, platform_id=platform, timezone=timezone, source=source, step=step
                )
        except LearnGuardError as error:
            # One delivery that cannot be read does not keep the others out.
            complain(error)
            failed = failed or error
            results.append({"path": str(path), "error": str(error), "hint": error.hint})
            continue
        results.append({"path": str(path), **_outcome_facts(outcome)})
        if not as_json:
            _say_outcome(path, outcome)
    if as_json:
        say_json(results)
    if failed is not None:
        raise typer.Exit(failed.exit_code)


def _outcome_facts(outcome: Any) -> dict[str, Any]:
    return {
        "delivery_id": outcome.delivery_id,
        "is_new": outcome.is_new,
        "ingested_at": outcome.since,
        "rows": outcome.rows,
        "good": outcome.good,
        "quarantined": outcome.bad,
        "reasons": [
            {"file": f, "column": c or None, "reason": r, "rows": n} for (f, c, r), n in sorted(outcome.reasons.items())
        ],
        "unknown_columns": {f: list(c) for f, c in outcome.unknown_columns.items()},
        "unrecognised_files": list(outcome.unrecognised),
        "sum_mismatches": list(outcome.sum_mismatches),
        "seconds": round(outcome.seconds, 2),
    }


def _say_outcome(path: Path, outcome: Any) -> None:
    short = outcome.delivery_id[:12]
    if not outcome.is_new:
        say(f"{path}: already there since {outcome.since:%Y-%m-%d %H:%M} UTC (delivery {short}); nothing changed")
        return
    say(
        f"{path}: {outcome.good:,} rows taken, {outcome.bad:,} to quarantine "
        f"(delivery {short}, {outcome.seconds:.1f} s)"
    )
    for (file, column, reason), rows in sorted(outcome.reasons.items()):
        say(f"  quarantine: {file}{', column ' + column if column else ''}: {reason} ({rows:,} rows)")
    for file, columns in outcome.unknown_columns.items():
        say(f"  not in the contract, ignored: {file}: {', '.join(columns)}")
    for name in outcome.unrecognised:
        say(f"  left aside, not named after a table: {name}")
    for name in outcome.sum_mismatches:
        say(f"  the sum in delivery.toml does not agree: {name}")


@app.command(epilog=_example("learnguard run --date 2026-03-02"))
def run(on: DateOption = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Assess every record to which something arrived, and publish the day's findings and decisions."""
    from learnguard import pipeline  # noqa: PLC0415 - keeps --help fast

    settings = _settings(store=store)
    with progress("run", quiet=as_json) as step:
        outcome = pipeline.run(settings, _date(on, settings), step=step)
    if as_json:
        say_json(
            {
                "run_date": outcome.run.run_date,
                "version": outcome.run.version,
                "file": str(outcome.run.path),
                "records": outcome.records,
                "withheld": outcome.withheld,
                "review": outcome.reviewed,
                "withheld_cny": outcome.withheld_cny,
                "findings": outcome.findings,
                "seconds": outcome.seconds,
                "warnings": list(outcome.warnings),
            }
        )
        return
    for warning in outcome.warnings:
        say(f"warning: {warning}")
    say(
        f"{outcome.run.run_date} (version {outcome.run.version}): {outcome.records:,} records assessed, "
        f"{outcome.withheld:,} withheld and {outcome.reviewed:,} to review, {outcome.withheld_cny} yuan waiting for a "
        f"person's decision; {outcome.seconds:.1f} s"
    )
    say(f"next: learnguard report --date {outcome.run.run_date} --out report.html")


@app.command(epilog=_example("learnguard report --date 2026-03-02 --format xlsx --lang zh --out report.xlsx"))
def report(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write it.")],
    on: DateOption = None,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="html is one file that opens offline.")
    ] = ReportFormat.html,
    lang: Annotated[Language, typer.Option(help="zh or en.")] = Language.zh,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a published run (default: the latest)."""
    from learnguard.report import write_report  # noqa: PLC0415 - keeps --help fast
    from learnguard.runs import open_run, run_of  # noqa: PLC0415

    settings = _settings(store=store)
    chosen = run_of(settings.store, _date(on, settings) if on else None)
    with open_run(chosen) as con:
        files = write_report(con, out, format=form.value, lang=lang.value)
    if as_json:
        say_json({"run_date": chosen.run_date, "version": chosen.version, "files": [str(f) for f in files]})
        return
    for file in files:
        say(f"{chosen.run_date} (version {chosen.version}): {file}")


@app.command(epilog=_example("learnguard deliveries --json"))
def deliveries(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List what the store has taken in."""
    from learnguard.store import Lake  # noqa: PLC0415 - keeps --help fast

    entries = Lake.open(_settings(store=store).store).deliveries()
    if as_json:
        say_json(
            [
                {
                    "seq": e.seq, "delivery_id": e.delivery_id, "platforms": list(e.platform_ids), "source": e.source,
                    "timezone": e.timezone, "delivered_at": e.delivered_at, "ingested_at": e.ingested_at,
                    "ingested_by": e.ingested_by, "rows": sum(f.rows for f in e.files),
                    "quarantined": sum(f.bad for f in e.files), "files": [f.name for f in e.files], "hash": e.hash,
                }
                for e in entries
            ]
        )  # fmt: skip
        return
    for e in entries:
        tables = ", ".join(dict.fromkeys(f.table for f in e.files))
        say(
            f"{e.seq:>5}  {e.delivery_id[:12]}  {e.ingested_at:%Y-%m-%d %H:%M}  "
            f"{', '.join(e.platform_ids) or '-'}: {tables}"
            f"  {sum(f.good for f in e.files):,} rows, {sum(f.bad for f in e.files):,} in quarantine"
        )


@app.command(epilog=_example("learnguard verify"))
def verify(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check the store: the chain of deliveries and the hash of every file. Exit code 4 on any fault."""
    from learnguard.store import Lake  # noqa: PLC0415 - keeps --help fast

    lake = Lake.open(_settings(store=store).store)
    faults = lake.verify()
    if as_json:
        say_json({"deliveries": len(lake.deliveries()), "faults": faults})
    else:
        for fault in faults:
            say(f"fault: {fault}")
        say(f"{len(lake.deliveries())} deliveries, {len(faults)} faults")
    if faults:
        raise typer.Exit(4)


@app.command(epilog=_example('learnguard shell -c "SELECT decision, count(*) FROM decisions GROUP BY 1"'))
def shell(
    command: Annotated[
        str | None, typer.Option("--command", "-c", metavar="SQL", help="Run one query and leave.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """DuckDB over everything: raw tables, segments, findings, decisions. Reads only."""
    from learnguard.cli.shell import run_shell  # noqa: PLC0415 - keeps --help fast

    run_shell(_settings(store=store).store, command)


@app.command(epilog=_example("learnguard demo --out demo"))
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder for logs, store and reports.")] = Path(
        "demo"
    ),
    learners: Annotated[int, typer.Option(min=50, max=20_000, help="How many invented learners.")] = 600,
    days: Annotated[int, typer.Option(min=2, max=60, help="How many days of logs.")] = 7,
    seed: Annotated[int, typer.Option(help="The same seed makes the same world.")] = 20260301,
    as_json: JsonOption = False,
) -> None:
    """Make invented logs of three platforms, ingest them, run, and leave reports. Nobody in them is real."""
    from learnguard.cli.demo import run_demo  # noqa: PLC0415 - keeps --help fast

    run_demo(out, learners=learners, days=days, seed=seed, as_json=as_json)


@app.command(epilog=_example("learnguard simulate world --learners 2000 --days 14"))
def simulate(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    learners: Annotated[int, typer.Option(min=10, max=1_000_000)] = 600,
    days: Annotated[int, typer.Option(min=1, max=365)] = 7,
    seed: Annotated[int, typer.Option()] = 20260301,
    prevalence: Annotated[float, typer.Option(min=0, max=1, help="Share of learners with something injected.")] = 0.06,
    as_json: JsonOption = False,
) -> None:
    """Write deliveries of a made-up province, and the truth about what was injected."""
    from learnguard.simulate import write_world  # noqa: PLC0415 - keeps --help fast

    if out.exists() and any(out.iterdir()):
        raise LearnGuardError(f"{out} is not empty", hint="Name a new folder.")
    world = write_world(out, learners=learners, days=days, seed=seed, prevalence=prevalence)
    facts = {
        "deliveries": len(world.deliveries), "records": world.records,
        "events": world.events, "sessions": world.sessions,
        "injected": world.truth.height, "out": str(out),
    }  # fmt: skip
    if as_json:
        say_json(facts)
    else:
        say(
            f"{out}: {facts['deliveries']} deliveries, {world.records:,} records, {world.events:,} events, "
            f"{world.sessions:,} sessions; {world.truth.height} behaviours injected, listed in truth.parquet"
        )


@app.command(epilog=_example("learnguard serve --port 8321"))
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: this machine only).")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535)] = None,
    store: StoreOption = None,
) -> None:
    """Serve today's report as a page and the API under /api/v1."""
    import uvicorn  # noqa: PLC0415 - keeps --help fast

    from learnguard.web import create_app  # noqa: PLC0415

    settings = _settings(store=store, host=host, port=port)
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="info")


def main() -> None:
    """Entry point of the ``learnguard`` command."""
    command = typer.main.get_command(app)
    try:
        code = command.main(standalone_mode=False)
    except LearnGuardError as error:
        sys.exit(complain(error))
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
