"""What every bus must do: one suite for the one in memory, the embedded broker and Apache Kafka."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiokafka
import pytest

from cli import kafka_bus
from cli.services.kafka import LocalKafka
from cli.services.ports import free_port
from cli.services.tansu import EmbeddedBroker
from tidemill.bus import Consumer, Message, Producer
from tidemill.clock import SystemClock
from tidemill.errors import BusUnavailable, LogLost
from tidemill.memory_bus import MemoryBus
from tidemill.topics import EVENTS, EXAMPLES, LABELS, MODELS, PREDICTIONS, Names
from tidemill.wire import Announcement

PARTITIONS = 2
DEADLINE_SECONDS = 30
_NUMBERS = itertools.count()
BACKENDS = ["memory", "tansu", pytest.param("kafka", marks=pytest.mark.kafka)]


class MemoryBackend:
    """The bus in memory."""

    def __init__(self) -> None:
        self._bus = MemoryBus(Names("contract", PARTITIONS), SystemClock())

    async def producer(self) -> Producer:
        """A producer."""
        return self._bus.producer()

    def consumer(self, group: str, kinds: Sequence[str]) -> Consumer:
        """A consumer that has not joined."""
        return self._bus.consumer(group, kinds)

    def announcements(self) -> AsyncIterator[Announcement]:
        """Announcements from now on."""
        return self._bus.announcements()

    async def go_away(self) -> None:
        """Be a broker that is down."""
        self._bus.reachable = False

    async def close(self) -> None:
        """Nothing is open."""


class BrokerBackend:
    """aiokafka on a broker, with topics of its own."""

    def __init__(self, address: str, session_ms: int) -> None:
        self.address, self.session_ms = address, session_ms
        self.names = Names(f"contract{os.getpid()}_{next(_NUMBERS)}", PARTITIONS)
        self._stack = AsyncExitStack()

    async def producer(self) -> Producer:
        """A producer on a client of its own; fails early enough for a test."""
        await kafka_bus.ensure_topics(self.address, self.names)
        client = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self.address, acks="all", request_timeout_ms=2_000
        )
        await client.start()
        self._stack.push_async_callback(client.stop)
        return kafka_bus.KafkaProducer(client, self.names)

    def consumer(self, group: str, kinds: Sequence[str]) -> Consumer:
        """A consumer that has not joined."""
        options = {
            "bootstrap_servers": self.address,
            "group_id": f"{self.names.project}-{group}",
            "fetch_max_wait_ms": 20,
            "session_timeout_ms": self.session_ms,
            "heartbeat_interval_ms": self.session_ms // 10,
        }
        return kafka_bus.KafkaConsumer(self.names, kinds, options)

    def announcements(self) -> AsyncIterator[Announcement]:
        """Announcements from now on."""
        return kafka_bus.announcements(self.address, self.names, 20)

    async def go_away(self) -> None:
        """Point what is built from now on to a port where nothing listens."""
        self.address = f"127.0.0.1:{free_port()}"

    async def close(self) -> None:
        """Close the clients."""
        await self._stack.aclose()


Backend = MemoryBackend | BrokerBackend


@pytest.fixture(scope="module")
def tansu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded broker's address."""
    with EmbeddedBroker(tmp_path_factory.mktemp("tansu")) as broker:
        yield broker.address


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A local Apache Kafka's address; skipped without KAFKA_HOME."""
    home = os.environ.get("KAFKA_HOME")
    if not home:
        pytest.skip("KAFKA_HOME is not set")
    with LocalKafka(Path(home), tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.address


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """One of the buses, empty."""
    made: Backend = MemoryBackend()
    if request.param != "memory":
        address = request.getfixturevalue(request.param)
        made = BrokerBackend(address, 1_500 if request.param == "tansu" else 6_000)
    yield made
    await made.close()


class Member:
    """A started consumer, and what it was told."""

    def __init__(self, consumer: Consumer, start_at: dict[str, int]) -> None:
        self.consumer, self.start_at = consumer, start_at
        self.owned: set[int] = set()
        self.told: list[tuple[str, int]] = []
        self.read: dict[tuple[str, int], list[Message]] = {}

    async def start(self) -> Member:
        """Join the group."""
        await self.consumer.start(self._assigned, self._revoked)
        return self

    async def poll(self) -> None:
        """Read once."""
        for at, records in (await self.consumer.poll(50, 100)).items():
            assert at[1] in self.owned, "records came before the partition was assigned"
            self.read.setdefault(at, []).extend(records)

    async def read_until(self, condition: Callable[[], bool]) -> None:
        """Poll until the condition holds."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                await self.poll()

    async def read_count(self, count: int) -> None:
        """Poll until so many records are read."""
        await self.read_until(lambda: sum(map(len, self.read.values())) >= count)

    def values(self, kind: str, partition: int) -> list[bytes | None]:
        """What was read of one partition."""
        return [message.value for message in self.read.get((kind, partition), [])]

    async def _assigned(self, partition: int) -> dict[str, int]:
        await asyncio.sleep(0)  # what comes after it comes after the whole callback
        self.told.append(("assigned", partition))
        self.owned.add(partition)
        return self.start_at

    async def _revoked(self, partition: int) -> None:
        await asyncio.sleep(0)
        self.told.append(("revoked", partition))
        self.owned.discard(partition)


def numbered(count: int, first: int = 0) -> list[tuple[bytes | None, bytes]]:
    """Records whose values are numbers."""
    return [(None, str(i).encode()) for i in range(first, first + count)]


async def test_a_partition_keeps_its_order(backend: Backend) -> None:
    """Records are read in the order of their sending, with offsets that count up from 0."""
    producer = await backend.producer()
    await producer.send_many(EVENTS, numbered(50), 1)
    await producer.send_many(EVENTS, numbered(50, 50), 1)
    member = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 0}).start()
    await member.read_count(100)
    assert [value for _, value in numbered(100)] == member.values(EVENTS, 1)
    assert list(range(100)) == [message.offset for message in member.read[EVENTS, 1]]
    await member.consumer.stop()


async def test_headers_come_back_beside_their_record(backend: Backend) -> None:
    """In order and byte for byte; a record without any has none."""
    producer = await backend.producer()
    headers = (("traceparent", b"00-1"), ("ce_id", "ü".encode()), ("ce_id", b""))
    await producer.send_many(EVENTS, [(b"k", b"1", headers), (b"k", b"2")], 0)
    member = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 0}).start()
    await member.read_count(2)
    found = [[tuple(each) for each in m.headers] for m in member.read[EVENTS, 0]]
    assert [list(headers), []] == found
    await member.consumer.stop()


async def test_equal_keys_share_a_partition(backend: Backend) -> None:
    """The key decides the partition, and comes back with the record and a time."""
    producer = await backend.producer()
    keys = [f"k{i % 5}".encode() for i in range(20)]
    await producer.send_many(LABELS, [(key, b"v") for key in keys])
    member = await Member(backend.consumer("g", [LABELS]), {LABELS: 0}).start()
    await member.read_count(20)
    places = {(m.key, at) for at, messages in member.read.items() for m in messages}
    assert set(keys) == {key for key, _ in places}
    assert 5 == len(places)
    assert all(message.timestamp > 0 for each in member.read.values() for message in each)
    await member.consumer.stop()


async def test_reading_begins_where_the_callback_says(backend: Backend) -> None:
    """The offset that `assigned` returns is the first to be read; no group offset matters."""
    producer = await backend.producer()
    for partition in range(PARTITIONS):
        await producer.send_many(EVENTS, numbered(10), partition)
    member = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 7}).start()
    await member.read_count(3 * PARTITIONS)
    expected = [b"7", b"8", b"9"]
    assert [expected] * PARTITIONS == [member.values(EVENTS, p) for p in range(PARTITIONS)]
    await member.consumer.stop()


async def test_an_empty_log_that_was_read_before_is_said(backend: Backend) -> None:
    """A broker that lost its log ends the reading; new records would be taken for old ones."""
    producer = await backend.producer()
    await producer.send_many(EVENTS, numbered(1), 0)
    member = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 7}).start()
    with pytest.raises(LogLost) as caught:
        await member.read_until(lambda: False)
    assert (1, 7) == (caught.value.partition, caught.value.processed)
    assert caught.value.topic.endswith(EVENTS)
    await member.consumer.stop()


async def test_an_empty_log_that_was_never_read_is_no_loss(backend: Backend) -> None:
    """A new project's partitions are empty and are read from their beginning."""
    producer = await backend.producer()
    member = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 0}).start()
    await member.read_until(lambda: member.owned == {0, 1})
    await producer.send_many(EVENTS, numbered(3), 1)
    await member.read_count(3)
    assert [value for _, value in numbered(3)] == member.values(EVENTS, 1)
    await member.consumer.stop()


async def test_seek_reads_on_from_an_offset(backend: Backend) -> None:
    """After a seek the next records are those from its offset on, back or forth."""
    producer = await backend.producer()
    await producer.send_many(EVENTS, numbered(10), 0)
    member = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 0}).start()
    await member.read_count(10)
    for offset in (4, 8):
        member.read.clear()
        member.consumer.seek(EVENTS, 0, offset)
        await member.read_count(10 - offset)
        assert [value for _, value in numbered(10 - offset, offset)] == member.values(EVENTS, 0)
    member.consumer.seek(EVENTS, 5, 0)  # a partition it does not have: nothing happens
    await member.consumer.stop()


async def test_lag_is_what_has_not_been_read(backend: Backend) -> None:
    """A member that has read everything has no lag."""
    producer = await backend.producer()
    await producer.send_many(EVENTS, numbered(3), 0)
    member = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 0}).start()
    await member.read_count(3)
    assert 0 == member.consumer.lag()
    await member.consumer.stop()


async def test_behind_is_what_was_not_returned(backend: Backend) -> None:
    """Of one partition: more until all was returned, then 0, and 0 of what it does not have."""
    producer = await backend.producer()
    await producer.send_many(EVENTS, numbered(3), 0)
    member = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 0}).start()
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (found := await member.consumer.poll(50, 1)):
            pass
    assert 1 == len(found[EVENTS, 0])
    assert 2 == member.consumer.behind(EVENTS, 0)
    await member.read_until(lambda: member.consumer.behind(EVENTS, 0) == 0)
    assert [b"1", b"2"] == member.values(EVENTS, 0)
    await member.read_until(lambda: member.consumer.behind(EVENTS, 1) == 0)  # it is empty
    assert 0 == member.consumer.behind(LABELS, 0)
    member.consumer.seek(EVENTS, 0, 1)
    assert 2 == member.consumer.behind(EVENTS, 0)
    await member.consumer.stop()


@pytest.mark.kafka
async def test_the_mark_of_a_transaction_is_no_record(kafka: str) -> None:
    """What ends a transaction takes an offset; a reader that has every record is not behind."""
    backend = BrokerBackend(kafka, 6_000)
    await kafka_bus.ensure_topics(kafka, backend.names)
    sender = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka, transactional_id="labels")
    await sender.start()
    async with sender.transaction():
        await sender.send_and_wait(backend.names.topic(LABELS), b"v", partition=0)
    await sender.stop()
    member = await Member(backend.consumer("g", [LABELS]), {LABELS: 0}).start()
    await member.read_count(1)
    await member.read_until(lambda: member.consumer.behind(LABELS, 0) == 0)
    await member.consumer.stop()


async def test_a_paused_partition_is_not_read(backend: Backend) -> None:
    """Others are; when it is resumed nothing of it is missing, whatever was fetched before."""
    producer = await backend.producer()
    await producer.send_many(EVENTS, numbered(5), 0)
    member = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 0}).start()
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (found := await member.consumer.poll(50, 2)):
            pass
    member.consumer.pause(EVENTS, 0)
    member.consumer.pause(LABELS, 0)  # a partition it does not have: nothing happens
    await producer.send_many(EVENTS, numbered(5, 5), 0)
    await producer.send_many(EVENTS, numbered(3), 1)
    await member.read_count(3)
    for _ in range(3):
        await member.poll()
    assert {(EVENTS, 1)} == set(member.read)
    assert 0 != member.consumer.behind(EVENTS, 0)
    member.consumer.resume(EVENTS, 0)
    member.consumer.resume(LABELS, 0)
    await member.read_count(11)
    first = [message.value for message in found[EVENTS, 0]]
    assert [value for _, value in numbered(10)] == first + member.values(EVENTS, 0)
    await member.consumer.stop()


async def test_partitions_of_one_number_belong_together(backend: Backend) -> None:
    """A member gets the same partition of all its topics, also of one with a single partition."""
    producer = await backend.producer()
    kinds = (PREDICTIONS, LABELS, EXAMPLES)
    for kind in kinds[:2]:
        for partition in range(PARTITIONS):
            await producer.send_many(kind, numbered(1), partition)
    await producer.send_many(EXAMPLES, numbered(1), 0)
    start = dict.fromkeys(kinds, 0)
    member = await Member(backend.consumer("g", kinds), start).start()
    await member.read_count(5)
    assert [("assigned", 0), ("assigned", 1)] == sorted(member.told)
    assert 5 == len(member.read)
    await member.consumer.stop()


async def test_a_second_member_takes_its_share_and_then_all(backend: Backend) -> None:
    """Partitions move when a member joins and when one leaves; callbacks are awaited first."""
    producer = await backend.producer()
    for partition in range(PARTITIONS):
        await producer.send_many(EVENTS, numbered(3), partition)
    first = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 0}).start()
    await first.read_until(lambda: first.owned == {0, 1})
    joining = asyncio.create_task(Member(backend.consumer("g", [EVENTS]), {EVENTS: 0}).start())
    await first.read_until(lambda: joining.done() and len(first.owned) == 1)
    second = await joining
    await second.read_until(lambda: len(second.owned) == 1 and bool(second.read))
    assert {0, 1} == first.owned | second.owned
    assert {("revoked", 0), ("revoked", 1)} <= set(first.told)
    await first.consumer.stop()
    await second.read_until(lambda: second.owned == {0, 1} and len(second.read) == 2)
    await second.consumer.stop()


async def test_a_member_that_stops_is_not_called_any_more(backend: Backend) -> None:
    """Stopping ends the callbacks; what to finish before is the member's own business."""
    await backend.producer()
    member = await Member(backend.consumer("g", [EVENTS]), {EVENTS: 0}).start()
    await member.read_until(lambda: member.owned == {0, 1})
    await member.consumer.stop()
    assert {("assigned", 0), ("assigned", 1)} == set(member.told)


async def test_nothing_to_send_is_no_call(backend: Backend) -> None:
    """An empty list is written at once, and nowhere."""
    producer = await backend.producer()
    assert {} == await producer.send_many(EVENTS, [], 0)


async def test_sending_tells_the_offset_that_follows(backend: Backend) -> None:
    """For each partition written to, the answer is where the next record will lie."""
    producer = await backend.producer()
    await producer.send_many(EVENTS, numbered(3), 1)
    assert {1: 5} == await producer.send_many(EVENTS, numbered(2), 1)
    keyed = [(f"k{i}".encode(), bytes(100)) for i in range(500)]
    ends = await producer.send_many(LABELS, keyed)
    assert (set(range(PARTITIONS)), 500) == (set(ends), sum(ends.values()))


async def test_a_record_as_large_as_a_dead_letter_gets(backend: Backend) -> None:
    """Our own topics take what came in with the broker's largest size, and its place and cause."""
    producer = await backend.producer()
    if isinstance(backend, BrokerBackend):
        client = aiokafka.AIOKafkaProducer(
            bootstrap_servers=backend.address, max_request_size=kafka_bus.LARGEST_RECORD_BYTES
        )
        async with client:
            large = kafka_bus.KafkaProducer(client, backend.names)
            await large.send_many(EXAMPLES, [(None, bytes(1_100_000))], 0)
    else:
        await producer.send_many(EXAMPLES, [(None, bytes(1_100_000))], 0)


async def test_a_consumer_without_broker_says_so(backend: Backend) -> None:
    """Joining without a broker raises BusUnavailable, and may be tried again."""
    await backend.go_away()
    consumer = backend.consumer("g", [EVENTS])
    for _ in range(2):
        with pytest.raises(BusUnavailable):
            await Member(consumer, {}).start()
    await consumer.stop()


async def test_announcements_without_broker_say_so(backend: Backend) -> None:
    """Listening without a broker raises BusUnavailable."""
    await backend.go_away()
    with pytest.raises(BusUnavailable):
        await anext(backend.announcements())


async def test_announcements_begin_now(backend: Backend) -> None:
    """A listener hears what is announced after it began, in order, and nothing older."""
    producer = await backend.producer()

    async def announce(number: int) -> None:
        made = Announcement("snapshot", "head", "r0001", number, "", 1)
        await producer.send_many(MODELS, [(b"head", made.encode())], 0)

    await announce(1)
    await announce(2)
    heard = backend.announcements()
    first = asyncio.create_task(anext(heard))
    numbers = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        for number in itertools.count(3):
            # A listener that is still connecting misses some; it must not hear 1 or 2.
            await announce(number)
            done, _ = await asyncio.wait((first,), timeout=0.05)
            if done:
                break
        numbers = [first.result().snapshot, (await _next_new(heard, announce)).snapshot]
    assert numbers[0] >= 3
    assert sorted(set(numbers)) == numbers
    await heard.aclose()


async def _next_new(heard: AsyncIterator[Announcement], announce) -> Announcement:
    await announce(1_000_000)
    return await anext(heard)


async def test_a_producer_without_broker_says_so(backend: Backend) -> None:
    """A write that the broker does not acknowledge raises BusUnavailable."""
    if isinstance(backend, MemoryBackend):
        producer = await backend.producer()
        await backend.go_away()
        with pytest.raises(BusUnavailable):
            await producer.send_many(EVENTS, numbered(1), 0)
        return
    await backend.go_away()
    with pytest.raises(BusUnavailable):
        await kafka_bus.check(backend.address)
    with pytest.raises(BusUnavailable):
        await kafka_bus.ensure_topics(backend.address, backend.names)


async def test_topics_are_made_once(backend: Backend) -> None:
    """Asking for the topics again changes nothing."""
    if isinstance(backend, BrokerBackend):
        await kafka_bus.ensure_topics(backend.address, backend.names)
        await asyncio.gather(
            *(kafka_bus.ensure_topics(backend.address, backend.names) for _ in range(2))
        )
        await kafka_bus.check(backend.address)
    await (await backend.producer()).send_many(EVENTS, numbered(1), PARTITIONS - 1)
