"""What must be in the store after crashes: two clean replays of the log, and plain sums."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import ConsumerRecord
from crash_harness import PATIENCE_SECONDS
from crash_traffic import TOO_LATE_MS, Stallholder
from ledger import archivable, places, read_log
from numpy.typing import NDArray
from processes import until
from redis.asyncio import Redis

from features.archive.files import read_archive
from features.decoding import EventDecoder, RequestDecoder
from features.plan import FeaturePlan
from features.redis.store import RedisStore
from features.store import MemoryStore, OnlineStore
from features.vectors import VectorReader
from streams.context import Context
from streams.dead_letters import DeadLetterBox
from streams.fold import Fold
from streams.measurements import Measurements
from streams.rekey import Rekey
from tidemill.clock import SystemClock
from tidemill.memory_bus import MemoryBus
from tidemill.topics import (
    DEADLETTERS,
    EVENTS,
    EXAMPLES,
    LABELS,
    PREDICTIONS,
    UPDATES,
    Names,
)
from tidemill.wire import DeadLetter, Example, decode

SKEW_MS, DUPLICATE_WINDOW = 3_600_000, 500
CACHE_BYTES, CHUNK = 64 << 20, 400
FIELDS = {"sold": {"shop", "item", "city", "units", "price"}, "returned": {"item", "shop", "units"}}
MOMENTS_MS = (1, 5 * 60_000, 3 * 3_600_000, 2 * 86_400_000)
Log = dict[int, list[ConsumerRecord]]


@dataclass(frozen=True)
class Found:
    """What a check has compared, to be printed."""

    events: int
    applied: int
    refused: dict[str, int]
    updates: int
    blobs: int
    vectors: int


@dataclass(frozen=True)
class Books:
    """The books of one project after the storm."""

    plan: FeaturePlan
    names: Names
    kafka: str
    store: Redis
    home: Path

    async def worked_off(self, traffic: Stallholder, require_alive: Any) -> None:
        """Wait until everything that was sent has had its effect."""

        async def behind() -> dict[str, int]:
            require_alive()
            return {name: left async for name, left in self._behind(traffic) if left > 0}

        await until(
            "everything is worked off", behind, PATIENCE_SECONDS, good=lambda found: not found
        )

    async def _behind(self, traffic: Stallholder) -> Any:
        targets = range(self.names.partitions)
        for partition in targets:
            read = await self.fence("events", partition)
            end = traffic.ends[EVENTS].get(partition, 0)
            yield f"events {partition}", end - read.get("offset:events", 0)
            for target in targets:
                applied = (await self.fence("updates", target)).get(f"source:{partition}", 0)
                yield f"updates {partition} to {target}", end - applied
            yield f"archive {partition}", end - self._archived(partition)
            joined = await self.fence("join", partition)
            for kind in (PREDICTIONS, LABELS):
                left = traffic.ends[kind].get(partition, 0) - joined.get(f"offset:{kind}", 0)
                yield f"{kind} {partition}", left
        total = sum([(await self.fence("join", p)).get("joined", 0) for p in targets])
        read = await self.fence("events", 0)
        known = sum(value for name, value in read.items() if name.startswith("sequence:"))
        yield "labels", total - known

    def _archived(self, partition: int) -> int:
        """How far the archive says that it is."""
        folder = self.home / "archive" / f"project={self.names.project}" / "_commits"
        try:
            commit = json.loads((folder / f"{EVENTS}-{partition}.json").read_bytes())
        except FileNotFoundError:
            return 0
        return int(commit["next_offset"])

    async def fence(self, step: str, partition: int) -> dict[str, int]:
        """One fence's fields."""
        found: Any = await self.store.hgetall(self.names.fence(step, partition))
        return {name.decode(): int(value) for name, value in found.items()}

    async def check(self, traffic: Stallholder) -> Found:
        """Compare everything; the worker has ended."""
        events = await self._log(EVENTS, traffic.ends[EVENTS])
        updates = await self._log(UPDATES)
        examples = await self._log(EXAMPLES)
        letters = [decode(DeadLetter, r.value) for r in (await self._log(DEADLETTERS))[0]]
        stored = await self._stored()

        same_order = MemoryStore()
        await self._fold(same_order, updates)
        assert_same_blobs(stored, same_order.blobs)

        clean, bus = MemoryStore(), MemoryBus(self.names, SystemClock())
        await self._rekey(clean, bus, events, examples)
        await self._fold(clean, {p: list(bus.log(UPDATES, p)) for p in updates})
        assert not stored.keys() ^ clean.blobs.keys(), stored.keys() ^ clean.blobs.keys()
        shops = self._of("shop", stored)
        assert_same_blobs(self._of("shop", clean.blobs), shops)
        requests = self._requests(events)
        vectors = await self._vectors(RedisStore(self.store), requests)
        self._assert_same_vectors(vectors, await self._vectors(clean, requests))

        good = self._judge(events)
        self._assert_plain_sums(good, vectors, requests)
        refused = self._assert_letters(letters, bus)
        await self._assert_counters(events, good, refused)
        await self._assert_examples(examples, traffic)
        self._assert_archived(events)
        return Found(
            sum(map(len, events.values())), len(good), dict(Counter(refused.values())),
            sum(map(len, updates.values())), len(stored), len(vectors),
        )  # fmt: skip

    async def _log(self, kind: str, ends: dict[int, int] | None = None) -> Log:
        return await read_log(self.kafka, kind, ends, names=self.names)

    async def _stored(self) -> dict[str, bytes]:
        """Every blob of an entity: each key that the names of the entities give."""
        found: dict[str, bytes] = {}
        for partition in range(self.names.partitions):
            for entity in self.plan.entities:
                prefix = self.names.blob(partition, entity.entity.name, "")
                pattern = prefix.replace("[", "\\[") + "*"
                async for key in self.store.scan_iter(match=pattern, count=1000):
                    found[key.decode()] = await self.store.get(key)
        return found

    def _of(self, entity: str, blobs: dict[str, bytes]) -> dict[str, bytes]:
        prefixes = [self.names.blob(p, entity, "") for p in range(self.names.partitions)]
        return {key: blob for key, blob in blobs.items() if key.startswith(tuple(prefixes))}

    def _context(self, store: OnlineStore, bus: MemoryBus) -> Context:
        measurements = Measurements()
        return Context(self.plan, self.names, store, bus.producer(), measurements, SystemClock())

    async def _rekey(self, store: MemoryStore, bus: MemoryBus, events: Log, examples: Log) -> None:
        """Read the raw log once, without a crash, in other micro-batches than the worker did."""
        context = self._context(store, bus)
        letters = DeadLetterBox(context.producer, context.measurements, context.clock, 10**9)
        decoder = EventDecoder(self.plan.project, context.clock, SKEW_MS)
        rekey = Rekey(context, decoder, letters, DUPLICATE_WINDOW)
        for partition, records in events.items():
            await rekey.open(partition, claim=True)
            for chunk in _chunks(records):
                await rekey.process(partition, {EVENTS: chunk})
        for chunk in _chunks(examples[0]):
            await rekey.process(0, {EXAMPLES: chunk})

    async def _fold(self, store: MemoryStore, updates: dict[int, Sequence[Any]]) -> None:
        fold = Fold(self._context(store, MemoryBus(self.names, SystemClock())), CACHE_BYTES)
        for partition, records in updates.items():
            await fold.open(partition, claim=True)
            for chunk in _chunks(records):
                await fold.process(partition, {UPDATES: chunk})

    def _requests(self, events: Log) -> list[Any]:
        """A request for every shop, item and place there is, at moments from now to far ahead."""
        bodies = [body for body in map(_body, itertools.chain(*events.values())) if body]
        newest = max(body["time"] for body in bodies)
        decoder = RequestDecoder(self.plan.project, SystemClock(), SKEW_MS)
        places = {(body["shop"], body["item"], body.get("city", "c0")) for body in bodies}
        return [
            decoder.decode(
                json.dumps(
                    {"ticket": "t", "shop": shop, "item": item, "city": city, "pages": 1.0,
                     "time": newest + later}
                ).encode()
            )
            for shop, item, city in sorted(places)
            for later in MOMENTS_MS
        ]  # fmt: skip

    async def _vectors(self, store: OnlineStore, requests: list[Any]) -> NDArray[np.float32]:
        reader = VectorReader(self.plan, self.names, store, deadline_ms=60_000)
        parts = [(await reader.read(chunk)).matrix for chunk in _chunks(requests)]
        return np.concatenate(parts)

    def _assert_same_vectors(
        self, found: NDArray[np.float32], expected: NDArray[np.float32]
    ) -> None:
        """Bit for bit, but for real-valued sums over partitions: their order is not fixed."""
        for column, name in enumerate(self.plan.schema.names):
            if name.startswith(("price", "fading")) and "item" in name:
                np.testing.assert_allclose(found[:, column], expected[:, column], rtol=1e-5)
            else:
                differ = np.flatnonzero(
                    found[:, column].view(np.int32) != expected[:, column].view(np.int32)
                )
                assert not len(differ), (
                    f"{name}: {len(differ)} differ, first {found[differ[0], column]} "
                    f"instead of {expected[differ[0], column]}"
                )

    def _judge(self, events: Log) -> list[dict[str, Any]]:
        """The good events, judged in a few plain lines that share nothing with the product."""
        good = []
        for records in events.values():
            newest, seen = 0, dict[str, int]()
            for record in records:
                body = _body(record)
                if body is None:
                    continue
                before = seen.get(body["id"])
                seen[body["id"]] = record.offset
                too_late = body["time"] < newest - TOO_LATE_MS / 2
                newest = max(newest, body["time"])
                is_new = before is None or record.offset - before > DUPLICATE_WINDOW
                if is_new and not too_late:
                    good.append(body)
        return good

    def _assert_plain_sums(
        self, good: list[dict[str, Any]], vectors: NDArray[np.float32], requests: list[Any]
    ) -> None:
        """Each event once: counts, sums and newest values, added up with Python's own numbers."""
        units: dict[Any, list[tuple[int, float]]] = defaultdict(list)
        for body in good:
            place = (body["time"], body["units"])
            if body["event"] == "sold":
                keys = ("shop", body["shop"]), ("item", body["item"])
                for key in (*keys, ("place", body["city"], body["item"])):
                    units["units", *key].append(place)
            else:
                units["back", "item", body["item"]].append(place)
                units["back", "shop", body["shop"]].append(place)
        column = {name: place for place, name in enumerate(self.plan.schema.names)}
        compared = 0
        for request, vector in zip(requests, vectors, strict=True):
            for entity in ("shop", "item", "place"):
                own = {"shop": (request.shop,), "item": (request.item,),
                       "place": (request.city, request.item)}[entity]  # fmt: skip
                for window in ("units", "back"):
                    if f"{window}_sum_{entity}_90d" not in column:
                        continue
                    values = sorted(units[window, entity, *own])
                    last = values[-1][1] if values else np.nan
                    expected = [len(values), sum(value for _, value in values), last]
                    names = [f"{window}_{what}_{entity}_90d" for what in ("count", "sum", "last")]
                    found = [vector[column[name]] for name in names]
                    np.testing.assert_array_equal(found, np.float32(expected), str((names, own)))
                    compared += 1
        assert compared

    def _assert_letters(
        self, letters: list[DeadLetter], bus: MemoryBus
    ) -> dict[tuple[int, int], str]:
        """Sent again, a dead letter says the same; and the same as in the clean replay."""
        topic = self.names.topic(EVENTS)
        causes: dict[tuple[int, int], set[str]] = defaultdict(set)
        for letter in letters:
            if letter.topic == topic:
                causes[letter.partition, letter.offset].add(letter.cause)
        clean = [decode(DeadLetter, m.value or b"") for m in bus.log(DEADLETTERS)]
        expected = {(letter.partition, letter.offset): {letter.cause} for letter in clean}
        differ = sorted(place for place in expected.keys() | causes.keys()
                        if expected.get(place) != causes.get(place))  # fmt: skip
        assert not differ, [(p, expected.get(p), causes.get(p)) for p in differ[:5]]
        return {place: min(cause) for place, cause in causes.items()}

    async def _assert_counters(
        self, events: Log, good: list[Any], refused: dict[tuple[int, int], str]
    ) -> None:
        total: Counter[str] = Counter()
        for partition in range(self.names.partitions):
            for step in ("events", "updates"):
                total.update(await self.fence(step, partition))
        read = sum(map(len, events.values()))
        expected = {"events_read": read, "events_accepted": len(good),
                    "events_applied": len(good), "dead_letters": len(refused)}  # fmt: skip
        found = {name: total[name] for name in expected}
        assert expected == found, f"counted {found}, expected {expected}"
        assert read == len(good) + len(refused), (read, len(good), len(refused))

    async def _assert_examples(self, examples: Log, traffic: Stallholder) -> None:
        """Every ticket is joined once: gap-free sequences, however often they were sent."""
        found = {}
        for record in examples[0]:
            example = decode(Example, record.value)
            place = (example.partition, example.sequence)
            assert found.setdefault(place, example.prediction.key) == example.prediction.key
        missing = {f"t{number}" for number in range(traffic.tickets)} - set(found.values())
        assert not missing, f"{len(missing)} of {traffic.tickets} labels not joined: {missing}"
        repeated = [key for key, count in Counter(found.values()).items() if count > 1]
        assert not repeated, f"joined twice: {repeated}"

    def _assert_archived(self, events: Log) -> None:
        """The archive holds the log, each record once."""
        table = read_archive(self.home, self.names.project, EVENTS)
        columns = (table["partition"].to_pylist(), table["offset"].to_pylist())
        found = Counter(zip(*columns, strict=True))
        expected = Counter(places(archivable(events)))
        assert found == expected, f"missing {expected - found}, too many {found - expected}"


def assert_same_blobs(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """The same keys, byte for byte."""
    assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())[:5]
    differ = [key for key, blob in expected.items() if found[key] != blob]
    words = {key: _differing_words(found[key], expected[key]) for key in differ}
    assert not differ, f"{len(differ)} of {len(expected)} blobs differ, in these words: {words}"
    assert found


def _differing_words(found: bytes, expected: bytes) -> list[int]:
    if len(found) != len(expected):
        return [-len(found), -len(expected)]
    return np.flatnonzero(np.frombuffer(found, "<i4") != np.frombuffer(expected, "<i4")).tolist()


def _body(record: Any) -> dict[str, Any] | None:
    """An event that is what its declaration says, or None."""
    try:
        body: dict[str, Any] = json.loads(record.value)
    except ValueError:
        return None
    wanted = FIELDS.get(body["event"], set()) | {"event", "time", "id"}
    return body if wanted == body.keys() else None


def _chunks(records: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(records), CHUNK):
        yield records[start : start + CHUNK]
