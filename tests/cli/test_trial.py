"""`tidemill trial` says how challengers do, and `tidemill models challenge` makes one."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

import cli.trial
from cli.main import app
from tidemill.loading import load_project
from tidemill.quality import Measures
from tidemill.registry import Manifest, Registry
from tidemill.roles import RoleChange
from tidemill.schema import schema_of
from tidemill.trial_report import ArmReport, TrialReport

FILE = Path(__file__).parents[2] / "examples" / "flights" / "project.py"
PROJECT = load_project(FILE)
RUNNER = CliRunner()
NOW = 1_700_000_000_000
ARM = ArmReport(
    "r0002", "challenger", 0.1, 40, 2, 900, 12, 1, NOW, None, 0.41, 0.43, 0.02, -0.01, 0.05, 900,
    Measures(auc=0.71, log_loss=0.41), Measures(auc=0.7, log_loss=0.43), 7, "12 of 30 blocks",
)  # fmt: skip
REPORT = TrialReport("r0001", NOW, 600_000, 0.05, 30, 1000, [ARM])


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A champion and an older release; no broker and no store."""
    for name in ("KAFKA", "REDIS", "MLFLOW", "SIGNING_KEY", "TRUSTED_KEYS"):
        monkeypatch.delenv(f"TIDEMILL_{name}", raising=False)
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    registry, schema = Registry(tmp_path, PROJECT.name), schema_of(PROJECT)
    for number in (1, 2):
        registry.publish(
            Manifest(
                f"r000{number}", PROJECT.name, schema.hash, list(schema.names), NOW, 0, 1, 100,
                {"examples:0": number}, {}, {}, {},
            ),
            {"model.txt": b"tree"},
        )  # fmt: skip
    return registry


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[TrialReport | None]:
    """What lies in the store."""
    found: list[TrialReport | None] = [REPORT]

    async def read(project: object, settings: object) -> TrialReport | None:
        return found[0]

    monkeypatch.setattr(cli.trial, "_read", read)
    return found


def run(*arguments: str, code: int = 0) -> str:
    """What the command prints, when it ends with this code."""
    result = RUNNER.invoke(app, list(arguments))
    assert code == result.exit_code, result.output
    return result.output


def test_the_report_in_words(registry: Registry, told: list) -> None:
    """Who is compared, how sure it is, and what a decision waits for."""
    text = run("trial", str(FILE))
    for expected in (
        "beside champion r0001 at 2023-11-14 22:13:20, in blocks of 10 minutes",
        "r0002: challenger, answers 10.0%",
        "900 examples in 12 blocks; 40 answered by it, 2 not scored, 1 blocks left out",
        "loss 0.410000, champion 0.430000: better by 0.020000 (-0.010000 to 0.050000)",
        "auc 0.7100 (0.7000)",
        "its learner has 7 examples to learn",
        "waits: 12 of 30 blocks",
    ):
        assert expected in text


def test_a_watched_champion_and_what_was_decided(registry: Registry, told: list) -> None:
    """The journal's entries of the trial are shown."""
    schema = schema_of(PROJECT).hash
    change = RoleChange("r0001", "promoted", schema, NOW, "trial", "better", watched="r0002")
    registry.enter(lambda standings: change)
    watched = msgspec.structs.replace(ARM, role="watched", share=0.0, until_ms=NOW, low=None)
    told[0] = msgspec.structs.replace(REPORT, arms=[watched])
    text = run("trial", str(FILE))
    assert "champion before, watched until 2023-11-14 22:13:20" in text
    assert "(unknown to 0.050000)" in text
    assert "2023-11-14 22:13:20 r0001 promoted: better" in text


def test_nobody_is_compared(registry: Registry, told: list) -> None:
    """Before there was a challenger."""
    told[0] = None
    assert "nobody is compared\n" == run("trial", str(FILE))
    assert {"trial": None, "decisions": []} == json.loads(run("trial", str(FILE), "--json"))


def test_the_report_as_json(registry: Registry, told: list) -> None:
    """As it lies in the store."""
    found = json.loads(run("trial", str(FILE), "--json"))
    assert msgspec.to_builtins(REPORT) == found["trial"]


def test_without_a_store_it_says_so(registry: Registry) -> None:
    """One line and exit code 2."""
    assert "TIDEMILL_REDIS" in run("trial", str(FILE), code=2)


def test_a_challenger_is_made(registry: Registry) -> None:
    """With its share, and listed with it."""
    said = run(
        "models", "challenge", str(FILE), "r0001", "--share", "0.1", "--why", "colder", code=6
    )
    assert "r0001 challenger for 10.0% of the requests" in said
    listed = json.loads(run("models", "list", str(FILE), "--json"))
    assert [("r0001", "challenger", 0.1), ("r0002", "champion", 0.0)] == [
        (each["release"], each["role"], each["share"]) for each in listed
    ]
    assert "found champion" in run("models", "challenge", str(FILE), "r0002", code=2)
    assert "share" in run("models", "challenge", str(FILE), "r0001", "--share", "1", code=2)
