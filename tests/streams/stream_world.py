"""A small project on the in-memory bus and store, with faults and crashes to write into them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import lightgbm
import msgspec
import numpy as np

from features.decoding import EventDecoder
from features.plan import FeaturePlan, compile_plan
from features.store import Commit, MemoryStore
from learners.release import TREES_FILE, ModelFile, release_files
from streams.alerts import Alerts
from streams.archive import Archive
from streams.context import Context
from streams.dead_letters import DeadLetterBox
from streams.fold import Fold
from streams.join import Join
from streams.learn import Learn, LearnSettings
from streams.measurements import Measurements
from streams.rekey import Rekey
from streams.step import Reopen, Step
from tidemill import BadCase, Entity, Event, Label, Project, Request, RequestFeature, Window, column
from tidemill.bus import Message
from tidemill.clock import FakeClock
from tidemill.errors import BusUnavailable, FencedError, StoreUnavailable
from tidemill.memory_bus import MemoryBus
from tidemill.registry import Manifest, Registry
from tidemill.topics import EVENTS, EXAMPLES, LABELS, PREDICTIONS, Names
from tidemill.wire import DeadLetter, Example, Prediction, decode, vector_bytes

NOW = 1_400_000_000_000
SKEW = 3_600_000
DAY = 86_400_000
PARTITIONS = 3
WINDOW = 50


def make_project() -> Project:
    """Payments and refunds of cards at shops; a note is an event that no window takes."""
    payment = Event("payment", "card", {"card": str, "shop": str | None, "amount": float})
    refund = Event("refund", "card", {"card": str, "amount": float})
    note = Event("note", "card", {"card": str})
    request = Request({"card": str, "shop": str, "amount": float})
    card, shop = Entity("card", ("card",)), Entity("shop", ("shop",))
    totals = ("count", "sum", "min", "max", "last")
    return Project(
        name="payments",
        events=(payment, refund, note),
        request=request,
        features=(
            Window("paid", payment, totals, (card, shop), ("1h", "24h"), payment.amount),
            Window("back", refund, ("sum",), (card,), ("24h",), refund.amount, refund.amount > 10),
            RequestFeature("amount", request.amount),
        ),
        label=Label(("card",), "1d"),
        bad_cases=(BadCase("sure_but_wrong", (column("score") > 0.9) & column("label").equals(0)),),
    )


@cache
def plan() -> FeaturePlan:
    """The compiled project."""
    return compile_plan(make_project())


@cache
def model_text(seed: int = 1) -> bytes:
    """A small LightGBM model over the project's features."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(400, len(plan().schema.names))).astype(np.float32)
    names = list(plan().schema.names)
    data = lightgbm.Dataset(matrix, (matrix[:, 0] > 0).astype(int), feature_name=names)
    settings = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1}
    return lightgbm.train(settings, data, 5).model_to_string().encode()


class FaultyStore(MemoryStore):
    """A store whose next commits fail: "before" changes nothing, "after" loses the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.gone = False
        self.refusals = 0

    def check(self) -> None:
        """Raise StoreUnavailable while the store is gone."""
        if self.gone:
            self.refusals += 1
            raise StoreUnavailable("store: connection refused")

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read unless gone."""
        self.check()
        return await super().read(keys)

    async def claim(self, fence: str) -> dict[str, int]:
        """Claim unless gone."""
        self.check()
        return await super().claim(fence)

    async def fence_fields(self, fences: Sequence[str]) -> list[dict[str, int]]:
        """Read fences unless gone."""
        self.check()
        return await super().fence_fields(fences)

    async def commit(self, commit: Commit) -> None:
        """Commit, with the next fault of the list if there is one."""
        await asyncio.sleep(0)
        self.check()
        fault = self.faults.pop(0) if self.faults else ""
        if fault != "before":
            await super().commit(commit)
        if fault:
            raise StoreUnavailable(f"store: fault {fault} the commit")


class World:
    """Everything a worker's steps need, and what tests look at."""

    def __init__(self, home: Path, limit: int = 1_000) -> None:
        self.home, self.limit = home, limit
        self.most_pending = 1_000
        self.clock = FakeClock(NOW)
        self.names = Names("payments", PARTITIONS)
        self.bus = MemoryBus(self.names, self.clock)
        self.store = FaultyStore()
        self.registry = Registry(home, "payments")
        self.measurements = Measurements()
        self.catch_up_ms = 60_000
        self.alerts = Alerts(self.bus.producer(), self.clock)
        self.context = Context(
            plan(), self.names, self.store, self.bus.producer(), self.measurements, self.clock
        )

    def letters(self) -> DeadLetterBox:
        """A dead-letter box with the world's limit."""
        return DeadLetterBox(self.context.producer, self.measurements, self.clock, self.limit)

    def rekey(self) -> Rekey:
        """The first step of an event."""
        decoder = EventDecoder(plan().project, self.clock, SKEW)
        return Rekey(self.context, decoder, self.letters(), WINDOW)

    def fold(self) -> Fold:
        """The step that keeps the windows."""
        return Fold(self.context)

    def join(self) -> Join:
        """The step that pairs predictions and labels."""
        return Join(self.context, self.letters(), SKEW, self.most_pending)

    def learn(self, interval_ms: int = 0) -> Learn:
        """The step that learns."""
        settings = LearnSettings(interval_ms, self.catch_up_ms)
        return Learn(self.context, self.registry, self.alerts, settings)

    def archive(self, rows: int = 1_000, interval_ms: int = 60_000) -> Archive:
        """The step that writes Parquet."""
        return Archive(self.context, self.home, rows=rows, interval_ms=interval_ms)

    def reader(self, make: Callable[[], Step], partition: int = 0) -> "Reader":
        """Reads the bus's log into steps of this kind."""
        return Reader(self.bus, make, partition)

    def event(self, partition: int = 0, **fields: object) -> Message:
        """Append one event; a payment unless told otherwise."""
        record = {"event": "payment", "card": "c1", "shop": "s1", "amount": 5.0, "time": NOW}
        body = msgspec.json.encode(record | fields)
        return self.bus.append(EVENTS, body, b"c1", partition)

    def prediction(self, key: str, time: int = NOW, partition: int = 0, **changes: object) -> None:
        """Append one prediction."""
        made = msgspec.structs.replace(make_prediction(key, time), **changes)
        self.bus.append(PREDICTIONS, made.encode(), key.encode(), partition)

    def label(self, key: str, value: int = 1, time: int = NOW, partition: int = 0) -> None:
        """Append one label."""
        body = msgspec.json.encode({"key": key, "value": value, "time": time})
        self.bus.append(LABELS, body, key.encode(), partition)

    def example(self, sequence: int, partition: int = 0, **changes: object) -> None:
        """Append one example whose vector and label follow from its sequence."""
        prediction = make_prediction(f"k{partition}-{sequence}", NOW + sequence, sequence)
        made = Example(prediction, sequence % 2, NOW + sequence, NOW, partition, sequence)
        self.bus.append(EXAMPLES, msgspec.structs.replace(made, **changes).encode())

    def publish(self, offsets: Mapping[str, int] | None = None, seed: int = 1, **changes: object):
        """Publish a release; returns its name."""
        features = list(plan().schema.names)
        manifest = Manifest(
            release=self.registry.next_name(), project="payments", schema=plan().schema.hash,
            features=features, created_ms=NOW, trained_from_ms=0, trained_to_ms=NOW, rows=1,
            offsets=dict(offsets or {}), metrics={}, files={}, parameters={},
        )  # fmt: skip
        manifest = msgspec.structs.replace(manifest, **changes)
        files = release_files(ModelFile(TREES_FILE, model_text(seed)))
        return self.registry.publish(manifest, files).release

    def dead_letters(self) -> list[DeadLetter]:
        """Every dead letter so far."""
        return [decode(DeadLetter, message.value) for message in self.bus.log("deadletters")]

    def examples(self) -> list[Example]:
        """Every example so far."""
        return [decode(Example, message.value) for message in self.bus.log(EXAMPLES)]

    def fence(self, step: str, partition: int = 0) -> dict[str, int]:
        """The fields of a step's fence."""
        return self.store.fences.get(self.names.fence(step, partition), {})

    def total(self, step: str, field: str) -> int:
        """A counter over all partitions."""
        return sum(self.fence(step, each).get(field, 0) for each in range(PARTITIONS))


def make_prediction(key: str, time: int, seed: int = 0) -> Prediction:
    """A prediction with a vector drawn from its seed."""
    random = np.random.default_rng(seed)
    vector = random.normal(size=len(plan().schema.names)).astype(np.float32)
    schema = plan().schema.hash
    return Prediction(
        f"id-{key}", key, time, vector_bytes(vector), schema, 0.95, 0.5, "r0001", 1, time
    )


class Reader:
    """Does for one partition what the micro-batch loop does, one batch at a time."""

    def __init__(self, bus: MemoryBus, make: Callable[[], Step], partition: int) -> None:
        self._bus, self._make, self.partition = bus, make, partition
        self.step: Step = make()
        self.places: dict[str, int] = {}

    async def start(self) -> "Reader":
        """Take the partition with a new step, as after a crash; the old one is a zombie then."""
        self.step = self._make()
        self.places = dict(await self.step.open(self.partition, claim=True))
        return self

    async def read(self, limit: int = 1_000) -> int:
        """Process at most `limit` records of each kind; returns how many there were."""
        records = self._next(limit)
        for kind, messages in records.items():
            self.places[kind] = messages[-1].offset + 1
        if records:
            await self.step.process(self.partition, records)
        await self.step.tick()
        return sum(len(messages) for messages in records.values())

    async def try_read(self, limit: int = 1_000) -> int:
        """As `read`, and opens the partition again where the loop would."""
        try:
            return await self.read(limit)
        except (StoreUnavailable, BusUnavailable, Reopen, FencedError):
            self.step.forget(self.partition)
            self.places = dict(await self.step.open(self.partition, claim=False))
            return 1

    async def read_all(self, limit: int = 1_000) -> "Reader":
        """Read until nothing is left."""
        while await self.try_read(limit):
            pass
        return self

    def _next(self, limit: int) -> dict[str, Sequence[Message]]:
        batches = {
            kind: self._bus.log(kind, self.partition)[place : place + limit]
            for kind, place in self.places.items()
        }
        return {kind: messages for kind, messages in batches.items() if messages}


FAULTS = ("", "before", "after", "crash", "zombie", "broker")
"""What may happen to a micro-batch; `halfway`, for steps that write many records, too."""


async def interrupted(
    world: World, make: Callable[[], Step], steps: Sequence[tuple[int, str]]
) -> Reader:
    """Read in cuts of so many records with so many faults; a reader as the last one left it."""
    reader = await world.reader(make).start()
    for count, fault in steps:
        if fault == "zombie":
            heir = await world.reader(make).start()
            with suppress(FencedError):
                await reader.read(count)
            reader = heir
        world.store.faults = [fault] if fault in ("before", "after") else []
        world.bus.reachable = fault != "broker"
        world.bus.room = 1 if fault == "halfway" else None
        await (reader.start() if fault == "crash" else reader.try_read(count))
        world.bus.reachable, world.bus.room, world.store.faults = True, None, []
    return reader
