"""How long after a label was produced the answers know it: worker and api under steady traffic.

200 requests and 50 labels a second come in at fixed moments, whatever the answers take. Every
fourth request has the same numbers, and gets its label a second after its answer. Beside them these
numbers are asked for again and again, 1 ms after each answer: every answer names its snapshot, and
the worker's announcements say which labels a snapshot has learned. A label's time runs from just
before it is handed to the producer to the first answer of a snapshot that learned it, so it
includes producer, broker, join, learner, store, the api's check of the snapshot and HTTP.
`joined_…` and `announced_…` are the parts of it until the example and the announcement were
written. Answers are right when every label was learned and each snapshot gave those numbers a score
of its own. On Apache Kafka (`kafka_…`, and the plain `p50_ms`, `p99_ms`) and on the embedded broker
(`embedded_…`).
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench._load import http_request
from bench._open_loop import OpenLoop
from bench._result import own_versions, result
from bench._worker import ROOT, Bench, apache_kafka, bench_of, cpu_seconds, embedded
from cli.demo.client import HttpClient
from cli.demo.processes import Child, answers, child, command
from cli.kafka_bus import ensure_topics
from cli.services.embedded import Endpoints
from cli.services.ports import free_port
from learners.release import TREES_FILE, ModelFile, release_files
from tidemill.registry import Manifest, Registry
from tidemill.topics import EXAMPLES, LABELS, MODELS
from tidemill.wire import Announcement, Example, decode

PROJECT, RELEASE, NUMBERS = "twenty_fields", "r0001", 20
REQUESTS, LABELS_A_SECOND, TICK_SECONDS, LINES = 200, 50, 0.005, 16
LABEL_AFTER_SECONDS, PAUSE_SECONDS, PATIENCE_SECONDS, START_SECONDS = 1.0, 0.001, 30.0, 60.0
HOST = "127.0.0.1"
FIXED = np.linspace(-1, 1, NUMBERS)  # what is asked again and again, and what labels are about


@dataclass(frozen=True)
class Size:
    """How long is measured and how long before, and the trees that are learned on."""

    seconds: float
    warm_seconds: float
    trees: int


FULL, QUICK = Size(20.0, 8.0, 200), Size(2.0, 2.0, 20)


@dataclass
class Heard:
    """When a label (by its stamp, ms) was sent, became an example, was announced and answered.

    Moments are seconds of the clock; `snapshots` has the labels that each snapshot learned.
    """

    sent: dict[int, float] = field(default_factory=dict)
    joined: dict[int, float] = field(default_factory=dict)
    announced: dict[int, float] = field(default_factory=dict)
    snapshots: dict[int, list[int]] = field(default_factory=dict)
    served: dict[int, float] = field(default_factory=dict)  # snapshot: its first answer
    scores: dict[int, set[float]] = field(default_factory=dict)

    def answered(self) -> dict[int, float]:
        """When an answer first knew each label: that of its snapshot, or of a later one."""
        found: dict[int, float] = {}
        moment = float("inf")
        for snapshot in sorted({*self.served, *self.snapshots}, reverse=True):
            moment = min(moment, self.served.get(snapshot, moment))
            for label in self.snapshots.get(snapshot, ()):
                if moment < float("inf"):
                    found[label] = moment
        return found

    def milliseconds(self, moments: Mapping[int, float], since: float) -> list[float]:
        """From sending to these moments, of the labels sent since."""
        return [
            (moments[label] - sent) * 1000
            for label, sent in self.sent.items()
            if sent >= since and label in moments
        ]


def _body(ticket: str, numbers: Any) -> bytes:
    fields = {f"number{n:02d}": round(float(each), 4) for n, each in enumerate(numbers)}
    return json.dumps({"ticket": ticket, "time": _now_ms()} | fields).encode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _Asked(NamedTuple):
    """A request, and whether it gets a label."""

    ticket: str
    to_label: bool


class Traffic:
    """Requests at fixed moments, and labels for those that were answered a second ago."""

    def __init__(self, port: int, producer: AIOKafkaProducer, topic: str, heard: Heard) -> None:
        self._client = OpenLoop(port, self._note)
        self._producer, self._topic, self._heard = producer, topic, heard
        self._rng = np.random.default_rng(11)
        self._answered: list[tuple[float, str, float]] = []  # when, of what, the score
        self._labelled = self._stamp = 0
        self.failed = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Send until told to stop, and wait for the last answer."""
        await self._client.open(LINES)
        began, every, tick = time.perf_counter(), REQUESTS // LABELS_A_SECOND, 0
        while not stopping.is_set():
            due = began + tick * TICK_SECONDS
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            ticket, to_label = f"t{tick}", tick % every == 0
            numbers = FIXED if to_label else self._rng.normal(size=NUMBERS)
            request = http_request("/v1/score", _body(ticket, numbers))
            self._client.post(_Asked(ticket, to_label), request, due)
            if to_label:
                await self._label()
            tick += 1
        await self._client.close()

    async def _label(self) -> None:
        if self._labelled == len(self._answered):
            return
        when, ticket, score = self._answered[self._labelled]
        if time.perf_counter() - when < LABEL_AFTER_SECONDS:
            return
        self._labelled += 1
        self._stamp = max(_now_ms(), self._stamp + 1)  # no two alike: it tells them apart
        value = int(self._rng.random() < score)  # as often as answered: the breaker looks on
        label = {"key": ticket, "value": value, "time": _now_ms()}
        self._heard.sent[self._stamp] = time.time()
        await self._producer.send(
            self._topic, json.dumps(label).encode(), ticket.encode(), timestamp_ms=self._stamp
        )

    def _note(self, what: object, status: int, body: bytes, milliseconds: float) -> None:
        assert isinstance(what, _Asked)
        if status != 200:
            self.failed += 1
        elif what.to_label:
            self._answered.append((time.perf_counter(), what.ticket, json.loads(body)["score"]))


async def _ask(port: int, heard: Heard, stopping: asyncio.Event) -> None:
    """One request, the same again and again; which snapshot answered, and what."""
    client = HttpClient(HOST, port, 1)
    while not stopping.is_set():
        (reply,) = await client.post("/v1/score", [_body("fixed", FIXED)])
        if reply.status == 200:
            answer = json.loads(reply.body)
            snapshot = answer["model"]["snapshot"]
            heard.served.setdefault(snapshot, time.time())
            heard.scores.setdefault(snapshot, set()).add(answer["score"])
        await asyncio.sleep(PAUSE_SECONDS)
    client.close()


async def _listen(bench: Bench, kind: str, heard: Heard) -> None:
    """What the worker writes, with the moment it was stamped."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bench.endpoints.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        place = TopicPartition(bench.names.topic(kind), 0)
        consumer.assign([place])
        consumer.seek(place, 0)
        async for record in consumer:
            moment = record.timestamp / 1000
            if kind == EXAMPLES:
                example: Example = decode(Example, record.value)
                heard.joined.setdefault(example.label_produced_ms, moment)
                continue
            news: Announcement = decode(Announcement, record.value)
            if news.kind == "snapshot":
                heard.snapshots[news.snapshot] = news.labels_produced_ms
                heard.announced |= dict.fromkeys(news.labels_produced_ms, moment)
    finally:
        await consumer.stop()


@dataclass(frozen=True)
class Found:
    """What was heard of the labels sent since `since`, and what the two processes used."""

    heard: Heard
    since: float
    complete: bool
    cores: tuple[float, float]


async def _measure(bench: Bench, port: int, pids: tuple[int, int], size: Size) -> Found:
    heard, stopping = Heard(), asyncio.Event()
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(bootstrap_servers=bench.endpoints.kafka, acks="all")
        await producer.start()
        stack.push_async_callback(producer.stop)
        tasks = [asyncio.create_task(_listen(bench, kind, heard)) for kind in (EXAMPLES, MODELS)]
        for task in tasks:
            stack.callback(task.cancel)
        asking, sent = asyncio.create_task(_ask(port, heard, stopping)), asyncio.Event()
        traffic = Traffic(port, producer, bench.names.topic(LABELS), heard)
        sending = asyncio.create_task(traffic.run(sent))
        await _until(lambda: bool(heard.answered()), START_SECONDS)  # the worker joins its groups
        await asyncio.sleep(size.warm_seconds)
        began, used = time.time(), [cpu_seconds(pid) for pid in pids]
        await asyncio.sleep(size.seconds)
        taken = time.time() - began
        cores = [(cpu_seconds(pid) - u) / taken for pid, u in zip(pids, used, strict=True)]
        sent.set()
        await sending
        complete = await _until(lambda: heard.answered().keys() == heard.sent.keys())
        stopping.set()
        await asking
    own_scores = all(len(each) == 1 for each in heard.scores.values())
    learned = [min(own) for n, own in heard.scores.items() if heard.snapshots.get(n)]
    changed = len(set(learned)) == len(learned)
    right = complete and own_scores and changed and traffic.failed == 0
    return Found(heard, began, right, (cores[0], cores[1]))


async def _until(good: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    """Wait until it is so; false when it is not within this time."""
    deadline = time.monotonic() + seconds
    while not good() and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return good()


def _publish(bench: Bench, trees: int) -> None:
    """A release whose trees depend on every number."""
    rng, schema = np.random.default_rng(3), bench.plan.schema
    vectors = rng.normal(size=(20_000, NUMBERS)).astype(np.float32)
    labels = (vectors @ rng.normal(size=NUMBERS) + rng.normal(size=20_000) > 0).astype(int)
    data = lightgbm.Dataset(vectors, labels, feature_name=[*schema.names])
    told = {
        "objective": "binary",
        "num_leaves": 63,
        "learning_rate": 0.05,
        "verbose": -1,
        "seed": 1,
    }
    text = lightgbm.train(told, data, trees).model_to_string().encode()
    registry = Registry(bench.home, bench.plan.project.name)
    manifest = Manifest(
        RELEASE, bench.plan.project.name, schema.hash, [*schema.names], 1, 0, 1, 20_000, {}, {}, {},
        {},
    )  # fmt: skip
    registry.publish(manifest, release_files(ModelFile(TREES_FILE, text)))


@contextmanager
def _processes(bench: Bench, port: int) -> Iterator[tuple[Child, Child]]:
    """Worker and api, the api ready; both are killed at the end."""
    own = {
        "TIDEMILL_KAFKA": bench.endpoints.kafka, "TIDEMILL_REDIS": bench.endpoints.redis,
        "TIDEMILL_HOME": str(bench.home), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    told = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}
    told |= own | dict(bench.settings)
    file, home = str(bench.file), bench.home
    worker = child("worker", command("worker", file), told, home)
    api = child("api", command("api", file, "--port", str(port)), told, home)
    try:
        for each in (worker, api):
            each.start()
        ready, deadline = answers(f"http://{HOST}:{port}/readyz"), time.monotonic() + START_SECONDS
        while not ready():
            for each in (worker, api):
                each.require_running()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the api was not ready within {START_SECONDS:g} s")
            time.sleep(0.05)
        yield worker, api
    finally:
        for each in (worker, api):
            each.kill()


def _on(services: AbstractContextManager[Endpoints], home: Path, size: Size, apache: bool) -> Found:
    with services as endpoints:
        bench = bench_of(PROJECT, endpoints, home, apache=apache)
        bench = replace(bench, home=bench.home.resolve())
        _publish(bench, size.trees)
        uvloop.run(ensure_topics(endpoints.kafka, bench.names))
        port = free_port()
        with _processes(bench, port) as (worker, api):
            return uvloop.run(_measure(bench, port, (worker.pid, api.pid), size))


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
            found["kafka"] = _on(services, home / "kafka-home", size, apache=True)
        services = embedded(home / "embedded")
        found["embedded"] = _on(services, home / "embedded-home", size, apache=False)
    samples: dict[str, tuple[str, list[float]]] = {}
    for broker, each in found.items():
        samples |= _samples(broker, each, {"p50_ms", "p99_ms", "max_ms"} - samples.keys())
    return result(
        "freshness_learn", samples, equal=all(each.complete for each in found.values()), ratios={},
        skipped=skipped, versions=own_versions("aiokafka", "redis", "uvloop", "lightgbm"),
    )  # fmt: skip


def _samples(broker: str, found: Found, plain: set[str]) -> dict[str, tuple[str, list[float]]]:
    heard, since = found.heard, found.since
    times = heard.milliseconds(heard.answered(), since)
    samples: dict[str, tuple[str, list[float]]] = {}
    percentiles = np.percentile(times, (50, 99, 100)).tolist()
    for name, value in zip(("p50_ms", "p99_ms", "max_ms"), percentiles, strict=True):
        samples[f"{broker}_{name}"] = ("ms", [value])
        if name in plain:  # the first: Apache Kafka where it is there
            samples[name] = ("ms", [value])
    for part, moments in (("joined", heard.joined), ("announced", heard.announced)):
        p50, p99 = np.percentile(heard.milliseconds(moments, since), (50, 99)).tolist()
        samples[f"{broker}_{part}_p50_ms"] = ("ms", [p50])
        samples[f"{broker}_{part}_p99_ms"] = ("ms", [p99])
    samples[f"{broker}_labels"] = ("1", [len(times)])
    samples[f"{broker}_snapshots"] = ("1", [len(heard.snapshots)])
    samples[f"{broker}_worker_cpu"] = ("cores", [found.cores[0]])
    samples[f"{broker}_api_cpu"] = ("cores", [found.cores[1]])
    return samples
