"""What a swap costs those who ask meanwhile: 100 swaps a minute at half of full load, or none.

Ours is `tidemill api` as `bench score` starts it, on one core; load, store, broker and the writer
of models share the other. A closed loop finds the full load; then parts of 1.2 seconds with and
without swaps take turns in the same processes (which comes first alternates too), each an open loop
at half of the full load, and waited for to its last answer. Parts are short because a shared
machine has slow phases of some seconds, in which half of the full load is all that the core can do:
they must meet both kinds alike. A swap is the dearest there is: a snapshot of another release,
which is announced, read from the store, loaded from the disk (two are kept, four take turns), its
signature and digests checked, tried out on recorded requests, and exchanged. In the parts without,
the same bytes are written at the same pace to where no api looks, so that the difference is the
api's.

`p99_ratio` is the 99th percentile of all requests with swaps over that of all without,
`p99_ratio_parts` that of a median part over that of a median part, and `p99_ratio_alike` what the
first is between parts without swaps, drawn twice: so much of it is the machine. `failed` are those
with swaps that were not answered with 200. `pace` is what a fixed piece of work takes on the
api's core in each part, in processor time: how fast the machine was. `memory_more` is how much
anonymous memory the api takes at most above the most it took before the first part, without swaps,
under the same load and with all its connections busy, as they are in a slow phase; `memory_slope`
is its trend (Theil and Sen) over the last half. `model` is what one more model takes in a process
that holds several, `model_text` the text it was trained as (the api reads its arrays' file, half as
long), and `model_loading` the first with all that its loading needs. `--minutes` are those with
swaps: 10 make 1,000.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvloop
from numpy.typing import NDArray

from bench._cores import on, two_cores
from bench._load import Load, ask, closed_loop
from bench._open_loop import open_loop
from bench._pace import Pace, watched
from bench._result import own_versions, result
from bench._score_world import World, make_world
from bench._services import OURS, Running, running
from bench._swapper import Target, Turn, anonymous_bytes, run_swapper
from learners.release import TREES_FILE, ModelFile, release_files
from learners.trees import FrozenTrees
from tidemill.api_keys import KeyFile, KeyRequest
from tidemill.registry import Registry
from tidemill.settings import Settings

CONNECTIONS, OPEN_CONNECTIONS = 64, 256
SWAPS_A_MINUTE, PARTS_A_MINUTE, RELEASES = 100, 50, 4
PATIENCE_SECONDS, LOOK_SECONDS = 30.0, 1.0
MEGABYTE, TOLERANCE, DRAWS = 1_000_000, 1e-9, 100


@dataclass(frozen=True)
class Size:
    """Minutes with swaps, in how many parts, and how long the full load is looked for.

    Half of it is then asked for six times as long, to see the memory that takes, and all that as
    many connections can ask for.
    """

    minutes: float
    parts: int
    seconds: float

    @property
    def part_seconds(self) -> float:
        """How long one part takes."""
        return 60 * self.minutes / self.parts

    @property
    def swaps(self) -> int:
        """Swaps in one part."""
        return max(1, round(SWAPS_A_MINUTE * self.minutes / self.parts))


@dataclass
class Memory:
    """What a process takes: anonymous bytes, looked at every second."""

    pid: int
    seen: list[tuple[float, int]] = field(default_factory=list)

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Look once."""
        self.seen.append((time.monotonic(), anonymous_bytes(self.pid)))

    def most(self) -> int:
        """The most it took so far."""
        return max(found for _, found in self.seen)

    def slope(self) -> float:
        """Megabytes an hour, over the last half of what was seen."""
        half = self.seen[len(self.seen) // 2 :]
        times = np.array([when for when, _ in half]) / 3600
        return _theil_sen(times, np.array([found for _, found in half]) / MEGABYTE)


@dataclass
class Found:
    """What the parts brought."""

    rate: float
    text: int = 0
    before: int = 0
    loads: dict[bool, list[Load]] = field(default_factory=lambda: {True: [], False: []})
    times: dict[bool, list[tuple[float, float]]] = field(
        default_factory=lambda: {True: [], False: []}
    )
    equal: bool = True
    swaps: int = 0
    refused: int = 0

    def p99(self, swapped: bool) -> float:
        """The 99th percentile of all requests of one kind, in ms."""
        return float(np.percentile(_latencies(self.loads[swapped]), 99))

    def median_p99(self, swapped: bool) -> float:
        """The median of the 99th percentiles of each part of one kind, in ms."""
        return float(np.median([load.percentile(99) for load in self.loads[swapped]]))


def _latencies(loads: list[Load]) -> NDArray[np.float64]:
    return np.concatenate([load.latencies_ms for load in loads])


def _alike(loads: list[Load]) -> list[float]:
    """Ratios of 99th percentiles between parts drawn from the same ones, with replacement."""
    random = np.random.default_rng(1)

    def drawn() -> float:
        chosen = random.integers(len(loads), size=len(loads))
        return float(np.percentile(_latencies([loads[each] for each in chosen]), 99))

    return [drawn() / drawn() for _ in range(DRAWS)]


def _theil_sen(times: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The median of the slopes between all pairs; 0 where there is no pair."""
    first, second = np.triu_indices(len(times), 1)
    apart = times[second] - times[first]
    slopes = (values[second] - values[first])[apart > 0] / apart[apart > 0]
    return float(np.median(slopes)) if len(slopes) else 0.0


@contextmanager
def swapper(
    world: World, settings: Settings, releases: list[str]
) -> Iterator[tuple[Connection, list[int]]]:
    """The writer of models, a process on the core of all else, and what models weigh in it."""
    target = Target(world.file, settings, world.names, releases)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=run_swapper, args=(target, there), daemon=True)
    process.start()
    try:
        if not here.poll(PATIENCE_SECONDS * 2):
            raise TimeoutError("the writer of models did not start")
        yield here, here.recv()
        here.send(None)
        process.join(PATIENCE_SECONDS)
    finally:
        process.terminate()
        process.join(PATIENCE_SECONDS)


def publish(world: World, settings: Settings) -> list[str]:
    """Releases beside the first, of the same trees: what a swap costs is the same."""
    registry = Registry(settings.home, world.plan.project.name)
    (first,) = registry.names()
    manifest = registry.manifest(first)
    files = release_files(ModelFile(TREES_FILE, world.model.read_bytes()))
    for _ in range(RELEASES - 1):
        name = registry.next_name()
        registry.publish(msgspec.structs.replace(manifest, release=name), files)
    return registry.names()


def swaps_of(port: int, key: str) -> tuple[int, int]:
    """Models that the api has adopted and refused so far, as it tells Prometheus."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics", headers={"authorization": f"Bearer {key}"})
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    counts = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines
              if line.startswith("tidemill_swaps")}  # fmt: skip
    adopted = sum(n for name, n in counts.items() if name.startswith("tidemill_swaps_total"))
    return int(adopted), int(counts["tidemill_swaps_refused_total"])


def measure(
    service: Running, world: World, size: Size, pipe: Connection, reader: str
) -> tuple[Found, Memory]:
    """Find the full load, then the parts: without and with swaps, with and without, and so on."""
    requests = [service.service.request(pair, world.key) for pair in world.pairs]
    uvloop.run(closed_loop(service.port, requests, CONNECTIONS, size.seconds))
    _take(pipe, Turn(3, 0.2, served=True))  # what is loaded for the first time is not a swap
    full = uvloop.run(closed_loop(service.port, requests, CONNECTIONS, size.seconds))
    memory, (before, _) = Memory(service.pid), swaps_of(service.port, reader)
    found = Found(full.per_second / 2, world.model.stat().st_size)
    uvloop.run(_loaded(service.port, requests, found.rate, 6 * size.seconds, memory))
    uvloop.run(closed_loop(service.port, requests, OPEN_CONNECTIONS, size.seconds))
    memory.look()
    found.before = memory.most()
    for part in range(size.parts):
        for swapped in (False, True) if part % 2 == 0 else (True, False):
            pipe.send(Turn(size.swaps, size.part_seconds / size.swaps, swapped))
            began = time.monotonic()
            load = uvloop.run(
                _loaded(service.port, requests, found.rate, size.part_seconds, memory)
            )
            found.times[swapped].append((began, time.monotonic()))
            _done(pipe)
            found.loads[swapped].append(load)
            found.equal &= _right(service, world)
    adopted, found.refused = swaps_of(service.port, reader)
    found.swaps = adopted - before
    return found, memory


async def _loaded(
    port: int, requests: list[bytes], rate: float, seconds: float, memory: Memory
) -> Load:
    watching = asyncio.create_task(memory.watch())
    try:
        return await open_loop(port, requests, OPEN_CONNECTIONS, rate, seconds)
    finally:
        watching.cancel()


def _take(pipe: Connection, turn: Turn) -> None:
    pipe.send(turn)
    _done(pipe)


def _done(pipe: Connection) -> None:
    if not pipe.poll(PATIENCE_SECONDS) or pipe.recv() != "done":
        raise TimeoutError(f"the writer of models was not done within {PATIENCE_SECONDS:g} s")


def _right(service: Running, world: World) -> bool:
    """One answer's score is the model's own."""
    expected = FrozenTrees.parse(world.model.read_bytes()).predict_many(world.vectors[:1])[0]
    body = uvloop.run(ask(service.port, service.service.request(world.pairs[0], world.key)))
    return bool(body) and abs(json.loads(body)["score"] - float(expected)) <= TOLERANCE


def run(quick: bool, minutes: float = 10.0) -> dict[str, object]:
    """Start everything, take turns, and add up."""
    parts = max(2, round(PARTS_A_MINUTE * minutes))
    size = Size(0.1, 2, 1.0) if quick else Size(minutes, parts, 10.0)
    kafka_home = None if quick else os.environ.get("KAFKA_HOME")
    skipped = {} if kafka_home else {"kafka": "--quick" if quick else "KAFKA_HOME is not set"}
    cores = two_cores()
    with tempfile.TemporaryDirectory() as folder:
        with make_world(Path(folder), Path(kafka_home) if kafka_home else None, cores) as world:
            told: dict[str, Any] = {
                k.removeprefix("TIDEMILL_").lower(): v for k, v in world.settings.items()
            }
            settings = Settings(**told)
            releases = publish(world, settings)
            keys = KeyFile(settings.home, world.plan.project.name)
            _, reader = keys.create(KeyRequest("look", ["read"]), "bench", time.time_ns() // 10**6)
            with running(OURS, world, cores) as service, on(cores.others):
                with swapper(world, settings, releases) as (pipe, weights), watched(cores) as pace:
                    found, memory = measure(service, world, size, pipe, reader)
    found.equal &= found.swaps == size.swaps * size.parts
    return _told(found, memory, pace, weights, skipped)


def _told(
    found: Found, memory: Memory, pace: Pace, weights: list[int], skipped: dict[str, str]
) -> dict[str, object]:
    pairs = [
        float(np.percentile(swapped.latencies_ms, 99) / np.percentile(alone.latencies_ms, 99))
        for swapped, alone in zip(found.loads[True], found.loads[False], strict=True)
    ]
    more = (memory.most() - found.before) / MEGABYTE
    samples: dict[str, tuple[str, list[float]]] = {
        "swaps": ("1", [found.swaps]),
        "refused": ("1", [found.refused]),
        "rate": ("1/s", [found.rate]),
        "failed": ("1", [sum(load.failed for load in found.loads[True])]),
        "failed_without": ("1", [sum(load.failed for load in found.loads[False])]),
        "p99_ratio": ("1", [found.p99(True) / found.p99(False)]),
        "p99_ratio_parts": ("1", [found.median_p99(True) / found.median_p99(False)]),
        "p99_ratio_pairs": ("1", pairs),
        "p99_ratio_alike": ("1", _alike(found.loads[False])),
        "memory_before": ("MB", [found.before / MEGABYTE]),
        "memory_more": ("MB", [more]),
        "memory_slope": ("MB/h", [memory.slope()]),
        "model": ("MB", (np.diff(weights[1:]) / MEGABYTE).tolist()),
        "model_text": ("MB", [found.text / MEGABYTE]),
        "model_loading": ("MB", [(weights[1] - weights[0]) / MEGABYTE]),
    }
    for swapped, name in ((True, "with"), (False, "without")):
        for share in (50, 99, 99.9):
            each = [load.percentile(share) for load in found.loads[swapped]]
            samples[f"p{str(share).replace('.', '_')}_{name}"] = ("ms", each)
        paces = [pace.microseconds(*times) for times in found.times[swapped]]
        samples[f"pace_{name}"] = ("us", paces)
    versions = own_versions("fastapi", "msgspec", "numpy", "uvicorn", "uvloop")
    equal = found.equal and not found.refused
    return result("swap", samples, equal=equal, ratios={}, skipped=skipped, versions=versions)
