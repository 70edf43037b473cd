"""The example with a trainer of its own: its notebook runs, and what it trains is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.demo.backfill import Backfill
from cli.demo.history import read_history
from features.plan import compile_plan
from tidemill.durations import DAY_MS, HOUR_MS
from tidemill.loading import load_project

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "own_model"
DAYS = 25


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """What the demo leaves behind, of some days in January."""
    plan, history = compile_plan(load_project(EXAMPLE / "project.py")), read_history()
    end = int(history.requests["time"][0]) // DAY_MS * DAY_MS + DAYS * DAY_MS
    backfill = Backfill(plan, history, end, HOUR_MS)
    home = tmp_path / ".tidemill" / "demo"
    backfill.archive(home, *backfill.run())
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def test_the_notebook_runs(
    archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every cell, in order, in a folder where the demo has run."""
    monkeypatch.chdir(archive)
    notebook = json.loads((EXAMPLE / "explore.ipynb").read_text())
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert [] == cell["outputs"]
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    said = capsys.readouterr().out
    assert names["report"].passed
    assert "minute\n" in said
    assert names["found"].trials >= 4
