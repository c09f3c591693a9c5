"""The pages under docs/ are what the packs say today."""

from __future__ import annotations

from pathlib import Path

import pytest

from learnguard.detection.catalogue import catalogue
from learnguard.detection.model import Lang
from learnguard.detection.packs import load_packs

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_page_is_current(lang: Lang) -> None:
    page = (DOCS / f"detectors.{lang}.md").read_text(encoding="utf-8")
    assert page == catalogue(load_packs(), lang), (
        f'docs/detectors.{lang}.md is stale: write catalogue(load_packs(), "{lang}") to it'
    )


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_detector_has_its_section_with_params_lookalikes_and_sql(lang: Lang) -> None:
    detectors = load_packs()
    page = catalogue(detectors, lang)
    for d in detectors:
        section = page.split(f'<a id="{d.id}"></a>')[1].split("<a id=")[0]
        assert d.title.text(lang) in section
        assert d.sql in section
        for p in d.params:
            assert f"| `{p.name}` | {p.value} |" in section
            assert p.why.text(lang) in section
        for text in d.lookalikes.values():
            assert text.text(lang) in section


def test_pages_are_in_one_language() -> None:
    page = catalogue(load_packs(), "en")
    prose = "\n".join(line for line in page.splitlines() if not line.startswith("- **Clause**"))
    assert not any("\u4e00" <= c <= "\u9fff" for c in prose)
