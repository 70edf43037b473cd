"""Writes models for `bench swap` to where the api looks, or the same bytes to where it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from cli.kafka_bus import KafkaProducer
from cli.wiring import connect_producer
from features.plan import compile_plan
from features.redis.client import redis_client
from features.redis.store import RedisStore
from learners.families import warm_start
from learners.learner import Learner
from learners.release import load_release
from learners.snapshot import Newest, Snapshot, digest
from tidemill.loading import load_project
from tidemill.registry import Registry
from tidemill.settings import Settings
from tidemill.topics import MODELS, Names
from tidemill.wire import Announcement

NOWHERE = "nowhere"
"""The learner that no api serves."""


def anonymous_bytes(pid: int | str = "self") -> int:
    """What a process takes for itself: its anonymous resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@dataclass(frozen=True)
class Target:
    """What is needed to write models: the project, its releases, and where store and broker are."""

    file: Path
    settings: Settings
    names: Names
    releases: Sequence[str]


@dataclass(frozen=True)
class Turn:
    """So many models, one every `gap` seconds; `served` where the api is to adopt them."""

    count: int
    gap: float
    served: bool


class Swapper:
    """Writes snapshots of the releases in turn, each with a number of its own."""

    def __init__(self, target: Target, store: RedisStore, producer: KafkaProducer) -> None:
        self._target, self._store, self._producer = target, store, producer
        project = load_project(target.file)
        schema = compile_plan(project).schema
        self._learner, self._schema = project.learner.name, schema.hash
        registry = Registry(target.settings.home, project.name)
        self.weights = [anonymous_bytes()]
        """What this process takes with no model, with one, with two, and so on."""
        learners: list[Learner] = []
        for name in target.releases:
            release = load_release(registry, name, project)
            learners.append(warm_start(project.learner, release, schema))
            self.weights.append(anonymous_bytes())
        self._states = [learner.snapshot() for learner in learners]
        self._number = 0

    async def take(self, turn: Turn) -> None:
        """Write what a turn asks for, evenly spaced, the first half a gap from now."""
        began = time.perf_counter()
        for place in range(turn.count):
            await asyncio.sleep(max(0.0, began + (place + 0.5) * turn.gap - time.perf_counter()))
            await self._write(self._learner if turn.served else NOWHERE, announced=turn.served)

    async def _write(self, learner: str, *, announced: bool) -> None:
        self._number += 1
        place, now_ms = self._number % len(self._states), time.time_ns() // 1_000_000
        release, names = self._target.releases[place], self._target.names
        snapshot = Snapshot(
            learner=learner, release=release, number=self._number, base=self._number,
            schema=self._schema, examples=self._number, offset=self._number, sequences={},
            state=memoryview(self._states[place]), created_ms=now_ms,
        )  # fmt: skip
        data = snapshot.encode()
        newest = Newest(release, self._number, self._number, digest(data))
        await self._store.write(
            [(names.snapshot(learner), data), (names.newest_snapshot(learner), newest.encode())]
        )
        if announced:
            news = Announcement(
                "snapshot", learner, release, self._number, digest(data), now_ms, self._number
            )
            await self._producer.send_many(MODELS, [(learner.encode(), news.encode())])


def run_swapper(target: Target, pipe: Connection) -> None:
    """The swapper's process: says what models weigh, then takes turns until None is sent."""
    asyncio.run(_serve(target, pipe))


async def _serve(target: Target, pipe: Connection) -> None:
    settings = target.settings
    client = redis_client(str(settings.redis))
    try:
        async with connect_producer(str(settings.kafka), target.names) as producer:
            swapper = Swapper(target, RedisStore(client), producer)
            pipe.send(swapper.weights)
            while (turn := await asyncio.to_thread(pipe.recv)) is not None:
                await swapper.take(turn)
                pipe.send("done")
    finally:
        await client.aclose()
