"""``learnguard detectors``: what is looked for, with which numbers, and whether the cases hold."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from learnguard.cli.screen import say, say_json
from learnguard.errors import PackError
from learnguard.settings import load_settings

if TYPE_CHECKING:
    from learnguard.detection.model import Detector

app = typer.Typer(help="List, show and test the detectors.", no_args_is_help=True, rich_markup_mode=None)


class Language(StrEnum):
    """Languages of the texts."""

    zh = "zh"
    en = "en"


LangOption = Annotated[Language, typer.Option(help="zh or en.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs.")]


def _detectors() -> tuple[Detector, ...]:
    from learnguard.detection.packs import default_root, load_packs  # noqa: PLC0415 - keeps --help fast

    return load_packs([default_root(), *load_settings().packs])


@app.command("list", epilog="Example:\n\n  learnguard detectors list --lang en")
def list_(lang: LangOption = Language.zh, as_json: JsonOption = False) -> None:
    """Every detector: id, version, strength, status and title."""
    found = _detectors()
    if as_json:
        say_json(
            [
                {"id": d.id, "version": d.version, "strength": d.strength, "severity": d.severity, "status": d.status,
                 "title": d.title.text(lang.value), "clause": d.clause}
                for d in found
            ]
        )  # fmt: skip
        return
    for d in found:
        say(f"{d.id:<28} v{d.version}  {d.strength:<11} {d.status:<12} {d.title.text(lang.value)}")


@app.command(epilog="Example:\n\n  learnguard detectors show concurrent_sessions --lang en")
def show(name: Annotated[str, typer.Argument(metavar="NAME")], lang: LangOption = Language.zh) -> None:
    """One detector, whole: what it finds, its numbers and why, how it errs, how to triage it, its SQL."""
    from learnguard.detection.catalogue import catalogue  # noqa: PLC0415 - keeps --help fast

    found = [d for d in _detectors() if d.id == name]
    if not found:
        raise PackError(f"there is no detector {name}", hint="List them: learnguard detectors list")
    say(catalogue(found, lang.value))


@app.command("test", epilog="Example:\n\n  learnguard detectors test idle_playback")
def run_cases(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all of them.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the cases that stand beside each detector. Exit code 5 when one fails."""
    from learnguard.detection.cases import check_cases  # noqa: PLC0415 - keeps --help fast

    found = _detectors()
    unknown = sorted(set(names or ()) - {d.id for d in found})
    if unknown:
        raise PackError(f"there is no detector {unknown[0]}", hint="List them: learnguard detectors list")
    results = [(d.id, r) for d in found if not names or d.id in names for r in check_cases(d)]
    failed = [(d, r) for d, r in results if not r.passed]
    if as_json:
        say_json(
            [{"detector": d, "case": r.name, "passed": r.passed, "problems": list(r.problems)} for d, r in results]
        )
    else:
        for detector, result in failed:
            say(f"FAILED {detector}: {result.name}")
            for problem in result.problems:
                say(f"       {problem}")
        say(f"{len(results) - len(failed)} cases passed, {len(failed)} failed")
    if failed:
        raise typer.Exit(PackError.exit_code)


@app.command(epilog="Example:\n\n  learnguard detectors catalogue --lang zh --out detectors.md")
def catalogue(
    lang: LangOption = Language.zh,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: print it.")] = None,
) -> None:
    """The catalogue page of all detectors, as Markdown."""
    from learnguard.detection.catalogue import catalogue as made  # noqa: PLC0415 - keeps --help fast

    page = made(_detectors(), lang.value)
    if out is None:
        say(page)
        return
    out.write_text(page, encoding="utf-8")
    say(str(out))
