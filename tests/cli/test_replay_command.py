"""The replay command says in words or JSON what was rebuilt, and ends with a code for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from features.archive.files import ArchiveWriter, predictions_table
from tidemill.loading import load_project
from tidemill.schema import schema_of
from tidemill.topics import PREDICTIONS
from tidemill.wire import Prediction, vector_bytes

FILE = Path(__file__).parents[2] / "examples" / "flights" / "project.py"
PROJECT = load_project(FILE)
SCHEMA = schema_of(PROJECT)
MAY_1_MS = 1_367_366_400_000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four answers of the prior and of a release that is gone; requests were not logged."""
    for name in ("SIGNING_KEY", "TRUSTED_KEYS", "REDIS", "KAFKA"):
        monkeypatch.delenv(f"TIDEMILL_{name}", raising=False)
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path))
    vector = vector_bytes(np.zeros(len(SCHEMA.names), np.float32))
    first = Prediction(
        "p0", "UA1", MAY_1_MS, vector, SCHEMA.hash, 0.5, 0.5, "prior", 0, MAY_1_MS + 7
    )
    made = [
        first,
        msgspec.structs.replace(first, id="p1", score=0.25),
        msgspec.structs.replace(first, id="p2", release="r0001", snapshot=3, offset=9),
        msgspec.structs.replace(first, id="p3", schema="else", key=""),
    ]
    table = predictions_table(made, 0, range(4), [0] * 4)
    ArchiveWriter(tmp_path, PROJECT.name, PREDICTIONS, 0).write(table, 4)
    return tmp_path


def run(*arguments: str, code: int) -> str:
    """What the command prints, when it ends with this code."""
    result = CliRunner().invoke(app, ["replay", str(FILE), *arguments])
    assert code == result.exit_code, result.output
    return result.output


def test_a_person_reads_what_was_rebuilt() -> None:
    """Each prediction with its weights, both scores, and why not."""
    lines = run("p0", "p1", "p2", "p3", code=6).splitlines()
    assert "prediction p0 for UA1: differs" == lines[0]
    assert "  scored 2013-05-01 00:00:00.007 by snapshot 0 of prior (champion)" == lines[1]
    assert lines[2].startswith("  features: its request was not logged")
    text = "\n".join(lines)
    for expected in (
        "  weights: prior and 0 examples, from offset 0 to 0",
        "  score: 0.5; baseline: 0.5",
        "  score: 0.25, rebuilt 0.5; baseline: 0.5",
        "p2 for UA1: cannot be replayed (release_deleted): release r0001 was deleted",
        "p3 for no key: cannot be replayed (other_schema): it was scored for the features else",
    ):
        assert expected in text


def test_a_script_reads_json() -> None:
    """The same, with every feature."""
    found = json.loads(run("p1", "--json", code=6))
    assert [] == found["unknown"]
    (one,) = found["predictions"]
    assert ("p1", False, {"logged": 0.25, "replayed": 0.5, "equal": False, "release": "prior"}) == (
        one["id"], one["exact"], one["score"],
    )  # fmt: skip


def test_an_id_that_is_nowhere_is_a_mistake() -> None:
    """Exit code 2, and where was looked; what is known is told all the same."""
    text = run("p0", "p7", code=2)
    assert "prediction p0 for UA1" in text
    assert "id: found 'p7'; allowed: one of 4 archived predictions" in text


def test_the_project_is_checked_first() -> None:
    """One line and exit code 2."""
    result = CliRunner().invoke(app, ["replay", "nowhere.py", "p0"])
    assert (2, True) == (result.exit_code, "project file: found" in result.output)
