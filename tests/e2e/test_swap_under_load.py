"""Bad models are refused while requests flow: none fails, the one before stays, all is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from processes import until
from redis.asyncio import Redis

from cli.wiring import names_of
from features.plan import compile_plan
from features.redis.store import RedisStore
from learners.families import warm_start
from learners.own_model import OwnRelease
from learners.release import OWN_FILE, load_release
from learners.snapshot import Newest, Snapshot, digest
from tidemill.loading import load_project
from tidemill.registry import SIGNATURE, Manifest, Registry
from tidemill.settings import Settings
from tidemill.topics import MODELS
from tidemill.wire import Announcement

PROJECT_FILE = Path(__file__).with_name("swap_project.py")
PROJECT = load_project(PROJECT_FILE)
PLAN = compile_plan(PROJECT)
NAMES = names_of(PLAN, Settings())
CALLERS = 8
GOOD, BETTER, NAN, SLOW, UNSIGNED, CHANGED = (f"r{number:04d}" for number in range(1, 7))
MODELS_SAY = {GOOD: 0.4, BETTER: 0.8, NAN: float("nan"), SLOW: 0.4, UNSIGNED: 0.4, CHANGED: 0.4}


class Learner:
    """Publishes releases, and writes and announces snapshots as a worker does."""

    def __init__(self, home: Path, store: RedisStore, producer: AIOKafkaProducer) -> None:
        self._registry = Registry(home, PROJECT.name)
        self._store, self._producer = store, producer
        self._states: dict[str, bytes] = {}
        self.number = 0

    def publish(self, name: str, raw: float, seconds: float = 0.0) -> None:
        """A release that says this number and takes so long for it."""
        told = json.dumps({"raw": raw, "seconds": seconds}).encode()
        model = OwnRelease(
            trainer="spoken", settings=[], features=PLAN.schema.names, unit=1.0, model=told
        )
        features = list(PLAN.schema.names)
        manifest = Manifest(
            name, PROJECT.name, PLAN.schema.hash, features, 0, 0, 0, 1, {}, {}, {}, {}
        )
        self._registry.publish(manifest, {OWN_FILE: msgspec.msgpack.encode(model)})
        release = load_release(self._registry, name, PROJECT)
        self._states[name] = warm_start(PROJECT.learner, release, PLAN.schema).snapshot()

    def publish_others(self) -> None:
        """A better one and the bad: among them one unsigned, and one changed after it was."""
        for name, raw in MODELS_SAY.items():
            if name != GOOD:
                self.publish(name, raw, seconds=0.06 if name == SLOW else 0.0)
        (self._registry.folder / UNSIGNED / SIGNATURE).write_bytes(b"x" * 64)
        file = self._registry.folder / CHANGED / OWN_FILE
        file.write_bytes(file.read_bytes() + b"#")

    def snapshot(self, release: str, **changes: object) -> bytes:
        """The next snapshot of a release."""
        self.number += 1
        record = Snapshot(
            learner=PROJECT.learner.name, release=release, number=self.number, base=self.number,
            schema=PLAN.schema.hash, examples=self.number, offset=self.number, sequences={},
            state=self._states[release], created_ms=time.time_ns() // 1_000_000,
        )  # fmt: skip
        return msgspec.structs.replace(record, **changes).encode()

    async def write(self, release: str, data: bytes) -> None:
        """Write it as the newest one, and announce it."""
        learner = PROJECT.learner.name
        newest = Newest(release, self.number, self.number, digest(data))
        await self._store.write(
            [(NAMES.snapshot(learner), data), (NAMES.newest_snapshot(learner), newest.encode())]
        )
        news = Announcement("snapshot", learner, release, self.number, digest(data), 0)
        await self._producer.send_and_wait(NAMES.topic(MODELS), news.encode(), key=b"snapshot")


def bad_models(learner: Learner) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """What must not be served, each with the words that its refusal has."""
    yield "its sha256 does not fit", (GOOD, learner.snapshot(GOOD)[:-40])
    yield "found b'nothing '", (GOOD, b"nothing of the kind")
    yield "snapshot schema", (GOOD, learner.snapshot(GOOD, schema="0" * 12))
    yield "snapshot learner", (GOOD, learner.snapshot(GOOD, learner="another"))
    yield "signature", (UNSIGNED, learner.snapshot(UNSIGNED))
    yield "own.model: sha256", (CHANGED, learner.snapshot(CHANGED))
    yield "scores", (NAN, learner.snapshot(NAN))
    yield "time for one request", (SLOW, learner.snapshot(SLOW))


class Callers:
    """Ask again and again; what they were answered, by status and by who answered."""

    def __init__(self, client) -> None:
        self._client = client
        self.statuses: Counter[int] = Counter()
        self.answered_by: Counter[tuple[str, int]] = Counter()
        self.wrong: list[dict] = []
        self.degraded: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """They ask while this lasts."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._ask(number, stopping))
            try:
                yield
            finally:
                stopping.set()

    async def _ask(self, number: int, stopping: asyncio.Event) -> None:
        body = {"card": f"c{number}", "amount": 1.0}
        while not stopping.is_set():
            answer = await self._client.post("/v1/score", json=body)
            self.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                self._look_at(answer.json())

    def _look_at(self, answer: dict) -> None:
        release = answer["model"]["release"]
        self.answered_by[release, answer["model"]["snapshot"]] += 1
        expected = 1 / (1 + 2.718281828459045 ** -MODELS_SAY[release])
        if abs(answer["score"] - expected) > 1e-9:
            self.wrong.append(answer)
        self.degraded.update(answer["degraded"])


@pytest.fixture
async def learner(tmp_path, embedded, opened) -> Learner:
    """A learner with a good release."""
    store = Redis.from_url(embedded.redis)
    opened.push_async_callback(store.aclose)
    producer = AIOKafkaProducer(bootstrap_servers=embedded.kafka, acks="all")
    await producer.start()
    opened.push_async_callback(producer.stop)
    found = Learner(tmp_path, RedisStore(store), producer)
    found.publish(GOOD, MODELS_SAY[GOOD])
    return found


async def test_bad_models_are_refused_while_requests_flow(embedded, make, learner):
    """Whatever is wrong with them, the good one goes on; and a better one is adopted after all."""
    service = make(embedded.kafka, embedded.redis, project_file=PROJECT_FILE)
    service.api.start()
    await service.ready()
    await learner.write(GOOD, learner.snapshot(GOOD))
    good = learner.number
    await _serves(service, (GOOD, good))
    learner.publish_others()

    callers = Callers(service.client)
    refused = []
    async with callers.running():
        for words, (release, bad) in bad_models(learner):
            await learner.write(release, bad)
            refused.append(await _refusal(service, len(refused) + 1))
            assert words in refused[-1]["error"], words
            assert (GOOD, good) == await _version(service)
        await until("callers were answered", lambda: _count(callers))
        await learner.write(BETTER, learner.snapshot(BETTER))
        await _serves(service, (BETTER, learner.number))

    assert {200} == callers.statuses.keys()
    assert ([], set()) == (callers.wrong, callers.degraded.keys() - {"features"})
    print(callers.statuses, callers.degraded)
    assert {(GOOD, good), (BETTER, learner.number)} >= callers.answered_by.keys()
    assert len(refused) == await _metric(service, "tidemill_swaps_refused_total")
    told = [json.loads(line) for line in service.api.log.splitlines() if line.startswith("{")]
    logged = [line["error"] for line in told if line["event"] == "artifact_refused"]
    assert [each["error"] for each in refused] == logged
    assert 0 == await service.api.stop()


async def _version(service) -> tuple[str, int]:
    model = (await service.get("/v1/status"))["model"]
    return model["release"], model["snapshot"]


async def _serves(service, version: tuple[str, int]) -> None:
    await until(f"{version} is served", lambda: _version(service), good=lambda v: v == version)


async def _refusal(service, count: int) -> dict:
    """The newest refusal in the status, once there are so many."""

    async def refused() -> list[dict]:
        return (await service.get("/v1/status"))["model"]["refused"]

    found = await until(f"{count} are refused", refused, good=lambda found: len(found) == count)
    return found[-1]


async def _count(callers: Callers) -> bool:
    return callers.statuses.total() > 100


async def _metric(service, name: str) -> float:
    lines = (await service.client.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))
