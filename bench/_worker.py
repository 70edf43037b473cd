"""A real `tidemill worker` on real services, watched from outside: what it applied and its CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from cli.services.embedded import Endpoints, embedded_services
from cli.services.kafka import LocalKafka
from cli.services.process import Launch, failure, spawn
from cli.services.tansu import SUITABLE
from cli.services.valkey import EmbeddedValkey
from cli.wiring import names_of
from features.freshness import UPDATES_FENCE
from features.plan import FeaturePlan, compile_plan
from tidemill.loading import load_project
from tidemill.settings import Settings
from tidemill.topics import Names

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = Path(__file__).parent / "projects"
KAFKA_PARTITIONS = 4
_POLL_SECONDS = 0.01
_PATIENCE_SECONDS = 180.0


@dataclass(frozen=True)
class Bench:
    """One declaration on one broker and store."""

    file: Path
    plan: FeaturePlan
    names: Names
    endpoints: Endpoints
    settings: Mapping[str, str]
    home: Path

    def client(self) -> redis.Redis:
        """A connection to the store."""
        return redis.Redis.from_url(self.endpoints.redis)


@dataclass(frozen=True)
class Run:
    """What one worker did: events in a wall time, CPU until it had ended, its largest memory."""

    events: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def per_second(self) -> float:
        """Events in a second of wall time."""
        return self.events / self.seconds

    @property
    def per_core_second(self) -> float:
        """Events in a second of the worker's CPU time."""
        return self.events / self.cpu_seconds


@contextmanager
def apache_kafka(home: Path, kafka_home: Path) -> Iterator[Endpoints]:
    """Apache Kafka and a Valkey with an append-only file."""
    with LocalKafka(kafka_home, home / "kafka") as kafka, EmbeddedValkey(home / "valkey") as store:
        yield Endpoints(kafka.address, store.url)


@contextmanager
def embedded(home: Path) -> Iterator[Endpoints]:
    """The embedded broker and a Valkey with an append-only file."""
    with embedded_services(home) as endpoints:
        yield endpoints


def bench_of(project: str, endpoints: Endpoints, home: Path, *, apache: bool) -> Bench:
    """A declaration of bench/projects on these services; `home` gets the worker's files."""
    file = PROJECTS / f"{project}.py"
    plan = compile_plan(load_project(file))
    partitions = KAFKA_PARTITIONS if apache else SUITABLE["partitions"]
    settings = {"TIDEMILL_PARTITIONS": str(partitions)}
    if not apache:
        settings["TIDEMILL_FETCH_WAIT_MS"] = str(SUITABLE["fetch_wait_ms"])
    home.mkdir(parents=True, exist_ok=True)
    names = names_of(plan, Settings(partitions=partitions))
    return Bench(file, plan, names, endpoints, settings, home)


class WorkerProcess:
    """`tidemill worker` as a child that dies with this process."""

    def __init__(self, bench: Bench) -> None:
        own = {
            "TIDEMILL_KAFKA": bench.endpoints.kafka,
            "TIDEMILL_REDIS": bench.endpoints.redis,
            "TIDEMILL_HOME": str(bench.home),
            "PYTHONPATH": str(ROOT),
        }
        told = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}
        command = (sys.executable, "-m", "tidemill", "worker", str(bench.file))
        log = bench.home / "worker.log"
        self._launch = Launch(
            "the worker", command, bench.home, log, told | own | dict(bench.settings)
        )
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._child is not None
        return self._child.pid

    def __enter__(self) -> WorkerProcess:
        """Start it."""
        self._child = spawn(self._launch)
        return self

    def __exit__(self, *error: object) -> None:
        """Kill it if it still runs."""
        assert self._child is not None
        self._child.kill()
        self._child.wait()

    def require_alive(self) -> None:
        """Raise with the end of its log when it has ended."""
        if _state(self.pid) == "Z":
            raise failure(self._launch, "ended by itself")

    def end(self) -> float:
        """Stop it in order: everything it holds is written. Returns all its CPU seconds."""
        assert self._child is not None
        self._child.terminate()
        # Unreaped, it still tells its CPU time.
        _until("the worker ends", lambda: _state(self.pid) == "Z")
        used = cpu_seconds(self.pid)
        if self._child.wait() != 0:
            raise failure(self._launch, f"ended with exit code {self._child.returncode}")
        return used


def applied(client: redis.Redis, names: Names) -> int:
    """The events that are in the windows, as the fences tell."""
    pipeline = client.pipeline(transaction=False)
    for partition in range(names.partitions):
        pipeline.hget(names.fence(UPDATES_FENCE, partition), "events_applied")
    return sum(int(found or 0) for found in pipeline.execute())


def run_worker(bench: Bench, events: int, look: Callable[[int], None] | None = None) -> Run:
    """Start a worker on a log of `events` events; from its first commit to all applied.

    `look` is called with the worker's process id once it has begun. The CPU is counted until the
    worker has ended, so it covers the archive's files as well. Of a log so short that its first
    commit is its last, everything counts from the worker's start.
    """
    started = time.perf_counter()
    with WorkerProcess(bench) as worker, bench.client() as client:

        def at_least(wanted: int) -> int:
            worker.require_alive()
            found = applied(client, bench.names)
            return found if found >= wanted else 0

        first = _until("the first commit", lambda: at_least(1))
        began, used = time.perf_counter(), cpu_seconds(worker.pid)
        if look is not None:
            look(worker.pid)
        _until(f"{events} events are applied", lambda: at_least(events))
        ended, peak = time.perf_counter(), peak_bytes(worker.pid)
        if first >= events:
            return Run(events, ended - started, worker.end(), peak)
        return Run(events - first, ended - began, worker.end() - used, peak)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """The largest resident size of a running process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def _state(pid: int) -> str:
    return _stat(pid)[0]


def _until(what: str, ask: Callable[[], int]) -> int:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (found := ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_PATIENCE_SECONDS:g} s: {what}")
        time.sleep(_POLL_SECONDS)
    return found
