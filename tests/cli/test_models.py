"""The releases are listed, compared and ordered about from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from tidemill.loading import load_project
from tidemill.registry import Manifest, Registry
from tidemill.schema import schema_of
from tidemill.topics import MODELS, Names
from tidemill.wire import Announcement, decode

FILE = Path(__file__).parents[2] / "examples" / "flights" / "project.py"
PROJECT = load_project(FILE)
RUNNER = CliRunner()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Three releases; no broker."""
    for name in ("KAFKA", "MLFLOW", "SIGNING_KEY", "TRUSTED_KEYS"):
        monkeypatch.delenv(f"TIDEMILL_{name}", raising=False)
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "ann")
    monkeypatch.setenv("COLUMNS", "200")
    registry, schema = Registry(tmp_path, PROJECT.name), schema_of(PROJECT)
    for number in (1, 2, 3):
        registry.publish(
            Manifest(
                f"r000{number}", PROJECT.name, schema.hash, list(schema.names),
                1_700_000_000_000 + number, 0, 1, 100 * number, {"examples:0": number},
                {"gate_candidate_auc": 0.7 + number / 100}, {}, {"leaves": 60 + number},
                run=f"run000{number}",
            ),
            {"model.txt": b"tree"},
        )  # fmt: skip
    return registry


def run(*arguments: str, code: int = 0) -> str:
    """What the command prints, when it ends with this code."""
    result = RUNNER.invoke(app, ["models", arguments[0], str(FILE), *arguments[1:]])
    assert code == result.exit_code, result.output
    return result.output


def found(*arguments: str, code: int = 0) -> object:
    """The same as JSON."""
    return json.loads(run(*arguments, "--json", code=code))


def test_releases_are_listed_with_their_roles(registry: Registry) -> None:
    """In words and as JSON, oldest first."""
    listed = found("list")
    assert [("r0001", "former", 100), ("r0002", "former", 200), ("r0003", "champion", 300)] == [
        (each["release"], each["role"], each["rows"]) for each in listed
    ]
    assert all(each["signed_by"] for each in listed)
    text = run("list")
    for expected in ("r0003", "champion", "auc 0.73", "run0003", "2023-11-14 22:13:20"):
        assert expected in text


def test_a_damaged_release_is_listed_as_such(registry: Registry) -> None:
    """The others are listed all the same."""
    (registry.folder / "r0002" / "manifest.sig").unlink()
    listed = found("list")
    assert "signature" in listed[1]["problem"]
    assert "r0003" in run("list")


def test_no_releases_are_an_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project that has only begun."""
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path))
    assert [] == found("list")


def test_a_release_is_shown_with_its_history(registry: Registry) -> None:
    """Its manifest, its signer and every change of its role."""
    run("rollback", "--by", "ann", "--why", "slow", code=6)
    shown = found("show", "r0003")
    assert ("rolled_back", "run0003", {"leaves": 63}) == (
        shown["role"], shown["run"], shown["parameters"],
    )  # fmt: skip
    assert ["published", "rolled_back"] == [change["action"] for change in shown["changes"]]
    text = run("show", "r0003")
    assert "r0002 rolled back instead of r0003 by ann: slow" in text
    assert f"signed by {shown['signed_by']}" in text


def test_a_release_that_is_not_there(registry: Registry) -> None:
    """A mistake, whether it is to be shown or ordered about."""
    assert "allowed: r0001, r0002, r0003" in run("show", "r0009", code=2)
    assert "models list" in run("promote", "r0009", code=2)


def test_two_releases_are_compared(registry: Registry) -> None:
    """What differs, as pairs; equal ones do not."""
    assert {"leaves": [61, 63]} == found("diff", "r0001", "r0003")["parameters"]
    text = run("diff", "r0001", "r0003")
    for expected in ("r0001 → r0003", "leaves: 61 → 63", "run: run0001 → run0003"):
        assert expected in text
    assert "r0001 → r0001: no difference\n" == run("diff", "r0001", "r0001")


@pytest.fixture(autouse=True)
def trees_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models are none: what their trees use is compared elsewhere."""
    import batch.publish.differences

    monkeypatch.setattr(batch.publish.differences, "importance", lambda model: {})


def test_an_order_names_who_gave_it(registry: Registry) -> None:
    """The login name unless told otherwise; without a broker the code says not announced."""
    change = found("promote", "r0001", "--why", "best", code=6)["change"]
    assert ("r0001", "promoted", "ann", "best") == (
        change["release"], change["action"], change["by"], change["why"],
    )  # fmt: skip
    assert "r0001" == registry.champion()
    assert "the champion is r0001" in run("promote", "r0001")
    text = run("rollback", "r0003", "--by", "bob", code=6)
    assert "r0003 rolled back instead of r0001 by bob" in text
    assert "not announced: TIDEMILL_KAFKA is not set" in text


def test_a_retired_release_is_promoted_by_force_alone(registry: Registry) -> None:
    """Exit code 2 without."""
    run("retire", "r0001", code=6)
    assert "found retired; allowed: another role, or --force" in run("promote", "r0001", code=2)
    assert found("promote", "r0001", "--force", code=6)["change"]["forced"]


def test_what_answers_is_not_retired(registry: Registry) -> None:
    """Exit code 2, and what to do first."""
    assert "promote or roll back to another first" in run("retire", "r0003", code=2)


def test_an_order_is_announced(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the topic of models looks at the roles."""
    import cli.announce
    from tidemill.clock import FakeClock
    from tidemill.memory_bus import MemoryBus

    bus = MemoryBus(Names(PROJECT.name, 4), FakeClock(0))

    async def announce(project: object, settings: object, announcement: Announcement) -> None:
        await bus.producer().send_many(MODELS, [(b"", announcement.encode())], 0)

    monkeypatch.setattr(cli.announce, "_send", announce)
    monkeypatch.setenv("TIDEMILL_KAFKA", "localhost:1")
    run("promote", "r0002")
    (message,) = bus.log(MODELS)
    said = decode(Announcement, message.value)
    assert ("release", "r0002", 64) == (said.kind, said.release, len(said.sha256))


def test_a_broker_that_is_away_does_not_undo_an_order(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order stands; exit code 6."""
    monkeypatch.setenv("TIDEMILL_KAFKA", "127.0.0.1:1")
    given = found("promote", "r0002", code=6)
    assert "127.0.0.1:1" in given["not_announced"]
    assert "r0002" == registry.champion()


def test_mlflow_that_is_away_does_not_undo_an_order(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, and the next retrain brings it in step."""
    import batch.publish.mlflow_runs

    monkeypatch.setattr(batch.publish.mlflow_runs, "_CHILD", "")
    monkeypatch.setenv("TIDEMILL_MLFLOW", "http://127.0.0.1:1")
    given = found("promote", "r0002", code=6)
    assert {"recorded": False, "error": "MLflow: it ended without a word"} == given["mlflow"]
    assert "r0002" == registry.champion()
