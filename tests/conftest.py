"""What several test modules share: a small invented world, and a store that has taken it in."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from learnguard import pipeline
from learnguard.settings import Settings
from learnguard.simulate import World, write_world

SMALL = {"learners": 120, "days": 3, "seed": 7}


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Logs of 120 invented learners on three platforms over three days."""
    return write_world(tmp_path_factory.mktemp("world") / "small", **SMALL)  # type: ignore[arg-type]  # all integers


@pytest.fixture(scope="session")
def small_store(small_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the small world ingested and run day by day. Read only: tests that write make their own."""
    settings = Settings(store=tmp_path_factory.mktemp("store") / "small", memory_limit="1GB")
    for number in range(small_world.days):
        day = small_world.start + timedelta(days=number)
        for delivery in small_world.deliveries:
            if delivery.day == day:
                pipeline.ingest(settings, delivery.path)
        pipeline.run(settings, day)
    return settings.store


@pytest.fixture
def shared_data() -> Path:
    """The folder of real logs beside the checkout; the test is skipped where it is absent."""
    folder = Path(os.environ.get("LEARNGUARD_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}")
    return folder
