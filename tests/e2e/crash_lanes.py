"""A project with workers of its own for a crash test; several run side by side on one broker."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import crash_project
from aiokafka import AIOKafkaProducer
from crash_books import DUPLICATE_WINDOW, SKEW_MS, Books
from crash_harness import Child, Zygote, delete_groups, evict
from crash_points import Point
from crash_traffic import Stallholder
from redis.asyncio import Redis

from cli.kafka_bus import ensure_topics
from cli.services.embedded import Endpoints
from features.plan import compile_plan
from tidemill.topics import Names

PARTITIONS = 4
SETTINGS = {
    "TIDEMILL_DUPLICATE_WINDOW": str(DUPLICATE_WINDOW),
    "TIDEMILL_CLOCK_SKEW_MS": str(SKEW_MS),
    "TIDEMILL_ARCHIVE_INTERVAL_MS": "100",
    "TIDEMILL_FETCH_WAIT_MS": "20",
}
# Apache Kafka refuses sessions below 6 s.
SESSION_MS = {"embedded": "1000", "kafka": "6000"}


@dataclass
class Lane:
    """One project, its client and its books; workers are started one by one."""

    broker: str
    zygote: Zygote
    traffic: Stallholder
    books: Books

    async def start(self, point: Point | None = None, with_faust: bool = False) -> Child:
        """A worker of this project."""
        return await self.zygote.start(self.books.names.project, point, with_faust)

    async def bury(self, child: Child) -> None:
        """Let the broker know that the only worker died, instead of letting its session end."""
        bury = delete_groups if self.broker == "embedded" else evict
        await bury(self.zygote.kafka, child)

    async def progress(self) -> int:
        """How many records the steps have committed so far."""
        steps = itertools.product(("events", "updates", "join"), range(PARTITIONS))
        fences = [await self.books.fence(*step) for step in steps]
        return sum(v for fence in fences for name, v in fence.items() if name.startswith("offset:"))

    async def finish(self) -> None:
        """Work everything off in peace and end cleanly."""
        child = await self.start(with_faust=True)
        await self.books.worked_off(self.traffic, child.require_alive)
        assert 0 == await child.stop()

    async def check(self) -> None:
        """Compare, and say how much."""
        print(self.books.names.project, await self.books.check(self.traffic), flush=True)


async def open_lanes(
    opened: AsyncExitStack, folder: Path, broker: str, endpoints: Endpoints, count: int
) -> list[Lane]:
    """So many projects on one broker, with the topics they need; `broker` is a key above."""
    settings = SETTINGS | {"TIDEMILL_SESSION_TIMEOUT_MS": SESSION_MS[broker]}
    zygote = Zygote(folder, endpoints.kafka, endpoints.redis, settings)
    await opened.enter_async_context(zygote)
    store = Redis.from_url(endpoints.redis, socket_timeout=60)
    opened.push_async_callback(store.aclose)
    producer = AIOKafkaProducer(bootstrap_servers=endpoints.kafka, acks="all", linger_ms=2)
    await producer.start()
    opened.push_async_callback(producer.stop)

    async def lane(number: int) -> Lane:
        project = dataclasses.replace(crash_project.project, name=f"stalls{number}")
        plan = compile_plan(project)
        names = Names(project.name, PARTITIONS, plan.state, plan.schema.hash)
        await ensure_topics(endpoints.kafka, names)
        books = Books(plan, names, endpoints.kafka, store, folder)
        return Lane(broker, zygote, Stallholder(names, producer, number), books)

    return await asyncio.gather(*(lane(number) for number in range(count)))
