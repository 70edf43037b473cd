"""`tidemill runs` shows how far each retrain came, and a run that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batch.run import RUN_FILE, Runs
from cli.main import app
from tidemill.clock import FakeClock

PROJECT = str(Path(__file__).resolve().parents[2] / "examples" / "flights" / "project.py")


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """A run that ended, one that was cut off in its second stage, and a damaged one."""
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    made, clock = Runs(tmp_path, "flights"), FakeClock(1_400_000_000_000)
    ended = made.begin("k", clock)
    ended.stage("dataset", lambda: {"dataset.txt": b"d0123456789ab"})
    ended.end("refused", ("worse_log_loss: found 0.5; allowed: 0.4",))
    made.begin("k", clock).note(stage="search")
    (made.begin("other", clock).folder / RUN_FILE).write_bytes(b"{")
    return made


def run(*arguments: str, code: int = 0) -> str:
    """What the command says."""
    result = CliRunner().invoke(app, ["runs", *arguments])
    assert code == result.exit_code, result.output
    return result.output


def test_all_runs_are_listed() -> None:
    """Also one that nobody can read."""
    said = run("list", PROJECT)
    for words in ("refused", "in, or cut off in, search", "damaged: its run.json"):
        assert words in said
    outcomes = [each["outcome"] for each in json.loads(run("list", PROJECT, "--json"))]
    assert ["refused", "", "damaged"] == outcomes
    assert ["damaged"] == [
        each["outcome"] for each in json.loads(run("list", PROJECT, "--last", "1", "--json"))
    ]


def test_a_run_is_shown() -> None:
    """Its stages, and why nothing was published."""
    said = run("show", PROJECT, "run0001")
    assert "dataset: 0.0 s, dataset.txt" in said
    assert "refused: worse_log_loss: found 0.5" in said
    found = json.loads(run("show", PROJECT, "run0001", "--json"))
    assert ("refused", ["dataset"]) == (found["outcome"], [s["name"] for s in found["stages"]])


def test_an_unknown_run_is_a_mistake() -> None:
    """With those that are known; a damaged one is a failure."""
    assert "allowed: run0001, run0002, run0003" in run("show", PROJECT, "run0009", code=2)
    assert "run run0003: " in run("show", PROJECT, "run0003", code=1)
