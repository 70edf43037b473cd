"""The command line: mistakes are one line and an exit code, an interruption is no success."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli.demo.demo
from cli.main import app
from cli.retrain import _in_words

RUNNER = CliRunner()


@pytest.mark.parametrize("command", [["api", "p.py"], ["worker", "p.py"], ["demo"]])
def test_a_port_that_cannot_be_is_a_mistake(command: list[str]) -> None:
    """The option's range is said before anything is done."""
    option = "--metrics-port" if command[0] == "worker" else "--port"
    result = RUNNER.invoke(app, [*command, option, "99999"])
    assert (2, True) == (result.exit_code, "65535" in result.output)


def test_a_missing_project_file_is_one_line() -> None:
    """File, found and allowed; no traceback."""
    result = RUNNER.invoke(app, ["check", "nowhere.py"])
    expected = "tidemill: project file: found 'nowhere.py'; allowed: a Python file that exists\n"
    assert (2, expected) == (result.exit_code, result.output)


def test_an_interrupted_demo_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the work ends with 130, as a shell expects."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.demo.demo, "run_demo", interrupted)
    assert 130 == RUNNER.invoke(app, ["demo"]).exit_code


def test_a_refused_retrain_names_no_release() -> None:
    """Before the first release there is none to name."""
    found = {
        "outcome": "refused", "release": None, "rows": 3, "run": "run0001", "metrics": {},
        "warnings": [],
        "reasons": ["few"],
    }  # fmt: skip
    assert "refused: 3 examples (run0001)\n  refused: few" == _in_words(found)
    assert "published: release r0001, 3 examples (run0001)" == _in_words(
        {**found, "outcome": "published", "release": "r0001", "reasons": []}
    )


def test_help_waits_for_no_heavy_library() -> None:
    """What a command works with is imported when it runs."""
    heavy = "aiokafka dask lightgbm mlflow numba optuna pandas pyarrow redis scipy sklearn torch"
    look = f"import sys, cli.main; print(*sorted({set(heavy.split())} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert "" == found.stdout.strip()


@pytest.mark.parametrize("command", [["retrain"], ["dataset", "build"]])
def test_a_home_that_is_a_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """With where the disk said no; no traceback."""
    home = tmp_path / "home"
    home.touch()
    monkeypatch.setenv("TIDEMILL_HOME", str(home))
    monkeypatch.setenv("TIDEMILL_KAFKA", "127.0.0.1:9")
    monkeypatch.delenv("TIDEMILL_REDIS", raising=False)
    example = Path(__file__).parents[2] / "examples" / "flights" / "project.py"
    result = RUNNER.invoke(app, [*command, str(example)])
    assert (1, True) == (result.exit_code, "tidemill: the disk: Not a directory" in result.output)


def test_what_is_logged_is_no_part_of_the_answer(tmp_path: Path) -> None:
    """A pager that cannot be started is said on stderr; stdout holds one JSON object."""
    example = Path(__file__).parents[2] / "examples" / "flights" / "project.py"
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("TIDEMILL_")},
        "TIDEMILL_HOME": str(tmp_path), "TIDEMILL_KAFKA": "127.0.0.1:9",
        "TIDEMILL_NOTIFY": str(tmp_path / "nothing"),
    }  # fmt: skip
    command = [sys.executable, "-m", "tidemill", "retrain", str(example), "--json"]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (5, "nothing_to_train_on") == (found.returncode, json.loads(found.stdout)["outcome"])
    assert "notification failed" in found.stderr
