"""The dataset commands make, list, show, compare and export training sets."""

import errno
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from batch.datasets.parts import PartWriter
from cli.dataset_words import _rule
from cli.main import app
from features.archive.files import ArchiveWriter, examples_table
from features.plan import compile_plan
from tidemill.dataset_rule import DatasetRule, Match, Share
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


@pytest.fixture
def run(file: Path) -> Callable[..., Any]:
    """Runs a dataset command on the project; what --json gave, or the text."""

    def run(command: str, *options: str, code: int = 0, text: bool = False) -> Any:
        arguments = ["dataset", command, str(file), *options, *([] if text else ["--json"])]
        result = RUNNER.invoke(app, arguments)
        assert code == result.exit_code, result.output
        return result.output if text or code else json.loads(result.output)

    return run


Run = Callable[..., Any]


def test_every_example_is_a_row(run: Run, tmp_path: Path) -> None:
    """Times with their zone, the label, the features; a name that is taken gets a prefix."""
    out = tmp_path / "set.parquet"
    found = run("export", "--out", str(out))
    assert (3, 1, 2, 0, 0) == tuple(
        found[name] for name in ("rows", "positives", "features", "backfilled", "left_out")
    )
    table = pq.read_table(out)
    expected = ["time", "key", "label", "label_time", "weight", "amount", "feature_label_time"]
    assert expected == table.column_names
    assert datetime(2013, 5, 1, tzinfo=UTC) == table["time"][0].as_py()
    assert ([0, 1, 0], ["k0", "k1", "k2"]) == (
        table["label"].to_pylist(), table["key"].to_pylist()
    )  # fmt: skip
    assert [0.0, 1.0, 2.0] == table["amount"].to_pylist()
    assert found["schema"].encode() == table.schema.metadata[b"tidemill_schema"]
    assert found["dataset"].encode() == table.schema.metadata[b"tidemill_dataset"]
    assert [out] == list(tmp_path.glob("*.parquet"))


def test_a_range_of_times(run: Run, tmp_path: Path) -> None:
    """From is inside, to is not; a date is its first moment in UTC."""
    out = tmp_path / "set.parquet"
    run("export", "--out", str(out), "--from", "2013-05-02", "--to", "2013-05-03T02:00+02:00")
    assert ["k1"] == pq.read_table(out)["key"].to_pylist()


def test_a_dataset_is_exported_by_its_id(run: Run, tmp_path: Path) -> None:
    """What was made once is written as it is."""
    made, out = run("build", "--where", "amount > 0.5"), tmp_path / "set.parquet"
    assert made["id"] == run("export", "--dataset", made["id"], "--out", str(out))["dataset"]
    assert ["k1", "k2"] == pq.read_table(out)["key"].to_pylist()


def test_what_is_made_is_listed_and_shown(run: Run) -> None:
    """The id of the same rule is the same; show gives the whole manifest."""
    assert [] == run("list")
    assert "no dataset: tidemill dataset build makes one" in run("list", text=True)
    made = run("build", "--last", "36h", "--gap", "1h", "--seed", "4")
    assert made["id"] == run("build", "--last", "36h", "--gap", "1h", "--seed", "4")["id"]
    assert [made["id"]] == [each["id"] for each in run("list")]
    assert made == run("show", made["id"], "--check")
    assert ({"last": "36h", "gap": "1h", "seed": 4}, 2) == (made["rule"], made["rows"])
    words = run("show", made["id"], text=True)
    for said in (
        f"dataset {made['id']}: 2 rows (1 of 0, 1 of 1), 2 features",
        "rule: gap 1h, last 36h, seed 4",
        "requests 2013-05-02 00:00 to 2013-05-03 00:00; labels are final before 2013-05-02 00:00",
        "train 0 | gap 0 | holdout 2, from 2013-04-26 00:00",
        "examples:0 3",
        "warning: forward split: found no row to train on",
        "amount: mean 1.5, std 0.5, from 1 by 1 to 2, missing 0",
        "label_time: no value in 2 rows",
    ):
        assert said in words
    assert f"{made['id']}  2 rows (1 of 0, 1 of 1)" in run("list", text=True)


def test_a_rule_is_told_in_words() -> None:
    """As a person would say it."""
    rule = DatasetRule(gap="1h", matured=True, match=Match(("amount",), 3), shares=(Share(0, 0.5),))
    words = "gap 1h, matured, 3 negatives for each positive by amount, 0.5 of label 0"
    assert words == _rule(rule.as_data())
    assert "every labelled prediction" == _rule(DatasetRule().as_data())


def test_two_are_compared(run: Run) -> None:
    """Rule, rows, labels and features, in words and as JSON."""
    first, second = run("build"), run("build", "--where", "amount >= 1")
    found = run("diff", first["id"], second["id"])
    assert {"where": [None, "(amount >= 1)"]} == found["rule"]
    assert ([3, 2], {"0": [2, 1], "1": [1, 1]}) == (found["rows"], found["classes"])
    words = run("diff", first["id"], second["id"], text=True)
    for said in ("rows 3 → 2", "label 0: 2 → 1", "rule where: None → (amount >= 1)", "amount: psi"):
        assert said in words


def test_a_dataset_of_a_dataset(run: Run) -> None:
    """A parent's rows by a further rule."""
    first = run("build")
    second = run("build", "--parent", first["id"], "--to", "2013-05-02")
    assert (first["id"], 1) == (second["parent"], second["rows"])
    assert f"of {first['id']}" in run("show", second["id"], text=True)


def test_a_damaged_one_is_listed_as_such(run: Run, tmp_path: Path) -> None:
    """The others can still be seen."""
    made = run("build")
    (tmp_path / "home" / "datasets" / "shop" / made["id"] / "manifest.json").write_text("{")
    assert "damaged" in run("list")[0]
    assert f"{made['id']}  damaged: " in run("list", text=True)


def test_a_full_disk_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, exit code 1, nothing half there."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartWriter, "add", full)
    assert "tidemill: the disk: No space left on device\n" == run("build", code=1, text=True)
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("export", ["--from", "yesterday", "--out", "x"], "--from: found 'yesterday'; allowed: a "),
        ("export", ["--out", "nowhere/set.parquet"], "--out: found nowhere/set.parquet; allowed: "),
        ("build", ["--where", "amount >"], "DatasetRule.where: found 'amount >'"),
        ("build", ["--where", "other > 1"], "DatasetRule.where: found 'other'"),
        ("build", ["--share", "half"], "--share: found 'half'; allowed: a label and a number"),
        ("build", ["--negatives", "2"], "--negatives: found 2; allowed: with --match FIELD"),
        ("build", ["--from", "2014-01-01", "--to", "2013-01-01"], "DatasetRule.from_ms: found"),
        ("build", ["--match", "country"], "Match.by: found 'country'"),
        ("build", ["--bad-cases", "2"], "allowed: 1 without Project.bad_cases"),
        ("show", ["d0123456789ab"], "dataset: found 'd0123456789ab'"),
    ],
)
def test_a_mistake_is_one_line(run: Run, command: str, options: list[str], said: str) -> None:
    """Option, found and allowed; exit code 2."""
    output = run(command, *options, code=2, text=True)
    assert said in output
    assert 1 == len(output.splitlines())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "2014-01-01"], "found no labelled example; allowed: a range that has"),
        (["--matured", "--from", "2013-05-03"], "labels are final up to 2013-05-02 00:00"),
        (["--where", "amount > 1000"], "where: found none of 3 examples that it is true for"),
    ],
)
def test_a_rule_that_leaves_nothing_is_one_line(run: Run, options: list[str], said: str) -> None:
    """What there is, and exit code 5."""
    output = run("build", *options, code=5, text=True)
    assert said in output
    assert 1 == len(output.splitlines())
