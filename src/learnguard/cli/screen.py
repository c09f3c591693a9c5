"""What a command shows: progress while it works, results when it is done, errors that say what to do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from learnguard.errors import LearnGuardError


class Step(Protocol):
    """Told the name of a step and how far it is, 0 to 1."""

    def __call__(self, step: str, share: float) -> None: ...  # noqa: D102 - the protocol itself


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Step]:
    """A progress bar per step on a terminal, plain lines elsewhere, nothing where ``quiet``. Goes to stderr."""
    if quiet:
        yield lambda step, share: None  # noqa: ARG005 - told, and silent
        return
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bars:
            tasks: dict[str, Any] = {}

            def show(step: str, share: float) -> None:
                if step not in tasks:
                    tasks[step] = bars.add_task(f"{title}: {step}", total=1.0)
                bars.update(tasks[step], completed=share)

            yield show
        return
    yield _plain(title)


def _plain(title: str) -> Step:
    """Lines for logs: one when a step begins, one every ten seconds, one when it ends."""
    said: dict[str, float] = {}
    ended: set[str] = set()

    def show(step: str, share: float) -> None:
        now = time.monotonic()
        if share >= 1:
            if step not in ended:
                ended.add(step)
                print(f"{title}: {step} done", file=sys.stderr, flush=True)
        elif step not in said or now - said[step] > 10:
            said[step] = now
            print(f"{title}: {step} {share:.0%}", file=sys.stderr, flush=True)

    return show


def say(text: str) -> None:
    """One line of a result, to stdout."""
    print(text)


def say_json(value: Any) -> None:
    """A result for programs: one JSON value to stdout, text as it is, times and decimals as strings."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def complain(error: LearnGuardError) -> int:
    """Say what went wrong and what to do, to stderr; the exit code to leave with."""
    print(f"error: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint:  {error.hint}", file=sys.stderr)
    return error.exit_code
