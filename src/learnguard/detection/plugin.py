"""pytest plugin: every ``cases.toml`` beside a ``detector.toml`` is collected, one test per case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from learnguard.detection.cases import Case, check_case, load_cases
from learnguard.detection.model import Detector
from learnguard.detection.packs import load_detector


class CaseMismatchError(Exception):
    """A case came out other than expected."""


class CaseItem(pytest.Item):
    """One case of one detector."""

    def __init__(self, name: str, parent: pytest.Collector, *, detector: Detector, case: Case) -> None:
        super().__init__(name, parent)
        self.detector, self.case = detector, case

    def runtest(self) -> None:
        """Run the case; raises CaseMismatchError where it comes out otherwise."""
        result = check_case(self.detector, self.case)
        if not result.passed:
            raise CaseMismatchError("\n".join(result.problems))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:  # noqa: ARG002 - pytest's signature
        """The problems alone: a stack trace says nothing about a case."""
        if isinstance(excinfo.value, CaseMismatchError):
            return f"{self.detector.id}: {self.case.name}\n{excinfo.value}"
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where the case stands."""
        return self.path, None, f"{self.detector.id}: {self.case.name}"


class CaseFile(pytest.File):
    """A detector's cases.toml."""

    def collect(self) -> Iterator[CaseItem]:
        """One item per case."""
        detector = load_detector(self.path.parent)
        for case in load_cases(detector):
            yield CaseItem.from_parent(self, name=case.name, detector=detector, case=case)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CaseFile | None:
    """Collect ``cases.toml`` files of detectors, and nothing else."""
    if file_path.name == "cases.toml" and (file_path.parent / "detector.toml").is_file():
        return CaseFile.from_parent(parent, path=file_path)
    return None
