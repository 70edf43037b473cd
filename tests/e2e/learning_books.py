"""What a learner holds against what lies in the log: counted and learned again, independently."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from crash_harness import PATIENCE_SECONDS, Child, Zygote, delete_groups, evict
from crash_points import Point
from flights import PLAN, Flights, names_of, publish, train
from ledger import read_log
from processes import until
from redis.asyncio import Redis

from cli.kafka_bus import ensure_topics
from features.redis.store import RedisStore
from learners.families import restore, warm_start
from learners.learner import Learner
from learners.release import load_release
from learners.snapshot import Newest, Snapshot, digest
from streams.snapshots import read_missing, restored
from tidemill.registry import Registry
from tidemill.topics import EXAMPLES, LABELS, MODELS, Names
from tidemill.wire import Announcement, Example, Prediction, decode, vectors

PARTITIONS = 4
AT_ONCE = 1000
LEARNER = PLAN.project.learner
Moment = tuple[int, str, int]


@dataclass(frozen=True)
class Held:
    """The newest snapshot: the last record, the learner it stands for, its bytes' digest."""

    record: Snapshot
    learner: Learner
    sha256: str


@dataclass(frozen=True)
class Examples:
    """The examples in the log, the first of each (partition, sequence), with their offsets."""

    distinct: dict[tuple[int, int], tuple[int, Example]]
    records: int
    end: int

    def between(self, first: int, end: int) -> list[Example]:
        """In the order of the log, from one offset up to before another."""
        return [e for offset, e in self.distinct.values() if first <= offset < end]

    def sequences(self, end: int) -> dict[int, int]:
        """The highest of each partition before an offset."""
        found: dict[int, int] = {}
        for partition, sequence in (k for k, (o, _) in self.distinct.items() if o < end):
            found[partition] = max(found.get(partition, 0), sequence)
        return found


async def read_examples(kafka: str, names: Names, end: int | None = None) -> Examples:
    """All of them, or those before an offset; repeated ones must be equal, and none missing."""
    if end is None:
        log = (await read_log(kafka, EXAMPLES, names=names))[0]
    else:
        log = await _read_to(kafka, names.topic(EXAMPLES), end)
    distinct: dict[tuple[int, int], tuple[int, Example]] = {}
    for record in log:
        example: Example = decode(Example, record.value)
        first = distinct.setdefault((example.partition, example.sequence), (record.offset, example))
        assert first[1] == example
    for partition, found in itertools.groupby(sorted(distinct), key=lambda each: each[0]):
        numbers = [sequence for _, sequence in found]
        assert list(range(1, len(numbers) + 1)) == numbers, f"partition {partition} has a gap"
    return Examples(distinct, len(log), log[-1].offset + 1 if log else 0)


async def _read_to(kafka: str, topic: str, end: int) -> list[ConsumerRecord]:
    """Of a topic that is being written to, what lies before an offset."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        consumer.seek(place, 0)
        found: list[ConsumerRecord] = []
        while not found or found[-1].offset + 1 < end:
            found.append(await asyncio.wait_for(consumer.getone(), PATIENCE_SECONDS))
        return found
    finally:
        await consumer.stop()


async def read_held(store: RedisStore, names: Names, registry: Registry) -> Held:
    """The newest snapshot in the store, put together from its changes."""
    data = await read_missing(store, names, LEARNER.name, ("", 0))
    chain = [Snapshot.decode(each) for each in data]
    release = load_release(registry, chain[0].release, PLAN.project)
    learner = restored(chain, lambda whole: restore(LEARNER, release, PLAN.schema, whole.state))
    (newest,) = await store.read([names.newest_snapshot(LEARNER.name)])
    assert newest is not None and Newest.decode(newest).sha256 == digest(data[-1])
    return Held(chain[-1], learner, digest(data[-1]))


def learned_anew(registry: Registry, release: str, examples: Sequence[Example]) -> bytes:
    """The state of a new learner of the release after these examples."""
    learner = warm_start(LEARNER, load_release(registry, release, PLAN.project), PLAN.schema)
    for start in range(0, len(examples), AT_ONCE):
        some = examples[start : start + AT_ONCE]
        learner.learn_many(
            vectors([example.prediction for example in some]),
            np.array([example.label for example in some]),
            np.array([example.weight for example in some]),
        )
    return learner.snapshot()


def check_snapshot(held: Held, examples: Examples, registry: Registry, trained_to: int) -> int:
    """The snapshot is what its release has learned between its data and its offset; how many."""
    record, release = held.record, held.record.release
    learned = examples.between(trained_to, record.offset)
    assert len(learned) == record.examples
    assert examples.sequences(record.offset) == record.sequences
    assert learned_anew(registry, release, learned) == held.learner.snapshot()
    return len(learned)


@dataclass
class LearningBooks:
    """Flights to be sent as predictions and labels, workers to learn them, and the books."""

    flights: Flights
    zygote: Zygote
    broker: str
    producer: AIOKafkaProducer
    redis: Redis
    names: Names
    predictions: list[Prediction]
    sent: list[int] = field(default_factory=list)  # rows whose label was sent

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, flights: Flights, zygote: Zygote, broker: str, project: str
    ) -> AsyncIterator[LearningBooks]:
        """With topics and a first release, under a name of its own."""
        model = train(flights.vectors, flights.labels)
        names = names_of(PARTITIONS, project)
        publish(Registry(zygote.folder, project), model, len(flights), {})
        await ensure_topics(zygote.kafka, names)
        store = Redis.from_url(zygote.redis, socket_timeout=60)
        producer = AIOKafkaProducer(bootstrap_servers=zygote.kafka, acks="all", linger_ms=2)
        await producer.start()
        try:
            predictions = list(flights.predictions(model, "r0001"))
            yield cls(flights, zygote, broker, producer, store, names, predictions)
        finally:
            await producer.stop()
            await store.aclose()

    @property
    def registry(self) -> Registry:
        """The releases."""
        return Registry(self.zygote.folder, self.names.project)

    def parts(self, count: int) -> list[list[Moment]]:
        """All predictions and labels in the order of their times, cut into so many parts."""
        moments = self.flights.moments()
        bounds = [round(len(moments) * n / count) for n in range(count + 1)]
        return [moments[begin:end] for begin, end in itertools.pairwise(bounds)]

    async def send(self, moments: Sequence[Moment], seconds: float = 0.0) -> None:
        """Send them in their order, spread over some seconds."""
        bites = 20 if seconds else 1
        size = -(-len(moments) // bites) or 1
        for start in range(0, len(moments), size):
            await asyncio.gather(
                *[await self._send(each) for each in moments[start : start + size]]
            )
            await asyncio.sleep(seconds / bites)

    async def _send(self, moment: Moment) -> asyncio.Future[object]:
        _, topic, row = moment
        if topic == LABELS:
            self.sent.append(row)
        body = self.flights.label(row) if topic == LABELS else self.predictions[row].encode()
        found: asyncio.Future[object] = await self.producer.send(
            self.names.topic(topic), body, key=self.flights.keys[row].encode()
        )
        return found

    async def start(self, point: Point | None = None, with_faust: bool = False) -> Child:
        """A worker."""
        return await self.zygote.start(self.names.project, point, with_faust)

    async def bury(self, child: Child) -> None:
        """Let the broker know that the only worker died, instead of letting its session end."""
        bury = delete_groups if self.broker == "embedded" else evict
        await bury(self.zygote.kafka, child)

    async def learned_to(self) -> int:
        """The offset of the examples behind the learner's fence."""
        return int(await self.redis.hget(self.names.fence("learn", 0), f"offset:{EXAMPLES}") or 0)

    async def finish(self) -> None:
        """Work everything off in peace and end cleanly."""
        child = await self.start(with_faust=True)

        async def learned() -> int:
            # Not the offset: what comes a second time at the end of the log moves it on in memory.
            child.require_alive()
            found = await read_missing(RedisStore(self.redis), self.names, LEARNER.name, ("", 0))
            return Snapshot.decode(found[-1]).examples if found else 0

        await child.says("step=learn")  # all may have been learned before
        everything = len(self.sent)
        await until("all is learned", learned, PATIENCE_SECONDS, lambda found: found >= everything)
        assert 0 == await child.stop()

    async def check(self) -> str:
        """Each label one example, each example learned once, the newest snapshot announced."""
        examples = await read_examples(self.zygote.kafka, self.names)
        found = [example.prediction.id for _, example in examples.distinct.values()]
        assert sorted(f"p{row}" for row in self.sent) == sorted(found)
        held = await read_held(RedisStore(self.redis), self.names, self.registry)
        learned = check_snapshot(held, examples, self.registry, 0)
        assert len(found) == learned
        models = (await read_log(self.zygote.kafka, MODELS, names=self.names))[0]
        last: Announcement = decode(Announcement, models[-1].value)
        assert (held.record.number, held.sha256) == (last.snapshot, last.sha256)
        return (
            f"{len(found)} labels joined, {learned} examples learned, {examples.records} records "
            f"in the log, snapshot {held.record.number} of {held.record.release}"
        )
