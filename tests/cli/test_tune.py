"""`tidemill tune` searches on the archive, and `tidemill studies` says what was found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
    features=(tm.RequestFeature("amount", request.amount),),
    trainer=tm.LinearModel(), learner=tm.Linear(), gate=tm.Gate(holdout="2d"),
)
"""
Run = Callable[..., Any]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with ten days of examples, labelled by the amount."""
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path / "home"))
    file = tmp_path / "shop.py"
    file.write_text(PROJECT)
    schema = compile_plan(load_project(file)).schema.hash
    rng = np.random.default_rng(1)
    examples = []
    for row in range(480):
        time = MAY_1_MS + row * 1_800_000
        amount = rng.normal()
        vector = np.array([amount], "<f4").tobytes()
        prediction = Prediction(f"p{row}", f"k{row}", time, vector, schema, 0.5, 0.5, "r", 1, time)
        label = int(rng.random() < 1 / (1 + np.exp(-2 * amount)))
        examples.append(Example(prediction, label, time + 1, time + 1, 0, row + 1))
    table = examples_table(examples, 0, range(480), [MAY_1_MS] * 480)
    ArchiveWriter(tmp_path / "home", "shop", EXAMPLES, 0).write(table, 480)
    return file


@pytest.fixture
def run(file: Path) -> Run:
    """Runs a command; what --json gave, or the text."""

    def run(*arguments: str, code: int = 0, text: bool = False) -> Any:
        said = RUNNER.invoke(app, [*arguments, *([] if text else ["--json"])])
        assert code == said.exit_code, said.output
        return said.output if text or code else json.loads(said.stdout)

    return run


def test_a_project_is_tuned_and_remembered(run: Run, file: Path, tmp_path: Path) -> None:
    """The best settings are printed, report and plots are written, and the study is listed."""
    plots = tmp_path / "plots"
    found = run("tune", str(file), "--trials", "4", "--threads", "1", "--plots", str(plots))
    assert (4, "trials", "linear") == (found["trials"], found["ended"], found["family"])
    assert found["trainer"].startswith("LinearModel(ridge=")
    assert 0.3 < found["loss"] < 0.69
    assert {"search.json", "history.svg", "importance.svg"} < {p.name for p in plots.iterdir()}
    (listed,) = run("studies", "list")
    assert (found["study"], "shop") == (listed["id"], listed["project"])
    assert listed == run("studies", "show", found["study"])
    assert found["study"] in run("studies", "list", text=True)


def test_a_second_tune_goes_on(run: Run, file: Path) -> None:
    """More trials prolong the same study, in the project's own folder under the home."""
    first = run("tune", str(file), "--trials", "2", "--threads", "1")
    text = run("tune", str(file), "--trials", "5", "--threads", "1", text=True)
    assert text.startswith("best of 5 trials: loss ")
    assert first["folder"] in text
    assert "began with" not in text  # a study does not borrow from itself


def test_another_sampler_starts_from_what_was_found(run: Run, file: Path) -> None:
    """It is another study, on the same data."""
    first = run("tune", str(file), "--trials", "3", "--threads", "1")
    second = run("tune", str(file), "--trials", "3", "--threads", "1", "--sampler", "random")
    (borrowed,) = second["borrowed"]
    assert (first["study"], 0.0) == (borrowed["study"], borrowed["distance"])
    assert second["loss"] <= first["loss"]


def test_several_tunes_share_a_storage(run: Run, file: Path, tmp_path: Path) -> None:
    """The second one finds the trials of the first."""
    storage = str(tmp_path / "shared.journal")
    run("tune", str(file), "--trials", "2", "--threads", "1", "--storage", storage)
    found = run("tune", str(file), "--trials", "4", "--threads", "1", "--storage", storage)
    assert 4 == found["trials"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sampler", "best"), "Search.sampler: found 'best'; allowed: one of tpe"),
        (("--storage", "nothing://x"), "--storage nothing://x"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    options: tuple[str, ...], said: str, run: Run, file: Path
) -> None:
    """Without a traceback."""
    code = 2 if options[0] == "--sampler" else 1
    assert said in run("tune", str(file), "--trials", "1", *options, code=code)


def test_a_study_that_is_not_there_is_named(run: Run, file: Path) -> None:
    """With those that are."""
    assert "STUDY: found x; allowed: none yet" in run("studies", "show", "x", code=2)
