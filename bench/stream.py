"""Events a second of the real worker, and CPU per event, against Faust, quixstreams and Bytewax.

Payments of six JSON fields lie in the topic before a clock runs; their cards are 100 000 Zipf keys.
`one_entity`: 20 window features of the card. `three_entities`: the same 20 of card, shop and
device, each event re-keyed three times. Ours is `tidemill worker` as it is run: it decodes, checks,
re-keys, folds, commits durably behind the fence to Valkey (append-only file) and archives to
Parquet; the time is from the first commit to all events applied, the CPU until the worker has ended
and every file is written. Peers read the same topic in turn with it, in one process each, do less,
and keep nothing durable but the Table's changelog: `faust_agent` counts and sums per card in a
dictionary, `faust_table` in a Table, `bytewax` in a stateful map; `quixstreams` maps without state.
A ratio divides events a second of wall time; a ratio named `_per_core`, events a CPU second.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import aiokafka.admin
import numpy as np
import redis.asyncio

from bench._peers import Peer, PeerFailed, read_events
from bench._result import median, own_versions, result
from bench._traffic import Payments, make_payments, produce
from bench._worker import Bench, apache_kafka, bench_of, embedded, run_worker
from bench.peers.tally import Task
from cli.kafka_bus import ensure_topics
from features.redis.store import RedisStore
from features.vectors import VectorReader
from tidemill.topics import EVENTS, UPDATES

PEERS = {
    "faust_agent": Peer("faust_agent", "faust-streaming", own=False),
    "faust_table": Peer("faust_table", "faust-streaming", own=False),
    "quixstreams": Peer("quixstreams_stateless", "quixstreams", own=True),
    "bytewax": Peer("bytewax_stateful", "bytewax", own=True),
}
STATELESS = ("quixstreams",)
PROJECTS = ("one_entity", "three_entities")
CHECKED_EVENTS, CHECKED_CARDS, CHECK_SECONDS = 5_000, 2_000, 60.0


@dataclass(frozen=True)
class Size:
    """How much is streamed, how often, and how long a peer may read."""

    events: int
    embedded_events: int
    rounds: int
    peer_seconds: float


FULL, QUICK = Size(1_000_000, 300_000, 3, 8.0), Size(40_000, 40_000, 1, 2.0)


@dataclass
class Found:
    """What the rounds brought, by measure and unit."""

    samples: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[str, str] = field(default_factory=dict)
    equal: bool = True

    def add(self, name: str, events: int, seconds: float, cpu: float) -> None:
        """One timed run."""
        self.samples[f"{name}_events_per_second", "1/s"].append(events / seconds)
        self.samples[f"{name}_events_per_core_second", "1/s"].append(events / cpu)
        self.samples[f"{name}_cpu_us_per_event", "us"].append(cpu / events * 1e6)

    def value(self, name: str) -> float:
        """The median of a measure in 1/s."""
        return median(self.samples[name, "1/s"])


async def _expected_vectors(bench: Bench, payments: Payments, end_ms: int) -> bool:
    """Counts and sums that the api would read for some cards, against NumPy's."""
    client = redis.asyncio.Redis.from_url(bench.endpoints.redis)
    totals = list(payments.totals().items())[:CHECKED_CARDS]
    requests = [
        SimpleNamespace(time=end_ms, ticket="", card=card, shop="", device="") for card, _ in totals
    ]
    try:
        reader = VectorReader(bench.plan, bench.names, RedisStore(client), deadline_ms=60_000)
        matrix = (await reader.read(requests)).matrix
    finally:
        await client.aclose()
    columns = [bench.plan.schema.names.index(f"paid_{each}_card_24h") for each in ("count", "sum")]
    wanted = np.array([total for _, total in totals], dtype=np.float32)
    return bool(np.allclose(matrix[:, columns], wanted, rtol=1e-6, atol=0))


async def _forget_updates(bench: Bench) -> None:
    """Delete the topic that an earlier worker wrote: the next one begins with an empty store."""
    admin = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=bench.endpoints.kafka)
    await admin.start()
    try:
        topic, deadline = bench.names.topic(UPDATES), time.monotonic() + 30
        if topic in await admin.list_topics():
            await admin.delete_topics([topic])
        while topic in await admin.list_topics():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic} was not deleted within 30 s")
            await asyncio.sleep(0.1)
    finally:
        await admin.close()


def _prepare(bench: Bench, payments: Payments, now_ms: int) -> None:
    asyncio.run(ensure_topics(bench.endpoints.kafka, bench.names))
    asyncio.run(
        produce(
            bench.endpoints.kafka, bench.names.topic(EVENTS), bench.names.partitions,
            payments, now_ms,
        )
    )  # fmt: skip


def _ours(bench: Bench, payments: Payments, end_ms: int, name: str, found: Found) -> None:
    """One round of our worker from an empty store, its answers checked."""
    run = run_worker(bench, len(payments))
    found.add(name, run.events, run.seconds, run.cpu_seconds)
    found.samples[f"{name}_worker_memory", "bytes"].append(run.peak_bytes)
    found.equal &= asyncio.run(_expected_vectors(bench, payments, end_ms))


def _agrees(peer: str, told: Mapping[str, object], payments: Payments) -> bool:
    """A peer that read all of these payments has their counts and sums."""
    if told["events"] != len(payments) or told["sum"] != float(payments.amounts.sum()):
        return False
    expected = {card: list(total) for card, total in payments.totals().items()}
    return peer in STATELESS or told["totals"] == expected


def _check_peers(task: Task, payments: Payments, found: Found) -> list[str]:
    """Those peers that run at all; what they compute is compared before anything is timed."""
    running = []
    for name, peer in PEERS.items():
        try:
            asked = replace(task, group=f"check-{name}", seconds=CHECK_SECONDS)
            told = read_events(peer, asked)
        except PeerFailed as failed:
            found.skipped[name] = str(failed)
            continue
        if _agrees(name, told, payments):
            running.append(name)
        else:
            found.equal = False
            found.skipped[name] = f"its answer differs, from {told['events']} events"
    return running


def _peer_round(task: Task, peers: list[str], number: int, found: Found) -> None:
    for name in peers:
        told = read_events(PEERS[name], replace(task, group=f"time-{name}-{number}"))
        found.add(name, told["events"], told["seconds"], told["cpu_seconds"])


def _apache(home: Path, kafka_home: Path, size: Size, found: Found) -> None:
    """On Apache Kafka, peers in turn with ours."""
    end_ms = time.time_ns() // 1_000_000
    payments = make_payments(size.events, end_ms)
    with apache_kafka(home, kafka_home) as endpoints:
        small = payments.part(0, CHECKED_EVENTS)
        checked = bench_of("one_entity", endpoints, home / "check", apache=True)
        checked = replace(checked, names=replace(checked.names, project="check"))
        _prepare(checked, small, end_ms)
        task = _task(checked, home, size, len(small))
        peers = _check_peers(task, small, found)
        for project in PROJECTS:
            bench = bench_of(project, endpoints, home / project, apache=True)
            _prepare(bench, payments, end_ms)
            for number in range(size.rounds):
                asyncio.run(_forget_updates(bench))
                _forget_store(bench)
                bench = bench_of(project, endpoints, home / f"{project}-{number}", apache=True)
                _ours(bench, payments, end_ms, f"kafka_{project}", found)
                if project == "one_entity":
                    _peer_round(_task(bench, home, size, len(payments)), peers, number, found)


def _forget_store(bench: Bench) -> None:
    with bench.client() as client:
        client.flushall()


def _task(bench: Bench, home: Path, size: Size, events: int) -> Task:
    topic, partitions = bench.names.topic(EVENTS), bench.names.partitions
    file = str(home / "peer.json")
    return Task(bench.endpoints.kafka, topic, partitions, "", events, size.peer_seconds, file)


def _embedded(home: Path, size: Size, found: Found) -> None:
    """On the embedded broker: one partition, which it wants, and one round, for it forgets."""
    end_ms = time.time_ns() // 1_000_000
    payments = make_payments(size.embedded_events, end_ms)
    for project in PROJECTS:
        with embedded(home / f"embedded-{project}") as endpoints:
            bench = bench_of(project, endpoints, home / f"worker-{project}", apache=False)
            _prepare(bench, payments, end_ms)
            _ours(bench, payments, end_ms, f"embedded_{project}", found)


def run(quick: bool) -> dict[str, object]:
    """Compare what the peers compute, then time ours and theirs in turn."""
    size, found = QUICK if quick else FULL, Found()
    kafka_home = os.environ.get("KAFKA_HOME")
    with tempfile.TemporaryDirectory() as folder:
        if quick or not kafka_home:
            why = "--quick" if quick else "KAFKA_HOME is not set"
            found.skipped |= dict.fromkeys(["kafka", *PEERS], why)
        else:
            _apache(Path(folder), Path(kafka_home), size, found)
        _embedded(Path(folder), size, found)
    ratios = {}
    for name in PEERS:
        if (f"{name}_events_per_second", "1/s") in found.samples:
            for suffix, measure in (("", "per_second"), ("_per_core", "per_core_second")):
                ours = found.value(f"kafka_one_entity_events_{measure}")
                ratios[name + suffix] = ours / found.value(f"{name}_events_{measure}")
    versions = own_versions("aiokafka", "faust-streaming", "msgspec", "numba", "numpy", "redis")
    theirs = {peer.package: peer.version() for peer in PEERS.values() if peer.own}
    return result(
        "stream", {name: (unit, values) for (name, unit), values in found.samples.items()},
        equal=found.equal, ratios=ratios, skipped=found.skipped,
        versions=versions | {name: told for name, told in theirs.items() if told},
    )  # fmt: skip
