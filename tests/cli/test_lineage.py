"""Lineage is printed in words and as JSON; an id that is nowhere is a user's mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from batch.run import Runs
from cli.main import app
from features.archive.files import ArchiveWriter, examples_table, predictions_table
from tidemill.clock import FakeClock
from tidemill.loading import load_project
from tidemill.registry import Manifest, Registry
from tidemill.schema import schema_of
from tidemill.topics import EXAMPLES, PREDICTIONS
from tidemill.wire import Example, Prediction, vector_bytes

FILE = Path(__file__).parents[2] / "examples" / "flights" / "project.py"
PROJECT = load_project(FILE)
MAY_1_MS = 1_367_366_400_000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One release by a run from a dataset that is gone, one answer with its label."""
    for name in ("SIGNING_KEY", "TRUSTED_KEYS"):
        monkeypatch.delenv(f"TIDEMILL_{name}", raising=False)
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path))
    made = Runs(tmp_path, PROJECT.name).begin("key", FakeClock(MAY_1_MS))
    made.note(release="r0001", dataset="d0123456789ab")
    made.end("published")
    schema = schema_of(PROJECT)
    Registry(tmp_path, PROJECT.name).publish(
        Manifest(
            "r0001", PROJECT.name, schema.hash, list(schema.names), MAY_1_MS, 0, 1, 100,
            {"examples:0": 7}, {}, {}, {}, run="run0001", dataset="d0123456789ab",
        ),
        {"model.txt": b"tree"},
    )  # fmt: skip
    vector = vector_bytes(np.zeros(2, np.float32))
    answers = [
        Prediction(f"p{n}", "UA1", MAY_1_MS, vector, schema.hash, 0.25, 0.5, release, 3, MAY_1_MS)
        for n, release in enumerate(("r0001", "prior"))
    ]
    writer = ArchiveWriter(tmp_path, PROJECT.name, PREDICTIONS, 0)
    writer.write(predictions_table(answers, 0, range(2), [0, 0]), 2)
    table = examples_table([Example(answers[0], 1.0, MAY_1_MS, 0, 0, 1)], 0, [0], [0])
    ArchiveWriter(tmp_path, PROJECT.name, EXAMPLES, 0).write(table, 1)
    return tmp_path


def run(name: str, *options: str, code: int = 0) -> str:
    """What the command prints, when it ends with this code."""
    result = CliRunner().invoke(app, ["lineage", str(FILE), name, *options])
    assert code == result.exit_code, result.output
    return result.output


def test_a_prediction_in_words() -> None:
    """A line for each thing it hangs together with."""
    text = run("p0")
    for expected in (
        "prediction p0 for UA1: 0.25 at 2013-05-01 00:00:00 (partition 0, offset 0)",
        "label 1 at 2013-05-01", "snapshot 3 of r0001", "release r0001 (champion)",
        "offsets: examples:0 7", "run run0001: published", "dataset d0123456789ab: deleted",
    ):  # fmt: skip
        assert expected in text


def test_a_prediction_of_the_prior_in_words() -> None:
    """There was no release."""
    text = run("p1")
    assert "no label yet" in text
    assert "the prior: there was no release" in text


@pytest.mark.parametrize("name", ["r0001", "run0001", "d0123456789ab", "r0001/3"])
def test_the_other_way_in_words(name: str) -> None:
    """What the release answered."""
    assert "answered 1 archived requests, 2013-05-01 00:00:00 to 2013-05-01" in run(name)


def test_as_json() -> None:
    """The same, for a script."""
    found = json.loads(run("p0", "--json"))
    assert ("prediction", "r0001", "run0001", "deleted") == (
        found["kind"], found["releases"][0]["release"], found["runs"][0]["run"],
        found["datasets"][0]["problem"],
    )  # fmt: skip


def test_an_id_that_is_nowhere() -> None:
    """Exit code 2, and where was looked."""
    text = " ".join(run("p7", code=2).split())
    assert "2 archived predictions, 1 releases" in text
