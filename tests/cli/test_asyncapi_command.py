"""`tidemill asyncapi FILE` prints the document."""

import json
from pathlib import Path

from typer.testing import CliRunner

from cli.main import app

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights" / "project.py"


def test_it_prints_the_document() -> None:
    """As JSON, for the project of the file."""
    done = CliRunner().invoke(app, ["asyncapi", str(FLIGHTS)])
    assert 0 == done.exit_code
    assert ("3.0.0", "Tidemill: flights") == (
        (document := json.loads(done.output))["asyncapi"], document["info"]["title"]
    )  # fmt: skip


def test_a_mistake_is_one_line() -> None:
    """As of every command."""
    done = CliRunner().invoke(app, ["asyncapi", "nowhere.py"])
    assert (2, 1) == (done.exit_code, len(done.output.strip().splitlines()))
