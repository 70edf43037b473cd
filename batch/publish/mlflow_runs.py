"""Retrains as MLflow runs, releases as registered versions: sent within a time, or later.

MLflow is a copy for people who look there. A run that is over waits in its folder until MLflow has
it; what is sent is sent by a process of its own, which is ended when it takes too long.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from batch.gate.report import GateReport
from batch.run import RunRecord, Runs
from tidemill.durable import write_whole
from tidemill.errors import LockedError, TidemillError
from tidemill.registry import MANIFEST, SIGNATURE, Registry

RECORDED_FILE = "mlflow.json"
_ARTIFACTS = ("settings.json", "search.json", "compression.json", "gate.json")
SECONDS = 30.0
_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from batch.publish.mlflow_writer import main; main()"
)
_PASSWORD = re.compile(r"://[^@\s/]*@")


class Recorded(msgspec.Struct, frozen=True):
    """Where MLflow has it: its run, and the registered version of the release if there is one."""

    run: str
    mlflow_run: str
    version: str = ""


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """One retrain as it is to stand in MLflow; `manifest` is the digest of its release's manifest.

    `artifacts` are files.
    """

    project: str
    run: str
    started_ms: int
    ended_ms: int
    outcome: str
    release: str = ""
    manifest: str = ""
    parameters: dict[str, str] = {}
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    artifacts: list[str] = []


class _Settings(msgspec.Struct, frozen=True):
    trainer: str
    name: str
    settings: dict[str, object]


class Task(msgspec.Struct, frozen=True):
    """What the process that sends is told: what to record, and which release has which role.

    `aliases` map an alias to the digest of a release's manifest, empty where no release has it.
    """

    uri: str
    project: str
    artifacts: str
    queued: list[Queued]
    aliases: dict[str, str]
    roles: dict[str, str]


class Report(msgspec.Struct, frozen=True):
    """What the process that sends has done so far, one a line."""

    recorded: Recorded | None = None
    aliases: bool = False
    error: str = ""


class Sent(msgspec.Struct, frozen=True):
    """What came of sending: the runs MLflow has by now, and why not everything was sent."""

    runs: frozenset[str]
    complete: bool
    error: str = ""


class MlflowRuns:
    """The record of one project's retrains and releases; blocks for about `seconds` at most."""

    def __init__(self, uri: str, registry: Registry, seconds: float = SECONDS) -> None:
        self._uri, self._registry, self._seconds = uri, registry, seconds
        self._project = registry.folder.name
        self._runs = Runs(registry.home, self._project)

    def send(self) -> Sent:
        """Record every run that is over, and bring aliases and roles in step; never raises.

        What MLflow does not take now the next call sends.
        """
        recorded = set[str]()
        try:
            with self._alone():
                over = [each for each in self._runs.records() if each.outcome]
                recorded = {each.id for each in over if self._is_recorded(each.id)}
                waiting = [self._queued(each) for each in over if each.id not in recorded]
                done, aliases, error = self._sent(self._task(waiting))
                for each in done:
                    self._write(each)
                    recorded.add(each.run)
        except (OSError, TidemillError) as problem:
            return Sent(frozenset(recorded), False, f"MLflow: {problem}")
        return Sent(frozenset(recorded), aliases and not error, error)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process sends meanwhile: MLflow would have things twice."""
        self._runs.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._runs.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise LockedError("another process is sending") from None
        finally:
            os.close(descriptor)

    def _is_recorded(self, run: str) -> bool:
        path = self._runs.folder / run / RECORDED_FILE
        try:
            msgspec.json.decode(path.read_bytes(), type=Recorded)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return False
        return True

    def _write(self, recorded: Recorded) -> None:
        path = self._runs.folder / recorded.run / RECORDED_FILE
        write_whole(path, msgspec.json.format(msgspec.json.encode(recorded)))

    def _queued(self, run: RunRecord) -> Queued:
        """What a run's folder and its release say of it."""
        folder = self._runs.folder / run.id
        files = [folder / name for name in _ARTIFACTS]
        parameters, metrics = _parameters(folder), _metrics(folder)
        metrics |= {f"{stage.name}_seconds": stage.seconds for stage in run.stages}
        digest, tags = "", {"tidemill.dataset": run.dataset}
        if run.release in self._registry.names():
            released = self._registry.folder / run.release
            digest, files = self._digest(run.release), [*files, released / MANIFEST]
            files.append(released / SIGNATURE)
            manifest = self._registry.manifest(run.release)
            parameters |= {name: str(value) for name, value in manifest.parameters.items()}
            metrics |= manifest.metrics
            tags["tidemill.offsets"] = json.dumps(manifest.offsets, sort_keys=True)
        return Queued(
            project=self._project, run=run.id, started_ms=run.started_ms, ended_ms=run.ended_ms,
            outcome=run.outcome, release=run.release, manifest=digest, parameters=parameters,
            metrics=metrics, tags={n: v for n, v in tags.items() if v},
            artifacts=[str(path) for path in files if path.is_file()],
        )  # fmt: skip

    def _task(self, waiting: list[Queued]) -> Task:
        standings = self._registry.standings()
        champion = standings.champion()
        beside = standings.challengers()  # also a former champion, which is watched
        challengers = [name for name in beside if standings.role(name) == "challenger"]
        digests = {name: self._digest(name) for name in self._registry.names()}
        return Task(
            self._uri,
            self._project,
            str(self._registry.home.resolve() / "mlflow" / self._project),
            waiting,
            {
                "champion": digests.get(champion.release, "") if champion else "",
                "challenger": digests.get(challengers[-1], "") if challengers else "",
            },
            {digest: standings.role(name) or "" for name, digest in digests.items()},
        )

    def _sent(self, task: Task) -> tuple[list[Recorded], bool, str]:
        command = [sys.executable, "-c", _CHILD, json.dumps(sys.path)]
        late = ""
        try:
            out = subprocess.run(
                command,
                input=msgspec.json.encode(task),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self._seconds,
                check=False,
            ).stdout
        except subprocess.TimeoutExpired as error:
            out, late = error.stdout or b"", f"no end after {self._seconds:g} s"
        reports = list(_reports(out))
        done = [report.recorded for report in reports if report.recorded]
        aliases = any(report.aliases for report in reports)
        silent = "" if aliases else "it ended without a word"
        why = next((report.error for report in reports if report.error), late or silent)
        return done, aliases, f"MLflow: {_PASSWORD.sub('://***@', why)}" if why else ""

    def _digest(self, release: str) -> str:
        data = (self._registry.folder / release / MANIFEST).read_bytes()
        return hashlib.sha256(data).hexdigest()


def _parameters(folder: Path) -> dict[str, str]:
    """What a run trained with; nothing when it did not come so far."""
    try:
        found = msgspec.json.decode((folder / "settings.json").read_bytes(), type=_Settings)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    named = {name: str(value) for name, value in found.settings.items()}
    return {"trainer": found.name or found.trainer, **named}


def _metrics(folder: Path) -> dict[str, float]:
    """What the gate measured; nothing when the run did not come so far."""
    try:
        data = (folder / "gate.msgpack").read_bytes()
        return msgspec.msgpack.decode(data, type=GateReport).metrics()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _reports(out: bytes) -> Iterator[Report]:
    """What was said, without a last line that was not finished and what other code printed."""
    for line in out.split(b"\n")[:-1]:
        try:
            yield msgspec.json.decode(line, type=Report)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
