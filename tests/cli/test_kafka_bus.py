"""Whole batches per partition, against the embedded broker."""

from types import SimpleNamespace

import aiokafka
import pytest
import structlog

from cli.kafka_bus import KafkaConsumer, ensure_topics
from cli.services.ports import free_port
from cli.services.tansu import EmbeddedBroker
from cli.wiring import connect_producer
from tidemill.errors import BusUnavailable
from tidemill.topics import EVENTS, Names

NAMES = Names("shop", 4)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker of this module's own."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker"), None) as running:
        yield running.address


async def test_offsets_follow_the_last_record_of_each_partition(broker):
    """Keys go where every Kafka client puts them; offsets count what each partition holds."""
    await ensure_topics(broker, NAMES)
    async with connect_producer(broker, NAMES) as producer:
        # murmur2 puts EWR, JFK and LGA on partitions 3, 1 and 0 of four.
        records = [(b"EWR", b"1"), (b"JFK", b"2"), (b"EWR", b"3"), (b"LGA", b"4")]
        assert await producer.send_many(EVENTS, records) == {3: 2, 1: 1, 0: 1}
        assert await producer.send_many(EVENTS, [(b"EWR", b"5")]) == {3: 3}
        assert await producer.send_many(EVENTS, []) == {}


async def test_many_records_are_several_batches(broker):
    """What does not fit into one batch goes into the next."""
    await ensure_topics(broker, NAMES)
    async with connect_producer(broker, NAMES) as producer:
        (before,) = (await producer.send_many(EVENTS, [(b"JFK", b"x")])).values()
        sent = await producer.send_many(EVENTS, [(b"JFK", bytes(300_000))] * 8)
        assert sent == {1: before + 8}


async def test_broker_that_is_not_there_is_named():
    """Starting without a broker is one clear error."""
    nowhere = f"127.0.0.1:{free_port()}"
    with pytest.raises(BusUnavailable, match=nowhere):
        async with connect_producer(nowhere, NAMES):
            pass


@pytest.mark.parametrize(("offsets", "expected"), [([5, 6], []), ([4, 5], []), ([9, 10], [9])])
def test_records_that_are_gone_before_they_were_read_are_said(offsets, expected):
    """A log whose retention outran a stopped worker is named once, with both offsets."""
    consumer = KafkaConsumer(NAMES, (EVENTS,), {})
    place = aiokafka.TopicPartition(NAMES.topic(EVENTS), 1)
    consumer._client = SimpleNamespace(assignment=lambda: {place}, seek=lambda *_: None)
    consumer.seek(EVENTS, 1, 5)
    records = [SimpleNamespace(offset=offset) for offset in offsets]
    with structlog.testing.capture_logs() as logs:
        consumer._expected(place, records)
        consumer._expected(place, [SimpleNamespace(offset=20)])
    assert [(5, found) for found in expected] == [(log["wanted"], log["found"]) for log in logs]
