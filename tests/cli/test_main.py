"""The command line: mistakes are one line and an exit code, an interruption is no success."""

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
