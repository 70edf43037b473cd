"""A model made by hand is judged like a retrain's, and nothing is published."""

from __future__ import annotations

import json
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cli.main import app
from features.archive.files import ARCHIVE_SCHEMAS, BACKFILL, ArchiveWriter
from tidemill.loading import load_project
from tidemill.schema import schema_of
from tidemill.topics import EXAMPLES

RUNNER = CliRunner()
MAY_1_MS, HOUR_MS, ROWS = 1_367_366_400_000, 3_600_000, 20 * 144
PROJECT = """
import tidemill as tm
request = tm.Request({"kind": str, "x": float, "y": float})
project = tm.Project(
    name="p", request=request, label=tm.Label(key=("kind",), wait="1d"), slices=("kind",),
    events=(tm.Event("seen", key="kind", fields={"kind": str}),),
    features=(tm.RequestFeature("x", request.x), tm.RequestFeature("y", request.y)),
    gate=tm.Gate(holdout="8d", min_rows=100),
)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project file, and an archive of twenty days labelled by x."""
    file = tmp_path / "project.py"
    file.write_text(PROJECT)
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path / "home"))
    for name in ("TIDEMILL_REDIS", "TIDEMILL_KAFKA"):
        monkeypatch.delenv(name, raising=False)
    _archive(tmp_path / "home", schema_of(load_project(file)).hash)
    return file


def _archive(home: Path, schema: str) -> None:
    vectors, labels = _rows()
    times, nothing = MAY_1_MS + np.arange(ROWS) * (HOUR_MS // 6), np.full(ROWS, np.nan)
    requests = [json.dumps({"kind": f"k{row % 3}", "x": 0.0, "y": 0.0}) for row in range(ROWS)]
    columns = {
        "time": times, "key": [f"k{row}" for row in range(ROWS)], "schema": [schema] * ROWS,
        "vector": [vector.tobytes() for vector in vectors], "label": labels,
        "label_time": times + HOUR_MS, "score": nothing, "baseline": nothing,
        "release": [""] * ROWS, "snapshot": [0] * ROWS, "partition": [-1] * ROWS,
        "offset": [-1] * ROWS, "prediction_id": [f"b{row}" for row in range(ROWS)],
        "join_partition": [-1] * ROWS, "sequence": [-1] * ROWS, "known_ms": times + HOUR_MS,
        "scored_ms": times, "request": [request.encode() for request in requests],
        "weight": np.ones(ROWS), "sampled": np.ones(ROWS), "kind": ["label"] * ROWS,
        "producer": [""] * ROWS,
    }  # fmt: skip
    writer = ArchiveWriter(home, "p", EXAMPLES, BACKFILL)
    writer.write(pa.table(columns, schema=ARCHIVE_SCHEMAS[EXAMPLES]), ROWS)


def _rows() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    vectors = random.normal(size=(ROWS, 2)).astype("<f4")
    labels = random.random(ROWS) < 1 / (1 + np.exp(-2 * vectors[:, 0]))
    return vectors, labels.astype(np.float64)


def by_hand(folder: Path, learned: np.ndarray) -> Path:
    """A LightGBM model of the first eleven days, as anybody would make it."""
    vectors, _ = _rows()
    first = slice(0, 11 * 144)
    settings = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1}
    data = lightgbm.Dataset(
        vectors[first], learned[first], feature_name=["x", "y"], params=settings
    )
    path = folder / "mine.txt"
    lightgbm.train(settings, data, 30).save_model(path)
    return path


def judged(project: Path, *options: str) -> tuple[int, str]:
    """The exit code, and what is printed."""
    result = RUNNER.invoke(app, ["gate", str(project), *options])
    return result.exit_code, result.output + result.stderr


def test_a_good_model_would_be_published(project: Path, tmp_path: Path) -> None:
    """Exit code 0, the whole report as JSON, and no release."""
    model = by_hand(tmp_path, _rows()[1])
    code, output = judged(project, "--model", str(model), "--json")
    found = json.loads(output)
    assert (0, True, []) == (code, found["passed"], found["refusals"])
    assert "prior" == found["findings"]["rival"]
    assert found["findings"]["candidate"]["auc"] > 0.8
    assert not list((tmp_path / "home").glob("releases/p/r*"))


def test_a_bad_one_is_refused_with_its_reasons(project: Path, tmp_path: Path) -> None:
    """Exit code 3; a person reads a table and each reason."""
    model = by_hand(tmp_path, 1 - _rows()[1])
    code, output = judged(project, "--model", str(model))
    assert 3 == code
    assert "refused: 1152 of 1152 examples of the holdout compared, 2013-05-12 23:50 UTC" in output
    assert "log loss" in output and "calibration error" in output and "one answer, us" in output
    assert "refused: worse_log_loss: found " in output
    assert "refused: worse_calibration: found " in output


def test_people_may_label_cases(project: Path, tmp_path: Path) -> None:
    """A file of prediction ids and labels; one that is none is a mistake."""
    model, labels = by_hand(tmp_path, _rows()[1]), tmp_path / "labels.json"
    labels.write_text('{"b7": 1}')
    assert 0 == judged(project, "--model", str(model), "--labelled", str(labels))[0]
    labels.write_text('{"b7": "yes"}')
    code, output = judged(project, "--model", str(model), "--labelled", str(labels))
    assert 2 == code
    assert "--labelled: found " in output and 'allowed: JSON such as {"prediction id": 1}' in output


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("model.pickle", 2, "allowed: a file ending in .txt, .msgpack, .safetensors, .model"),
        ("none.txt", 2, "none.txt (No such file or directory); allowed: a file"),
        ("broken.txt", 1, ""),
    ],
)
def test_what_is_no_model(
    project: Path, tmp_path: Path, name: str, code: int, message: str
) -> None:
    """One line says what is wrong with the file."""
    (tmp_path / "broken.txt").write_text("tree\nnot really")
    found, output = judged(project, "--model", str(tmp_path / name))
    assert code == found
    assert message in output
    assert "Traceback" not in output
