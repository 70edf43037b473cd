"""The composition root: the only place that builds real clients and puts processes together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError

from cli import kafka_bus
from cli.broker import Broker, broker_of, options_of
from cli.store_client import store_client
from features.plan import FeaturePlan, compile_plan
from features.redis.store import RedisStore
from tidemill.clock import Clock, SystemClock
from tidemill.declaration import Project
from tidemill.errors import BusUnavailable, SettingsError
from tidemill.registry import Registry
from tidemill.settings import Settings
from tidemill.signature import Keys
from tidemill.topics import Names

STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Clients:
    """The connections of one process, and what every part is built from."""

    plan: FeaturePlan
    settings: Settings
    names: Names
    broker: Broker
    redis: Any
    store: RedisStore
    producer: kafka_bus.KafkaProducer
    registry: Registry
    clock: Clock


def names_of(plan: FeaturePlan, settings: Settings) -> Names:
    """The names a declaration uses."""
    return Names(plan.project.name, settings.partitions, plan.state, plan.schema.hash)


def registry_of(settings: Settings, project: str) -> Registry:
    """The releases of a project, signed and trusted as the settings say."""
    keys = Keys(settings.home, settings.signing_key, settings.trusted_keys)
    return Registry(settings.home, project, keys)


@asynccontextmanager
async def connect(project: Project, settings: Settings) -> AsyncIterator[Clients]:
    """Connect to the store and, once it answers, the broker; close both at the end."""
    if settings.kafka is None or settings.redis is None:
        missing = "TIDEMILL_KAFKA" if settings.kafka is None else "TIDEMILL_REDIS"
        raise SettingsError(
            f"{missing}: found nothing; allowed: the address of a running service "
            "(`tidemill services` starts embedded ones and prints both addresses)"
        )
    broker = broker_of(settings)
    plan = compile_plan(project)
    names = names_of(plan, settings)
    client = store_client(settings)
    await _until_broker_answers(broker, names)
    try:
        async with connect_producer(broker, names) as producer:
            yield Clients(
                plan=plan,
                settings=settings,
                names=names,
                broker=broker,
                redis=client,
                store=RedisStore(client),
                producer=producer,
                registry=registry_of(settings, project.name),
                clock=SystemClock(),
            )
    finally:
        await client.aclose()


@asynccontextmanager
async def connect_store(settings: Settings) -> AsyncIterator[tuple[Any, RedisStore]]:
    """The store's client and port, without a broker; closed at the end. Raises SettingsError."""
    client = store_client(settings)
    try:
        yield client, RedisStore(client)
    finally:
        await client.aclose()


@asynccontextmanager
async def connect_producer(
    broker: Broker | str, names: Names
) -> AsyncIterator[kafka_bus.KafkaProducer]:
    """A producer for a project's topics. Raises BusUnavailable."""
    client = aiokafka.AIOKafkaProducer(
        **options_of(broker),
        acks="all",
        linger_ms=0,
        max_request_size=kafka_bus.LARGEST_RECORD_BYTES,
        max_batch_size=kafka_bus.LARGEST_BATCH_BYTES,
    )
    try:
        await client.start()
    except (KafkaError, OSError) as error:
        await client.stop()
        raise BusUnavailable(f"broker {broker}: {error!r}") from error
    try:
        yield kafka_bus.KafkaProducer(client, names)
    finally:
        with suppress(TimeoutError):  # What it still holds, a broker that is away will not take.
            async with asyncio.timeout(STOP_SECONDS):
                await client.stop()


async def _until_broker_answers(broker: Broker, names: Names) -> None:
    wait = 0.2
    while True:
        try:
            return await kafka_bus.ensure_topics(broker, names)
        except BusUnavailable as error:
            print(f"waiting for the broker: {error}", flush=True)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)
