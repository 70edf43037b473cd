"""Real services, a release, and a worker and an api that end with their test."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

sys.path.insert(0, str(Path(__file__).parent))  # the test tree has no packages

from crash_lanes import Lane, open_lanes
from ledger import PLAN, PROJECT, Ledger
from processes import Service, make_service
from redis.asyncio import Redis, RedisCluster
from traffic import Traffic

from cli.services.embedded import Endpoints, embedded_services
from cli.services.kafka import LocalKafka
from cli.services.ports import free_port
from cli.services.valkey import EmbeddedValkey
from learners.release import TREES_FILE, ModelFile, release_files
from tidemill.registry import Manifest, Registry

MakeService = Callable[..., Service]
Meet = Callable[..., Awaitable[tuple[Ledger, Traffic]]]
Lanes = Callable[[int], Awaitable[list[Lane]]]
Start = Callable[..., Awaitable[tuple[Service, Ledger, Traffic]]]


@pytest.fixture(scope="session")
def model_text() -> bytes:
    """A small LightGBM model in which a larger distance means late."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(600, len(PROJECT.feature_names))).astype(np.float32)
    labels = (vectors[:, 0] + rng.normal(scale=0.3, size=600) > 0).astype(int)
    data = lightgbm.Dataset(vectors, labels, feature_name=PROJECT.feature_names)
    settings = {"objective": "binary", "verbose": -1, "num_leaves": 5, "seed": 7, "num_threads": 1,
                "learning_rate": 0.3}  # fmt: skip
    return lightgbm.train(settings, data, 12).model_to_string().encode()


@pytest.fixture
def publish(tmp_path: Path, model_text: bytes) -> Callable[[], str]:
    """Publish the next release of the project, always of the same model; returns its name."""

    def release() -> str:
        registry = Registry(tmp_path, PROJECT.name)
        name, schema = registry.next_name(), PLAN.schema.hash
        manifest = Manifest(
            name, PROJECT.name, schema, PROJECT.feature_names, 1, 0, 1, 600, {}, {}, {}, {}
        )
        registry.publish(manifest, release_files(ModelFile(TREES_FILE, model_text)))
        return name

    return release


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Endpoints]:
    """Embedded Valkey and Tansu."""
    with embedded_services(tmp_path) as endpoints:
        yield endpoints


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    """Apache Kafka on a port it keeps; skipped without a distribution."""
    home = os.environ.get("KAFKA_HOME")
    if not home:
        pytest.skip("KAFKA_HOME is not set")
    with LocalKafka(Path(home), tmp_path / "kafka", free_port()) as server:
        yield server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """Valkey on a port it keeps."""
    with EmbeddedValkey(tmp_path / "valkey", free_port()) as server:
        yield server


@pytest.fixture
def on_kafka(kafka: LocalKafka, valkey: EmbeddedValkey) -> Endpoints:
    """Apache Kafka and Valkey."""
    return Endpoints(kafka.address, valkey.url)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeService]:
    """Make services whose processes are gone, and whose clients are closed, after the test."""
    async with AsyncExitStack() as stack:

        def service(kafka: str, redis: str, **more: str) -> Service:
            made = make_service(tmp_path, kafka, redis, **more)
            stack.push_async_callback(made.client.aclose)
            for command in made.commands:
                stack.callback(command.kill)
            return made

        yield service


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    """Closes at the end what a test has opened."""
    async with AsyncExitStack() as stack:
        yield stack


def _brokers() -> list[str]:
    """What is claimed is claimed of a real broker; the embedded one stands in where none is."""
    if os.environ.get("TIDEMILL_TEST_BROKERS") == "all":
        return ["embedded", "kafka"]
    return ["kafka" if os.environ.get("KAFKA_HOME") else "embedded"]


@pytest.fixture(params=_brokers())
def broker(request: pytest.FixtureRequest) -> str:
    """Apache Kafka where it is, else the embedded broker; both when told so."""
    return str(request.param)


@pytest.fixture
def endpoints(broker: str, request: pytest.FixtureRequest) -> Endpoints:
    """The broker and a store."""
    found: Endpoints = request.getfixturevalue("embedded" if broker == "embedded" else "on_kafka")
    return found


@pytest.fixture
async def lanes(broker: str, endpoints: Endpoints, tmp_path: Path) -> AsyncIterator[Lanes]:
    """`await lanes(count)`: so many projects to crash."""
    async with AsyncExitStack() as stack:

        async def open_them(count: int) -> list[Lane]:
            return await open_lanes(stack, tmp_path / "workers", broker, endpoints, count)

        yield open_them


@pytest.fixture
def meet(opened: AsyncExitStack) -> Meet:
    """`await meet(service, seed)`: the books of a service, and a client; its topics must exist."""

    async def books_and_traffic(service: Service, seed: int = 1) -> tuple[Ledger, Traffic]:
        cluster = service.worker.environment.get("TIDEMILL_REDIS_CLUSTER") == "true"
        store = (RedisCluster if cluster else Redis).from_url(service.redis)
        opened.push_async_callback(store.aclose)
        producer = AIOKafkaProducer(bootstrap_servers=service.kafka, acks="all")
        await producer.start()
        opened.push_async_callback(producer.stop)
        return Ledger(service, store), Traffic(service, producer, seed)

    return books_and_traffic


@pytest.fixture
def start(make: MakeService, publish: Callable[[], str], meet: Meet) -> Start:
    """`await start(kafka, redis, seed, **settings)`: a running service with a first release."""

    async def started(
        kafka: str, redis: str, seed: int = 1, **settings: str
    ) -> tuple[Service, Ledger, Traffic]:
        publish()
        service = make(kafka, redis, **settings)
        for command in service.commands:
            command.start()
        await service.ready()
        return service, *await meet(service, seed)

    return started
