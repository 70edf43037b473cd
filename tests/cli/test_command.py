"""What every command answers alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from features.archive.files import ArchiveWriter, examples_table
from features.plan import compile_plan
from tidemill.loading import load_project
from tidemill.topics import EXAMPLES
from tidemill.wire import Example, Prediction

MAY_1_MS = 1_367_366_400_000
PROJECT = """
import tidemill as tm

request = tm.Request({"card": str, "amount": float})
project = tm.Project(
    name="shop", request=request, label=tm.Label(key=("card",), wait="1d"),
    events=(tm.Event("seen", key="card", fields={"card": str}),),
    features=(tm.RequestFeature("amount", request.amount),),
)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that nobody has asked anything yet; a broker's address, where nobody is."""
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEMILL_KAFKA", "127.0.0.1:1")
    for name in ("REDIS", "MLFLOW", "NOTIFY"):
        monkeypatch.delenv(f"TIDEMILL_{name}", raising=False)
    (tmp_path / "mine.txt").write_text("tree")
    file = tmp_path / "shop.py"
    file.write_text(PROJECT)
    return file


def label_one(file: Path) -> None:
    """Archive a single example."""
    schema = compile_plan(load_project(file)).schema.hash
    prediction = Prediction("p0", "k0", MAY_1_MS, b"\0" * 4, schema, 0.5, 0.5, "r", 1, MAY_1_MS)
    examples = [Example(prediction, 1, MAY_1_MS + 1, MAY_1_MS + 1, 0, 1)]
    table = examples_table(examples, 0, range(1), [MAY_1_MS])
    ArchiveWriter(file.parent / "home", "shop", EXAMPLES, 0).write(table, 1)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (("retrain",), ("--threads", "1")),
        (("tune",), ("--trials", "1", "--threads", "1")),
        (("gate",), ("--model", "mine.txt")),
        (("dataset", "build"), ()),
        (("dataset", "export"), ("--out", "set.parquet")),
    ],
    ids=lambda words: "-".join(words),
)
def test_nothing_labelled_has_one_exit_code(
    command: tuple[str, ...],
    options: tuple[str, ...],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five, with what was found and what is allowed."""
    monkeypatch.chdir(file.parent)
    done = CliRunner().invoke(app, [*command, str(file), *options])
    assert 5 == done.exit_code, done.output
    assert "dataset: found no labelled example; allowed: a range that has some" in done.output


def test_too_little_before_the_holdout_is_nothing_to_search_on(file: Path) -> None:
    """The same code as without any."""
    label_one(file)
    done = CliRunner().invoke(app, ["tune", str(file), "--trials", "1"])
    assert (5, True) == (done.exit_code, "search: found no rows; allowed: some" in done.output)
