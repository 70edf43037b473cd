"""What lies in the log, the store and the archive, read independently of the worker."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from processes import PROJECT_FILE, Service, until
from redis.asyncio import Redis
from redis.exceptions import RedisError

from features.archive.files import read_archive
from features.columns import field_columns
from features.decoding import EventDecoder
from features.plan import compile_plan
from features.redis.store import RedisStore
from features.replay import Replayer
from learners.snapshot import Snapshot
from tidemill.clock import SystemClock
from tidemill.errors import InputError
from tidemill.loading import load_project
from tidemill.topics import EVENTS, EXAMPLES, LABELS, PREDICTIONS, Names
from tidemill.wire import Example, decode

PARTITIONS = 4
PROJECT = load_project(PROJECT_FILE)
PLAN = compile_plan(PROJECT)
NAMES = Names(PROJECT.name, PARTITIONS, PLAN.state, PLAN.schema.hash)
Log = dict[int, list[ConsumerRecord]]


async def read_log(
    kafka: str, kind: str, at_least: dict[int, int] | None = None, names: Names = NAMES
) -> Log:
    """Every record of a topic by partition; waits for the offsets in `at_least`."""
    places = [TopicPartition(names.topic(kind), p) for p in range(names.partitions_of(kind))]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    found: Log = {place.partition: [] for place in places}
    await consumer.start()
    try:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        empty = 0

        async def read() -> bool:
            nonlocal empty
            polled = await consumer.getmany(timeout_ms=300)
            for place, records in polled.items():
                found[place.partition] += records
            empty = 0 if polled else empty + 1
            # Two empty answers: the embedded broker's end offsets are too low to be asked for.
            complete = all(
                bool(found[p]) and found[p][-1].offset + 1 >= end
                for p, end in (at_least or {}).items()
            )
            return empty >= 2 and complete

        await until(f"the {kind} log is read", read)
    finally:
        await consumer.stop()
    return found


@dataclass(frozen=True)
class Totals:
    """Counts that must agree once everything has been worked off."""

    joined: int
    examples_in_log: int
    sequences: int
    learned: int


@dataclass(frozen=True)
class Ledger:
    """The service's books."""

    service: Service
    store: Redis

    async def fences(self, step: str) -> dict[str, int]:
        """All fields of a step's fences, added up."""
        total: dict[str, int] = defaultdict(int)
        for partition in range(PARTITIONS):
            for name, value in (await self.store.hgetall(NAMES.fence(step, partition))).items():
                total[name.decode()] += int(value)
        return total

    async def committed(self, step: str, partition: int) -> int:
        """The next offset of a step that reads one topic; 0 from a store that was just away."""
        try:
            offset = await self.store.hget(NAMES.fence(step, partition), f"offset:{step}")
        except RedisError:  # the connection was made before
            return 0
        return int(offset or 0)

    async def drained(self, sent: dict[str, dict[int, int]]) -> None:
        """Wait until every event, prediction and label in the log has had its effect."""

        async def applied() -> bool:
            found: Any = (await self.service.get("/v1/progress")).get("events", {})
            # What an event changes may be there before the step that sent it on has committed.
            for partition, end in sent[EVENTS].items():
                committed = await self.committed(EVENTS, partition)
                if min(found.get(str(partition), 0), committed) < end:
                    return False
            return True

        await until("all events are applied", applied)
        predictions = await read_log(self.service.kafka, PREDICTIONS)
        ends = {
            PREDICTIONS: {p: log[-1].offset + 1 for p, log in predictions.items() if log},
            LABELS: sent[LABELS],
        }

        async def joined() -> bool:
            for kind, offsets in ends.items():
                for partition, end in offsets.items():
                    fence = NAMES.fence("join", partition)
                    if int(await self.store.hget(fence, f"offset:{kind}") or 0) < end:
                        return False
            return True

        await until("all labels are read", joined)

    async def snapshot(self) -> Snapshot | None:
        """The newest snapshot in the store."""
        data = await self.store.get(NAMES.snapshot(PROJECT.learner.name))
        return Snapshot.decode(data) if data else None

    async def totals(self) -> Totals:
        """The four counts of examples, each from its own book."""
        snapshot = await self.snapshot()
        examples = await self.examples()
        return Totals(
            joined=(await self.fences("join"))["joined"],
            examples_in_log=len({(e.partition, e.sequence) for e in examples}),
            sequences=sum(snapshot.sequences.values()) if snapshot else 0,
            learned=snapshot.examples if snapshot else 0,
        )

    async def examples(self) -> list[Example]:
        """Every example in the log, repeated ones included."""
        log = (await read_log(self.service.kafka, EXAMPLES))[0]
        return [decode(Example, record.value) for record in log]

    async def windows_differ(self, good: dict[int, list[Any]]) -> list[str]:
        """The store keys whose windows are not what an offline replay of these events makes."""
        blobs = {
            NAMES.blob(NAMES.entity_partition(key), entity, key): blob
            for entity, key, blob in replay(good).blobs()
        }
        stored = dict(zip(blobs, await RedisStore(self.store).read(list(blobs)), strict=True))
        assert blobs, "no events were replayed"
        return [key for key, blob in blobs.items() if stored[key] != blob]

    async def archived(self, events_sent: dict[int, int]) -> None:
        """Wait until the archive holds the log, each record once."""
        events = await read_log(self.service.kafka, EVENTS, events_sent)
        expected = {EVENTS: places(archivable(events))}
        for kind in (PREDICTIONS, EXAMPLES):
            expected[kind] = places(await read_log(self.service.kafka, kind))

        async def differences() -> list[object]:
            return [
                each for kind in expected for each in self.archive_differs(kind, expected[kind])
            ]

        await until("everything is archived", differences, good=lambda found: found == [])

    def archive_differs(self, kind: str, expected: Sequence[tuple[int, int]]) -> list[object]:
        """Places (partition, offset) that are missing, unexpected or there twice."""
        table = read_archive(self.service.home, PROJECT.name, kind)
        columns = (table["partition"].to_pylist(), table["offset"].to_pylist())
        found = list(zip(*columns, strict=True))
        repeated = [place for place in set(found) if found.count(place) > 1]
        return sorted(set(found) ^ set(expected)) + repeated


def judge_events(log: Log) -> tuple[dict[int, list[Any]], int]:
    """The events by kind that count, in the order of the log, and how many others there are."""
    decoder = EventDecoder(PROJECT, SystemClock(), 3_600_000)
    good: dict[int, list[Any]] = defaultdict(list)
    bad = 0
    for records in log.values():
        seen: set[str] = set()
        for record in records:
            try:
                kind, event = decoder.decode(record.value, decoder.latest_ms())
            except InputError:
                bad += 1
                continue
            if event.id in seen:
                bad += 1
                continue
            if event.id is not None:
                seen.add(event.id)
            good[kind].append(event)
    return good, bad


def replay(good: dict[int, list[Any]]) -> Replayer:
    """The windows of these events, computed offline."""
    replayer = Replayer(PLAN)
    for kind, events in good.items():
        event = PROJECT.events[kind]
        ordered = sorted(events, key=lambda each: each.time)
        replayer.apply(event.name, field_columns(event.columns, ordered))
    return replayer


def places(log: Log) -> list[tuple[int, int]]:
    """(partition, offset) of every record."""
    return [(partition, record.offset) for partition, log in log.items() for record in log]


def archivable(log: Log) -> Log:
    """The events that are JSON objects with a name and a time: what the archive keeps."""

    def has_envelope(record: ConsumerRecord) -> bool:
        try:
            return {"event", "time"} <= set(json.loads(record.value))
        except ValueError:
            return False

    return {p: [r for r in records if has_envelope(r)] for p, records in log.items()}
