"""A retrain is recorded in MLflow when it can be, waits when not, and is never recorded twice."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from published import SCHEMA, release, run

import batch.publish.mlflow_runs
from batch.publish.mlflow_runs import RECORDED_FILE, MlflowRuns, Sent
from batch.publish.orders import Order, promote, retire, roll_back
from batch.run import Runs
from tidemill.clock import FakeClock
from tidemill.registry import Registry

INSTALLED = importlib.util.find_spec("mlflow") is not None
needs_mlflow = pytest.mark.skipif(not INSTALLED, reason="needs mlflow-skinny")
ORDER = Order("ann", 9_000)


class Shop:
    """A project's retrains, and what MLflow says of them."""

    def __init__(self, home: Path, registry: Registry) -> None:
        self.home, self.registry = home, registry
        self.runs = Runs(home, "shop")
        self.uri = f"sqlite:///{home}/mlflow.db"

    def send(self, uri: str = "", seconds: float = 120) -> Sent:
        """Send what waits."""
        return MlflowRuns(uri or self.uri, self.registry, seconds).send()

    def retrain(self, published: bool = True, **changes: object) -> str:
        """A run that published the next release, or was refused."""
        notes = {"dataset": "d0123456789ab"}
        if published:
            name = f"run{len(self.runs.names()) + 1:04d}"
            made = release(self.registry, self.registry.next_name(), run=name, **changes)
            notes["release"] = made.release
        name = run(self.home, outcome="published" if published else "refused", **notes)
        folder = self.runs.folder / name
        (folder / "gate.json").write_text('{"passed": true}')
        settings = {"trainer": "LightGBM", "name": "", "settings": {"leaves": 63, "bins": None}}
        (folder / "settings.json").write_text(json.dumps(settings))
        return name

    def recorded(self, name: str) -> dict[str, str] | None:
        """Where the run's folder says that MLflow has it."""
        path = self.runs.folder / name / RECORDED_FILE
        return json.loads(path.read_bytes()) if path.exists() else None

    def client(self) -> object:
        """What reads MLflow."""
        from mlflow import MlflowClient

        return MlflowClient(self.uri, self.uri)

    def aliases(self) -> dict[str, str]:
        """The releases that have an alias."""
        client = self.client()
        found = client.get_registered_model("shop").aliases
        versions = {alias: client.get_model_version("shop", v) for alias, v in found.items()}
        return {alias: version.tags["tidemill.release"] for alias, version in versions.items()}


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """MLflow's empty tables: to make them takes longer than a test."""
    if not INSTALLED:
        return None
    home = tmp_path_factory.mktemp("mlflow")
    made = MlflowRuns(f"sqlite:///{home}/mlflow.db", Registry(home, "shop"), 120).send()
    assert made.complete, made.error
    return home / "mlflow.db"


@pytest.fixture
def shop(tmp_path: Path, registry: Registry, database: Path | None) -> Shop:
    """Nothing was trained yet."""
    if database is not None:
        shutil.copy(database, tmp_path / "mlflow.db")
    return Shop(tmp_path, registry)


@pytest.fixture
def dead() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://ann:secret@127.0.0.1:{server.getsockname()[1]}"


@needs_mlflow
@pytest.mark.filterwarnings("ignore")
def test_a_retrain_is_a_run_and_its_release_a_version(shop: Shop) -> None:
    """Parameters, metrics, where it comes from, the artifacts, and the alias."""
    name = shop.retrain()
    assert Sent(frozenset({name}), True) == shop.send()
    client, recorded = shop.client(), shop.recorded(name)
    found = client.get_run(recorded["mlflow_run"])
    parameters = {"leaves": "63", "trainer": "LightGBM", "bins": "None"}
    assert (parameters, {"gate_candidate_auc": 0.75}) == (found.data.params, found.data.metrics)
    tags = {n: v for n, v in found.data.tags.items() if n.startswith("tidemill.")}
    assert {
        "tidemill.run": name, "tidemill.started_ms": "1000", "tidemill.release": "r0001",
        "tidemill.outcome": "published", "tidemill.dataset": "d0123456789ab",
        "tidemill.offsets": '{"examples:0": 70, "sequence:0": 70}',
    } == tags  # fmt: skip
    assert (1_000, "FINISHED") == (found.info.start_time, found.info.status)
    artifacts = {item.path for item in client.list_artifacts(found.info.run_id, "release")}
    names = ("manifest.json", "manifest.sig", "gate.json", "settings.json")
    assert {f"release/{name}" for name in names} == artifacts
    version = client.get_model_version("shop", recorded["version"])
    assert (found.info.run_id, "champion") == (version.run_id, version.tags["tidemill.role"])
    assert {"champion": "r0001"} == shop.aliases()


@needs_mlflow
@pytest.mark.filterwarnings("ignore")
def test_what_was_recorded_is_not_recorded_again(shop: Shop) -> None:
    """Neither by the next retrain nor after a kill between MLflow's answer and ours."""
    first = shop.retrain()
    shop.send()
    (shop.runs.folder / first / RECORDED_FILE).unlink()
    second = shop.retrain(published=False)
    assert frozenset({first, second}) == shop.send().runs
    client = shop.client()
    experiment = client.get_experiment_by_name("shop").experiment_id
    assert 2 == len(client.search_runs([experiment]))
    assert 1 == len(client.search_model_versions("name = 'shop'"))
    assert "" == shop.recorded(second)["version"]


@needs_mlflow
@pytest.mark.filterwarnings("ignore")
def test_aliases_follow_the_journal(shop: Shop) -> None:
    """Through promote, rollback and retire; an alias that nobody has is removed."""
    for role in ("champion", "champion", "challenger"):
        shop.retrain(role=role)
    shop.send()
    assert {"champion": "r0002", "challenger": "r0003"} == shop.aliases()
    roll_back(shop.registry, SCHEMA, None, ORDER)
    shop.send()
    assert {"champion": "r0001", "challenger": "r0003"} == shop.aliases()
    promote(shop.registry, "r0003", ORDER)
    retire(shop.registry, SCHEMA, "r0002", ORDER)
    assert shop.send().complete
    assert {"champion": "r0003"} == shop.aliases()
    versions = shop.client().search_model_versions("name = 'shop'")
    roles = {v.tags["tidemill.release"]: v.tags["tidemill.role"] for v in versions}
    assert {"r0001": "former", "r0002": "retired", "r0003": "champion"} == roles


@needs_mlflow
@pytest.mark.filterwarnings("ignore")
def test_what_could_not_be_sent_is_sent_by_the_next(shop: Shop, dead: str) -> None:
    """A server that does not answer costs the time allowed and no more; nothing is lost."""
    first = shop.retrain()
    began = time.monotonic()
    sent = shop.send(dead, seconds=6)
    assert time.monotonic() - began < 12
    assert (frozenset(), False, None) == (sent.runs, sent.complete, shop.recorded(first))
    assert "secret" not in sent.error
    second = shop.retrain()
    assert frozenset({first, second}) == shop.send().runs
    assert {"champion": "r0002"} == shop.aliases()


@needs_mlflow
def test_a_server_that_is_not_there_is_named(shop: Shop) -> None:
    """Nothing listens: said, and the record waits."""
    name = shop.retrain()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    sent = shop.send(f"http://127.0.0.1:{port}", seconds=60)
    assert sent.error.startswith("MLflow: ")
    assert (frozenset(), None) == (sent.runs, shop.recorded(name))


@pytest.mark.skipif(INSTALLED, reason="needs mlflow-skinny not to be there")
def test_without_mlflow_the_record_waits(shop: Shop) -> None:
    """The message says what to install."""
    name = shop.retrain()
    sent = shop.send()
    assert (frozenset(), False, None) == (sent.runs, sent.complete, shop.recorded(name))
    assert "pip install 'tidemill[mlflow]'" in sent.error


def test_a_process_that_is_killed_leaves_what_it_said(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had recorded until then counts; a line that it did not finish does not."""
    first, second = shop.retrain(), shop.retrain()
    line = json.dumps({"recorded": {"run": first, "mlflow_run": "m", "version": "1"}})
    said = line + '\\n{"recorded":{"run"'
    child = (
        f"import sys, time; sys.stdin.read(); print('{said}', end='', flush=True); time.sleep(60)"
    )
    monkeypatch.setattr(batch.publish.mlflow_runs, "_CHILD", child)
    sent = shop.send(seconds=3)
    assert (frozenset({first}), False, "MLflow: no end after 3 s") == (
        sent.runs,
        sent.complete,
        sent.error,
    )
    assert ("m", None) == (shop.recorded(first)["mlflow_run"], shop.recorded(second))


def test_one_process_sends_at_a_time(shop: Shop) -> None:
    """MLflow would have things twice."""
    name = shop.retrain()
    descriptor = os.open(shop.runs.folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        sent = shop.send()
    finally:
        os.close(descriptor)
    assert ("MLflow: another process is sending", None) == (sent.error, shop.recorded(name))


def test_a_damaged_release_is_named(shop: Shop) -> None:
    """It stops the recording, and nothing else."""
    shop.retrain()
    (shop.registry.folder / "r0001" / "manifest.sig").unlink()
    sent = shop.send()
    assert (False, True) == (sent.complete, "release r0001: signature" in sent.error)


def test_a_run_that_is_not_over_is_not_sent(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next retrain may go on with it."""
    waiting = shop.retrain(published=False)
    shop.runs.begin("key", FakeClock(5_000), fresh=True)
    child = (
        "import sys, json; task = json.load(sys.stdin); "
        "[print(json.dumps({'recorded': {'run': q['run'], 'mlflow_run': 'm'}})) "
        "for q in task['queued']]; print(json.dumps({'aliases': True}))"
    )
    monkeypatch.setattr(batch.publish.mlflow_runs, "_CHILD", child)
    assert Sent(frozenset({waiting}), True) == shop.send()
