"""Every Kafka client of ours speaks TLS, shows its certificate and logs in, on a real broker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from secure_kafka import PASSWORD, USER, SecureKafka

from cli import kafka_bus
from cli.broker import Broker, broker_of, options_of
from cli.wiring import connect_producer
from tidemill.errors import BusUnavailable
from tidemill.settings import Settings
from tidemill.topics import EVENTS, MODELS, Names
from tidemill.wire import Announcement

pytestmark = pytest.mark.kafka
WAYS = ["mutual", "PLAIN", "SCRAM-SHA-512"]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """One broker for the module."""
    home = os.environ.get("KAFKA_HOME")
    if not home:
        pytest.skip("KAFKA_HOME is not set")
    with SecureKafka(Path(home), tmp_path_factory.mktemp("secure-kafka")) as broker:
        broker.add_scram_user()
        yield broker


def settings(kafka: SecureKafka, way: str, **changed: object) -> Settings:
    """Settings that reach the broker in one of the ways."""
    found: dict[str, object] = {"kafka_tls": True, "kafka_ca": kafka.authority.ca}
    if way == "mutual":
        found |= {
            "kafka": kafka.mutual, "kafka_certificate": kafka.client.certificate,
            "kafka_key": kafka.client.key,
        }  # fmt: skip
    else:
        found |= {
            "kafka": kafka.secret, "kafka_sasl": way, "kafka_user": USER,
            "kafka_password": PASSWORD,
        }  # fmt: skip
    return Settings(**(found | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", WAYS)
async def test_every_client_is_let_in(kafka: SecureKafka, way: str) -> None:
    """Admin, producer, consumer, announcements, offsets and the probe."""
    broker, names = broker_of(settings(kafka, way)), Names(f"safe-{way.lower()}", 2)
    await kafka_bus.check(broker)
    await kafka_bus.ensure_topics(broker, names)
    async with connect_producer(broker, names) as producer:
        await producer.send_many(EVENTS, [(b"k", b"hello")], 0)
        assert 1 == (await kafka_bus.end_offsets(broker, names, EVENTS))[0]
        announced = kafka_bus.announcements(broker, names, 20)
        heard = asyncio.ensure_future(anext(announced))
        said = Announcement("release", "head", "r0001", 0, "", 1)
        async with asyncio.timeout(15):
            while not heard.done():  # it hears what comes after it began
                await producer.send_many(MODELS, [(b"head", said.encode())], 0)
                await asyncio.wait({heard}, timeout=0.2)
        await announced.aclose()  # type: ignore[attr-defined]
        assert "r0001" == heard.result().release
    assert [b"hello"] == await read_one(broker, names)


async def read_one(broker: Broker, names: Names) -> list[bytes]:
    """The first record of the events, read as a step reads it."""
    options = {**options_of(broker), "group_id": names.group("rekey"), "fetch_max_wait_ms": 20}
    consumer = kafka_bus.KafkaConsumer(names, [EVENTS], options)

    async def assigned(partition: int) -> dict[str, int]:
        return {EVENTS: 0}

    async def revoked(partition: int) -> None:
        """Nothing is held."""

    await consumer.start(assigned, revoked)
    try:
        async with asyncio.timeout(15):
            while True:
                for records in (await consumer.poll(100, 10)).values():
                    if records:
                        return [record.value for record in records]
    finally:
        await consumer.stop()


@pytest.mark.parametrize(
    ("way", "changed"),
    [
        ("mutual", {"kafka_certificate": None, "kafka_key": None}),
        ("PLAIN", {"kafka_password": "wrong-4c1d"}),
        ("SCRAM-SHA-512", {"kafka_password": "wrong-4c1d"}),
        ("PLAIN", {"kafka_tls": False, "kafka_ca": None}),
        ("PLAIN", {"kafka_ca": None}),
    ],
    ids=["no certificate", "wrong password", "wrong SCRAM password", "no TLS", "other authority"],
)
async def test_who_cannot_prove_it_is_not(
    kafka: SecureKafka, way: str, changed: dict[str, object]
) -> None:
    """Neither a client the broker does not know, nor a broker the client does not know."""
    broker = broker_of(settings(kafka, way, **changed))
    async with asyncio.timeout(90):
        with pytest.raises(BusUnavailable) as caught:
            await kafka_bus.check(broker)
    assert not any(secret in str(caught.value) for secret in (PASSWORD, "wrong-4c1d"))


async def test_a_broker_with_anothers_certificate_is_refused(
    kafka: SecureKafka, tmp_path: Path
) -> None:
    """One that another authority signed for does not get to see a password."""
    other = Authority(tmp_path)
    broker = broker_of(settings(kafka, "PLAIN", kafka_ca=other.ca))
    with pytest.raises(BusUnavailable):
        await kafka_bus.check(broker)
