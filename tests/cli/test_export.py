"""A release is exported from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from batch.trainers.families import new_trainer
from batch.trainers.trainer import TrainingRows
from cli.main import app
from tidemill import LightGBM
from tidemill.loading import load_project
from tidemill.registry import Manifest, Registry
from tidemill.schema import schema_of

FILE = Path(__file__).parents[2] / "examples" / "flights" / "project.py"
PROJECT = load_project(FILE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one release of a few trees."""
    for name in ("KAFKA", "SIGNING_KEY", "TRUSTED_KEYS"):
        monkeypatch.delenv(f"TIDEMILL_{name}", raising=False)
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path))
    schema = schema_of(PROJECT)
    random = np.random.default_rng(1)
    vectors = random.normal(size=(500, len(schema.names))).astype(np.float32)
    for name in schema.categorical:
        vectors[:, schema.names.index(name)] = random.integers(0, 9, 500)
    rows = TrainingRows.of(vectors, vectors[:, 5] > 0)
    model = new_trainer(LightGBM(leaves=7, rounds=5), schema, PROJECT.task, 1).train(rows)
    manifest = Manifest(
        "r0001", PROJECT.name, schema.hash, list(schema.names), 1, 0, 1, 500, {}, {}, {}, {}
    )
    Registry(tmp_path, PROJECT.name).publish(manifest, {model.name: model.data})
    return tmp_path


def test_a_release_is_written_as_onnx(home: Path) -> None:
    """Checked first; what was checked is told."""
    pytest.importorskip("onnxruntime")
    out = home / "model.onnx"
    arguments = ["models", "export", str(FILE), "r0001", "--onnx", str(out)]
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert 0 == found.exit_code, found.output
    said = json.loads(found.output)
    assert (len(out.read_bytes()), 2000) == (said["bytes"], said["checked_rows"])
    assert said["largest_difference"] < 1e-12
    assert "within" in CliRunner().invoke(app, arguments).output


def test_a_release_that_is_not_there_is_one_line(home: Path) -> None:
    """And nothing is written."""
    out = home / "model.onnx"
    found = CliRunner().invoke(app, ["models", "export", str(FILE), "r0009", "--onnx", str(out)])
    assert (2, False) == (found.exit_code, out.exists())
    assert "r0009" in found.output


@pytest.mark.parametrize("where", [".", "nowhere/model.onnx"])
def test_where_no_file_can_be_is_a_mistake(home: Path, where: str) -> None:
    """A folder, or a file in one that does not exist: said before any work."""
    out = home / where
    found = CliRunner().invoke(app, ["models", "export", str(FILE), "r0001", "--onnx", str(out)])
    expected = f"tidemill: --onnx: found {out}; allowed: a file in an existing folder\n"
    assert (2, expected) == (found.exit_code, found.output)
