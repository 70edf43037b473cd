"""The bus ports on aiokafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import aiokafka
import aiokafka.admin
import structlog
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError

from cli.broker import Broker, options_of
from cli.partitioner import partitions_of
from cli.record_batches import take_whole_batches
from tidemill.bus import Assigned, Message, Outgoing, Revoked
from tidemill.errors import BusUnavailable, LogLost
from tidemill.topics import ALL, EVENTS, LABELS, MODELS, Names
from tidemill.wire import Announcement, decode

_log = structlog.get_logger()
SEND_SECONDS = 30.0
LARGEST_RECORD_BYTES = 8 * 1024 * 1024
LARGEST_BATCH_BYTES = 512 * 1024


class KafkaProducer:
    """`Producer` on one client that was started already."""

    def __init__(self, client: aiokafka.AIOKafkaProducer, names: Names) -> None:
        self._client, self._names = client, names

    async def send_many(
        self,
        kind: str,
        records: Sequence[Outgoing],
        partition: int | None = None,
    ) -> Mapping[int, int]:
        """One batch at a time and partition: a failure never leaves a gap before what follows."""
        topic = self._names.topic(kind)
        if partition is None:
            keys, partitions = [record[0] for record in records], self._names.partitions_of(kind)
            places = partitions_of(keys, partitions)
        else:
            places = [partition] * len(records)
        chosen: dict[int, list[Outgoing]] = {}
        for place, record in zip(places, records, strict=True):
            chosen.setdefault(place, []).append(record)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                ends = await asyncio.gather(
                    *(self._send(topic, place, each) for place, each in chosen.items())
                )
        except (KafkaError, TimeoutError) as error:
            raise BusUnavailable(f"writing {len(records)} records to {topic}: {error!r}") from error
        return dict(zip(chosen, ends, strict=True))

    async def _send(self, topic: str, partition: int, records: Sequence[Outgoing]) -> int:
        """Write all to one partition; returns the offset that follows."""
        batch = self._client.create_batch()
        now_ms = time.time_ns() // 1_000_000
        for key, value, *more in records:
            record: dict[str, Any] = {"key": key, "value": value, "timestamp": now_ms}
            if more:
                record["headers"] = list(more[0])
            if batch.append(**record) is None:
                await self._send_batch(topic, partition, batch)
                batch = self._client.create_batch()
                batch.append(**record)
        return await self._send_batch(topic, partition, batch)

    async def _send_batch(self, topic: str, partition: int, batch: Any) -> int:
        sent = await self._client.send_batch(batch, topic, partition=partition)
        return int((await sent).offset) + int(batch.record_count())


class _Listener(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Lets the step open its partitions before anything is read from them."""

    def __init__(self, consumer: KafkaConsumer, assigned: Assigned, revoked: Revoked) -> None:
        self._consumer, self._assigned, self._revoked = consumer, assigned, revoked

    async def on_partitions_revoked(self, revoked: Sequence[aiokafka.TopicPartition]) -> None:
        for partition in sorted({each.partition for each in revoked}):
            await self._revoked(partition)
        self._consumer.lose(revoked)

    async def on_partitions_assigned(self, assigned: Sequence[aiokafka.TopicPartition]) -> None:
        offsets = {
            (kind, partition): offset
            for partition in sorted({each.partition for each in assigned})
            for kind, offset in (await self._assigned(partition)).items()
        }
        await self._consumer.begin(offsets)


class KafkaConsumer:
    """`Consumer` as one member of the group of a step."""

    def __init__(self, names: Names, kinds: Sequence[str], options: dict[str, Any]) -> None:
        self._names, self._kinds, self._options = names, kinds, options
        self._client: aiokafka.AIOKafkaConsumer | None = None
        self._next: dict[aiokafka.TopicPartition, int] = {}
        self._sought: set[aiokafka.TopicPartition] = set()  # and nothing read since
        self._lost: LogLost | None = None

    async def start(self, assigned: Assigned, revoked: Revoked) -> None:
        """Join the group; offsets are the step's own, so nothing is ever committed to Kafka."""
        client = aiokafka.AIOKafkaConsumer(
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(RangePartitionAssignor,),
            **self._options,
        )
        self._client = client
        topics = [self._names.topic(kind) for kind in self._kinds]
        client.subscribe(topics, listener=_Listener(self, assigned, revoked))
        try:
            await client.start()
        except (KafkaError, OSError) as error:
            await client.stop()
            raise BusUnavailable(f"joining the group of {topics}: {error!r}") from error

    async def poll(self, wait_ms: int, limit: int) -> dict[tuple[str, int], Sequence[Message]]:
        """What has been fetched, or what comes within `wait_ms`."""
        assert self._client is not None
        if self._lost is not None:
            raise self._lost
        take_whole_batches(self._client)
        try:
            polled = await self._client.getmany(timeout_ms=wait_ms, max_records=limit)
        except KafkaError as error:
            raise BusUnavailable(f"reading: {error!r}") from error
        return {
            (self._names.kind(place.topic), place.partition): expected
            for place, records in polled.items()
            if (expected := self._expected(place, records))
        }

    def _expected(
        self, place: aiokafka.TopicPartition, records: Sequence[Message]
    ) -> Sequence[Message]:
        """Those at or after the place to read: the client fetches before the step has said it."""
        start = self._next.get(place)
        if start is None:
            return ()
        if records[0].offset < start:
            records = [record for record in records if record.offset >= start]
        if place in self._sought and records:
            self._sought.discard(place)
            if records[0].offset > start:  # the client goes on silently with what is left
                where = {"topic": place.topic, "partition": place.partition}
                _log.warning("records_gone", **where, wanted=start, found=records[0].offset)
        if records:
            self._next[place] = records[-1].offset + 1
        return records

    def lose(self, places: Iterable[aiokafka.TopicPartition]) -> None:
        """Return no more records of partitions that were revoked."""
        for place in places:
            self._next.pop(place, None)

    async def begin(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Read (kind, partition) from its offset, unless the broker has lost that log.

        The client only logs what is raised in its callback, so the next `poll` raises LogLost.
        """
        assert self._client is not None
        read_before = {
            aiokafka.TopicPartition(self._names.topic(kind), partition): offset
            for (kind, partition), offset in offsets.items()
            if offset > 0
        }
        places = [place for place in read_before if place in self._client.assignment()]
        try:
            ends = await self._client.end_offsets(places) if places else {}
        except KafkaError:
            ends = {}  # A broker that went away is noticed by `poll`; reading must go on after it.
        for place, end in ends.items():
            if end == 0:  # The embedded broker answers too low an end, but 0 only for an empty log.
                self._lost = LogLost(place.topic, place.partition, read_before[place])
        for (kind, partition), offset in offsets.items():
            self.seek(kind, partition, offset)

    def seek(self, kind: str, partition: int, offset: int) -> None:
        """Read on from an explicit offset."""
        place = aiokafka.TopicPartition(self._names.topic(kind), partition)
        if self._client is not None and place in self._client.assignment():
            self._client.seek(place, offset)
            self._next[place] = offset
            self._sought.add(place)

    def lag(self) -> int:
        """From the high watermarks of the last fetches."""
        if self._client is None:
            return 0
        assigned = self._client.assignment()
        return sum(
            max(0, (self._client.highwater(place) or 0) - offset)
            for place, offset in self._next.items()
            if place in assigned
        )

    def behind(self, kind: str, partition: int) -> int | None:
        """From the high watermark of the last fetch, and how far the client has come."""
        place = self._place(kind, partition)
        if place is None or place not in self._next:
            return 0
        assert self._client is not None
        end = self._client.highwater(place)
        # Its own position goes on over what is no record: the marks of transactions, a gap.
        state = self._client._subscription.subscription.assignment.state_value(place)
        position = state.position if state.has_valid_position else 0
        return None if end is None else max(0, end - max(position, self._next[place]))

    def pause(self, kind: str, partition: int) -> None:
        """Neither fetch nor return it."""
        if place := self._place(kind, partition):
            assert self._client is not None
            self._client.pause(place)

    def resume(self, kind: str, partition: int) -> None:
        """Fetch it again."""
        if place := self._place(kind, partition):
            assert self._client is not None
            self._client.resume(place)

    def _place(self, kind: str, partition: int) -> aiokafka.TopicPartition | None:
        """The partition as the client names it, None when it is not assigned."""
        place = aiokafka.TopicPartition(self._names.topic(kind), partition)
        return place if self._client is not None and place in self._client.assignment() else None

    async def stop(self) -> None:
        """Leave the group."""
        if self._client is not None:
            await self._client.stop()


async def ensure_topics(broker: Broker | str, names: Names) -> None:
    """Create the project's topics that are not there yet. Raises BusUnavailable."""
    admin = aiokafka.admin.AIOKafkaAdminClient(**options_of(broker))
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        missing = [
            aiokafka.admin.NewTopic(
                names.topic(kind), names.partitions_of(kind), -1 if _many_brokers(admin) else 1,
                topic_configs=_configuration(kind),
            )
            for kind in ALL
            if names.topic(kind) not in existing
        ]  # fmt: skip
        if missing:
            created = await admin.create_topics(missing)
            for topic, code, *text in created.topic_errors:
                if code not in (NoError.errno, TopicAlreadyExistsError.errno):
                    raise BusUnavailable(f"broker {broker}: creating {topic}: error {code} {text}")
    except (KafkaError, OSError) as error:
        raise BusUnavailable(f"broker {broker}: {error!r}") from error
    finally:
        await admin.close()


def _configuration(kind: str) -> dict[str, str]:
    if kind in (EVENTS, LABELS):
        return {}
    # Our own records hold what came in and more: a dead letter must fit where its input did.
    configuration = {"max.message.bytes": str(LARGEST_RECORD_BYTES)}
    return configuration | ({"cleanup.policy": "compact"} if kind == MODELS else {})


def _many_brokers(admin: Any) -> bool:
    """The cluster's default replication where there are several brokers."""
    return len(admin._client.cluster.brokers()) > 1


async def announcements(
    broker: Broker | str, names: Names, wait_ms: int
) -> AsyncIterator[Announcement]:
    """Announcements from now on; every process hears all of them. Raises BusUnavailable."""
    place = aiokafka.TopicPartition(names.topic(MODELS), 0)
    client = aiokafka.AIOKafkaConsumer(
        **options_of(broker), enable_auto_commit=False, fetch_max_wait_ms=wait_ms
    )
    try:
        await client.start()
        client.assign([place])
        client.seek(place, (await client.end_offsets([place]))[place])
        async for record in client:
            yield decode(Announcement, record.value)
    except (KafkaError, OSError) as error:
        raise BusUnavailable(f"reading {place.topic}: {error!r}") from error
    finally:
        await client.stop()


async def end_offsets(broker: Broker | str, names: Names, kind: str) -> dict[int, int]:
    """The next offset of each partition of a topic; the embedded broker says too low a number.

    Raises BusUnavailable.
    """
    topic = names.topic(kind)
    places = [aiokafka.TopicPartition(topic, p) for p in range(names.partitions_of(kind))]
    client = aiokafka.AIOKafkaConsumer(**options_of(broker), enable_auto_commit=False)
    try:
        await client.start()
        ends = await client.end_offsets(places)
    except (KafkaError, OSError) as error:
        raise BusUnavailable(f"reading {topic}: {error!r}") from error
    finally:
        await client.stop()
    return {place.partition: end for place, end in ends.items()}


async def check(broker: Broker | str) -> None:
    """Ask the broker for its metadata. Raises BusUnavailable."""
    client = aiokafka.AIOKafkaProducer(**options_of(broker))
    try:
        await client.start()
    except (KafkaError, OSError) as error:
        raise BusUnavailable(f"broker {broker}: {error!r}") from error
    finally:
        await client.stop()
