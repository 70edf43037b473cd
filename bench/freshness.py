"""How long after it was produced an event can be read: 20 000 events a second on a real worker.

This process offers payments of Zipf cards at a steady pace, in batches every 5 ms, and among them
probes: payments of cards nobody has used. All probes on their way are asked for together through
the api's VectorReader, again and again 1 ms after each answer, until their count is 1. A probe's
time runs from just before it is handed to the producer to the answer that had it, so it includes
the producer, the broker, the worker, the store and the asking. On Apache Kafka (`kafka_…`, and the
plain `p50_ms`, `p99_ms`) and on the embedded broker (`embedded_…`).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import uvloop

from bench._result import own_versions, result
from bench._traffic import Feed, Payments, feed, make_payments
from bench._worker import (
    Bench,
    WorkerProcess,
    apache_kafka,
    applied,
    bench_of,
    cpu_seconds,
    embedded,
)
from cli.kafka_bus import ensure_topics
from cli.services.embedded import Endpoints
from features.redis.client import redis_client
from features.redis.store import RedisStore
from features.vectors import VectorReader
from tidemill.topics import EVENTS

RATE, TICK_SECONDS, PROBE_EVERY_TICKS = 20_000, 0.005, 4
PER_TICK = round(RATE * TICK_SECONDS)
PAUSE_SECONDS, PATIENCE_SECONDS, START_SECONDS = 0.001, 60.0, 60.0


@dataclass(frozen=True)
class Size:
    """How long is measured, and how long the worker runs under load before."""

    seconds: float
    warm_seconds: float

    @property
    def ticks(self) -> int:
        """Batches that are offered."""
        return round((self.seconds + self.warm_seconds) / TICK_SECONDS)


FULL, QUICK = Size(30.0, 10.0), Size(1.5, 1.0)


@dataclass
class Probes:
    """Cards used once, when each was sent and how long it took until it could be read."""

    reader: VectorReader
    column: int
    waiting: dict[str, float] = field(default_factory=dict)
    found: list[tuple[float, float]] = field(default_factory=list)  # sent at, milliseconds
    sent: int = 0

    async def send(self, feeding: Feed) -> None:
        """One more probe."""
        now_ms, card = time.time_ns() // 1_000_000, f"probe{self.sent}"
        body = (
            f'{{"event":"payment","time":{now_ms},"card":"{card}","shop":"s00000",'
            f'"device":"d00000","amount":1.0}}'
        )
        self.sent += 1
        self.waiting[card] = time.perf_counter()
        await feeding.add(card, body.encode(), now_ms)

    async def look(self) -> None:
        """Ask once for all that are on their way."""
        cards, now_ms = list(self.waiting), time.time_ns() // 1_000_000
        requests = [SimpleNamespace(card=card, ticket="", time=now_ms) for card in cards]
        matrix = (await self.reader.read(requests)).matrix
        now = time.perf_counter()
        for card, count in zip(cards, matrix[:, self.column].tolist(), strict=True):
            if count >= 1:
                sent = self.waiting.pop(card)
                self.found.append((sent, (now - sent) * 1000))

    async def look_until(self, stopping: asyncio.Event) -> None:
        """Ask again and again."""
        while not stopping.is_set():
            if self.waiting:
                await self.look()
            await asyncio.sleep(PAUSE_SECONDS)

    async def settle(self, seconds: float) -> bool:
        """Wait until none is on its way; False when some still are after this time."""
        deadline = time.monotonic() + seconds
        while self.waiting and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return not self.waiting


async def _offer(feeding: Feed, probes: Probes, payments: Payments, ticks: int) -> float:
    """Send at a steady pace; returns the events a second that were offered."""
    began = time.perf_counter()
    for tick in range(ticks):
        wait = began + tick * TICK_SECONDS - time.perf_counter()
        await asyncio.sleep(max(wait, 0))
        if tick % PROBE_EVERY_TICKS == 0:
            await probes.send(feeding)
        now_ms, start = time.time_ns() // 1_000_000, tick * PER_TICK % len(payments)
        for key, body in payments.part(start, start + PER_TICK).bodies(now_ms):
            await feeding.add(key, body, now_ms)
        await feeding.flush()
    return ticks * PER_TICK / (time.perf_counter() - began)


@dataclass(frozen=True)
class Found:
    """Milliseconds of the measured probes, what was offered, the worker's CPU, all arrived."""

    times: list[float]
    offered: float
    cores: float
    complete: bool


async def _measure(bench: Bench, worker: WorkerProcess, size: Size) -> Found:
    await ensure_topics(bench.endpoints.kafka, bench.names)
    client = redis_client(bench.endpoints.redis)
    reader = VectorReader(bench.plan, bench.names, RedisStore(client), deadline_ms=10_000)
    probes = Probes(reader, bench.plan.schema.names.index("paid_count_card_24h"))
    payments, stopping = (
        make_payments(PER_TICK * 2_000, time.time_ns() // 1_000_000),
        asyncio.Event(),
    )
    topic, partitions = bench.names.topic(EVENTS), bench.names.partitions
    looking = asyncio.create_task(probes.look_until(stopping))
    try:
        async with feed(bench.endpoints.kafka, topic, partitions) as feeding:
            await probes.send(feeding)
            await feeding.flush()
            if not await probes.settle(START_SECONDS):
                worker.require_alive()
                raise TimeoutError(f"the worker applied nothing within {START_SECONDS:g} s")
            began, used = time.perf_counter(), cpu_seconds(worker.pid)
            offered = await _offer(feeding, probes, payments, size.ticks)
            cores = (cpu_seconds(worker.pid) - used) / (time.perf_counter() - began)
            complete = await probes.settle(PATIENCE_SECONDS)
    finally:
        stopping.set()
        await looking
        await client.aclose()
    measured = [taken for sent, taken in probes.found if sent >= began + size.warm_seconds]
    return Found(measured, offered, cores, complete and _all_applied(bench, probes, size))


def _all_applied(bench: Bench, probes: Probes, size: Size) -> bool:
    """Every event is in the windows, once."""
    expected, deadline = probes.sent + size.ticks * PER_TICK, time.monotonic() + PATIENCE_SECONDS
    with bench.client() as client:
        while (found := applied(client, bench.names)) != expected and time.monotonic() < deadline:
            time.sleep(0.05)
    return found == expected


def _on(services: AbstractContextManager[Endpoints], home: Path, size: Size, apache: bool) -> Found:
    with services as endpoints:
        bench = bench_of("one_entity", endpoints, home, apache=apache)
        with WorkerProcess(bench) as worker:
            return uvloop.run(_measure(bench, worker, size))


def run(quick: bool) -> dict[str, object]:
    """Measure on each broker."""
    size, found, skipped = QUICK if quick else FULL, dict[str, Found](), dict[str, str]()
    kafka_home = os.environ.get("KAFKA_HOME")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if quick or not kafka_home:
            skipped["kafka"] = "--quick" if quick else "KAFKA_HOME is not set"
        else:
            services = apache_kafka(home / "kafka", Path(kafka_home))
            found["kafka"] = _on(services, home / "kafka-worker", size, apache=True)
        services = embedded(home / "embedded")
        found["embedded"] = _on(services, home / "embedded-worker", size, apache=False)
    samples: dict[str, tuple[str, list[float]]] = {}
    for broker, each in found.items():
        percentiles = np.percentile(each.times, (50, 99, 100)).tolist()
        for name, value in zip(("p50_ms", "p99_ms", "max_ms"), percentiles, strict=True):
            samples[f"{broker}_{name}"] = ("ms", [value])
            samples.setdefault(name, ("ms", [value]))  # the first: Apache Kafka where it is there
        samples[f"{broker}_probes"] = ("1", [len(each.times)])
        samples[f"{broker}_offered"] = ("events/s", [each.offered])
        samples[f"{broker}_worker_cpu"] = ("cores", [each.cores])
    return result(
        "freshness", samples, equal=all(each.complete for each in found.values()), ratios={},
        skipped=skipped, versions=own_versions("aiokafka", "redis", "uvloop"),
    )  # fmt: skip
