"""The dataset command writes a training set that any tool can read."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.main import app
from features.archive.files import ArchiveWriter, examples_table
from features.plan import compile_plan
from tidemill.loading import load_project
from tidemill.topics import EXAMPLES
from tidemill.wire import Example, Prediction

RUNNER = CliRunner()
MAY_1_MS = 1_367_366_400_000
PROJECT = """
import tidemill as tm

seen = tm.Event("seen", key="card", fields={"card": str})
request = tm.Request({"card": str, "amount": float})
project = tm.Project(
    name="shop", events=(seen,), request=request, label=tm.Label(key=("card",), wait="1d"),
    features=(
        tm.RequestFeature("amount", request.amount),
        tm.RequestFeature("label_time", request.amount),
    ),
)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three labelled predictions, a day apart."""
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path / "home"))
    file = tmp_path / "shop.py"
    file.write_text(PROJECT)
    schema = compile_plan(load_project(file)).schema.hash
    examples = []
    for day in range(3):
        time = MAY_1_MS + day * 86_400_000
        vector = np.array([day, np.nan], "<f4").tobytes()
        prediction = Prediction(f"p{day}", f"k{day}", time, vector, schema, 0.5, 0.5, "r", 1, time)
        examples.append(Example(prediction, day % 2, time + 1, time + 1, 0, day + 1))
    table = examples_table(examples, 0, range(3), [MAY_1_MS] * 3)
    ArchiveWriter(tmp_path / "home", "shop", EXAMPLES, 0).write(table, 3)
    return file


def test_every_example_is_a_row(file: Path, tmp_path: Path) -> None:
    """Times with their zone, the label, the features; a name that is taken gets a prefix."""
    out = tmp_path / "set.parquet"
    result = RUNNER.invoke(app, ["dataset", str(file), "--out", str(out), "--json"])
    assert 0 == result.exit_code, result.output
    found = json.loads(result.output)
    assert (3, 1, 2, 0, 0) == tuple(
        found[name] for name in ("rows", "positives", "features", "backfilled", "left_out")
    )
    table = pq.read_table(out)
    expected = ["time", "key", "label", "label_time", "amount", "feature_label_time"]
    assert expected == table.column_names
    assert datetime(2013, 5, 1, tzinfo=UTC) == table["time"][0].as_py()
    assert ([0, 1, 0], ["k0", "k1", "k2"]) == (
        table["label"].to_pylist(), table["key"].to_pylist()
    )  # fmt: skip
    assert [0.0, 1.0, 2.0] == table["amount"].to_pylist()
    assert found["schema"].encode() == table.schema.metadata[b"tidemill_schema"]
    assert [out] == list(tmp_path.glob("*.parquet"))


def test_a_range_of_times(file: Path, tmp_path: Path) -> None:
    """From is inside, to is not; a date is its first moment in UTC."""
    out = tmp_path / "set.parquet"
    span = ["--from", "2013-05-02", "--to", "2013-05-03T02:00+02:00"]
    assert 0 == RUNNER.invoke(app, ["dataset", str(file), "--out", str(out), *span]).exit_code
    assert ["k1"] == pq.read_table(out)["key"].to_pylist()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "yesterday"], "--from: found 'yesterday'; allowed: a date or time"),
        (["--out", "nowhere/set.parquet"], "--out: found nowhere/set.parquet; allowed: a file"),
    ],
)
def test_a_mistake_is_one_line(file: Path, options: list[str], said: str) -> None:
    """Option, found and allowed; exit code 2."""
    arguments = ["dataset", str(file), "--out", "set.parquet", *options]
    result = RUNNER.invoke(app, arguments)
    assert (2, True) == (result.exit_code, said in result.output)
    assert 1 == len(result.output.splitlines())
