"""The notebook runs from top to bottom on a fresh store, and shows nobody's personal data."""

from __future__ import annotations

import json
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest

from learnguard import pipeline
from learnguard.public import open_store
from learnguard.settings import load_settings
from learnguard.simulate import write_world

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "first_case.ipynb"


def read() -> nbformat.NotebookNode:
    notebook: nbformat.NotebookNode = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]  # nbformat's
    return notebook


def cells() -> list[dict[str, Any]]:
    return list(json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"])


def test_the_notebook_is_kept_without_outputs() -> None:
    code = [c for c in cells() if c["cell_type"] == "code"]
    assert len(code) > 10
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    nbformat.validate(read())


def test_the_notebook_asks_for_no_personal_data() -> None:
    code = "\n".join("".join(c["source"]) for c in cells() if c["cell_type"] == "code")
    for word in ("roster", "phone", "id_masked", "learner_id", "registry", "user_agent", '"ip"', " ip,"):
        assert word not in code


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebook")
    world = write_world(folder / "world", learners=120, days=3)
    settings = load_settings(environ={}, cwd=folder, store=folder / "store")
    for delivery in world.deliveries:
        pipeline.ingest(settings, delivery.path)
    pipeline.run(settings, world.start + timedelta(days=world.days - 1))
    return settings.store


@pytest.fixture(scope="module")
def shown(store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Everything that the notebook puts out on ``store``."""
    folder = tmp_path_factory.mktemp("kernel")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # The kernel's transport warns of things that are neither the notebook's nor ours.
        warnings.simplefilter("ignore")
        from nbclient import NotebookClient

        patch.setenv("LEARNGUARD_STORE", str(store))
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        notebook = read()
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=60, kernel_name="python3", resources=resources).execute()
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in outputs if o.get("name") == "stderr"]
    return "\n".join(o.get("text") or o["data"]["text/plain"] for o in outputs)


def test_the_notebook_tells_the_case_of_the_store(store: Path, shown: str) -> None:
    with open_store(store) as con:
        case = con.execute("""
            SELECT f.record_id, f.explanation_zh, f.explanation_en, f.clause, d.decision, d.note_zh, d.credited_s
            FROM findings AS f JOIN decisions AS d USING (run_date, platform_id, record_id)
            WHERE d.decision <> 'clear'
            ORDER BY (f.strength = 'proof') DESC, f.struck_s DESC NULLS LAST, f.finding_id LIMIT 1
        """).fetchone()
        segments = con.execute("SELECT platform_id, count(*) FROM segments GROUP BY ALL").fetchall()
    assert case is not None
    for text in case:
        assert str(text) in shown
    assert segments
    for platform, count in segments:
        assert any(platform in line and f" {count} " in line for line in shown.splitlines())
    assert "FROM segments" in shown


def test_the_notebook_shows_nobody(store: Path, shown: str) -> None:
    with open_store(store) as con:
        rows = con.execute("SELECT name, phone, id_masked, learner_id FROM roster").fetchall()
    for column in zip(*rows, strict=True):
        personal = {str(v) for v in column if v is not None}
        assert len(personal) > 20
        assert not [v for v in personal if v in shown]
