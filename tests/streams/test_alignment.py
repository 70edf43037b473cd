"""Records wait for those that come before them on another topic, and for nothing else."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from stream_world import DAY, NOW, World

from streams import alignment
from streams.alerts import Alerts
from streams.alignment import Alignment, in_order
from streams.microbatch import MicroBatches, Pace
from tidemill.topics import LABELS, PREDICTIONS


class Stamped(NamedTuple):
    """A record with the stamp that counts."""

    offset: int
    timestamp: int
    key: bytes | None = None
    value: bytes | None = None


@dataclass
class Behind:
    """What a consumer knows of its partitions, and what it was asked not to read."""

    more: dict[str, int | None] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)

    def behind(self, kind: str, partition: int) -> int | None:
        """As the test says; nothing otherwise."""
        return self.more.get(kind, 0)

    def pause(self, kind: str, partition: int) -> None:
        """Note it."""
        self.paused.add(kind)

    def resume(self, kind: str, partition: int) -> None:
        """Note it."""
        self.paused.discard(kind)


class Clock:
    """Seconds that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def known() -> Behind:
    """A consumer that has read everything."""
    return Behind()


@pytest.fixture
def clock() -> Clock:
    """At 0."""
    return Clock()


@pytest.fixture
def aligned(known: Behind, clock: Clock) -> Alignment:
    """Topics a and b, with a patience of 60 seconds."""
    return Alignment(("a", "b"), known, 60, clock)  # type: ignore[arg-type]


def stamped(*stamps: int, start: int = 0) -> list[Stamped]:
    """Records with these stamps."""
    return [Stamped(start + place, stamp) for place, stamp in enumerate(stamps)]


def test_the_lowest_stamp_comes_first_and_a_topic_keeps_its_order() -> None:
    """Of equal stamps the first kind; a record never overtakes one of its own topic."""
    records = {"a": stamped(1, 9, 3), "b": stamped(1, 2, 10)}
    found = [(kind, record.timestamp) for kind, record in in_order(records, ("a", "b"))]
    assert [("a", 1), ("b", 1), ("b", 2), ("a", 9), ("a", 3), ("b", 10)] == found


def test_a_topic_that_is_read_to_its_end_stalls_nobody(aligned: Alignment) -> None:
    """Everything at hand goes through at once."""
    records = {"b": stamped(5, 6)}
    assert records == aligned.take(0, records)
    assert 0 == aligned.held


@pytest.mark.parametrize("more", [7, None])
def test_a_topic_with_unread_records_is_waited_for(
    aligned: Alignment, known: Behind, more: int | None
) -> None:
    """Also while it is not known whether there are any."""
    known.more = {"b": more}
    assert {} == aligned.take(0, {"a": stamped(1, 5, 9)})
    assert 3 == aligned.held
    assert {"a": stamped(1, 5), "b": stamped(5)} == aligned.take(0, {"b": stamped(5)})
    known.more = {}
    assert {"a": [Stamped(2, 9)]} == aligned.take(0, {})


def test_partitions_wait_for_themselves(aligned: Alignment, known: Behind) -> None:
    """What one partition waits for another may have."""
    known.more = {"b": 1}
    assert {} == aligned.take(0, {"a": stamped(1)})
    both = {"a": stamped(3), "b": stamped(4)}
    assert both == aligned.take(1, both)
    assert 1 == aligned.held


def test_what_does_not_come_is_waited_for_so_long(
    aligned: Alignment, known: Behind, clock: Clock
) -> None:
    """Then the others go on; when it has come after all, they wait again."""
    known.more = {"b": 1}
    assert {} == aligned.take(0, {"a": stamped(1)})
    clock.now = 59
    assert {} == aligned.take(0, {"a": stamped(2, start=1)})
    clock.now = 61
    assert {"a": stamped(1, 2)} == aligned.take(0, {})
    assert {"a": stamped(3, start=2)} == aligned.take(0, {"a": stamped(3, start=2)})
    assert {"b": stamped(4)} == aligned.take(0, {"b": stamped(4)})
    assert {} == aligned.take(0, {"a": stamped(5, start=3)})


def test_no_more_is_read_than_can_be_held(
    aligned: Alignment, known: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic that runs ahead is paused until the other has come."""
    monkeypatch.setattr(alignment, "MOST_HELD", 3)
    known.more = {"b": 5}
    aligned.take(0, {"a": stamped(1, 2)})
    assert set() == known.paused
    aligned.take(0, {"a": stamped(3, start=2)})
    assert {"a"} == known.paused
    aligned.take(0, {"b": stamped(9)})
    assert set() == known.paused


def test_what_is_forgotten_is_read_again(
    aligned: Alignment, known: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing held stays, and nothing stays paused."""
    monkeypatch.setattr(alignment, "MOST_HELD", 1)
    known.more = {"b": 5}
    aligned.take(0, {"a": stamped(1, 2)})
    aligned.forget(0)
    assert (0, set()) == (aligned.held, known.paused)
    known.more = {}
    assert {} == aligned.take(0, {})


@pytest.mark.parametrize("seed", range(20))
def test_any_cut_gives_the_same_order(seed: int) -> None:
    """What is taken, one batch after the other, is the whole in its order."""
    draw = random.Random(seed)
    logs = {
        kind: stamped(*[draw.randrange(30) for _ in range(draw.randrange(40))]) for kind in "ab"
    }
    known, places, found = Behind(), {"a": 0, "b": 0}, []
    aligned = Alignment(("a", "b"), known, 60, lambda: 0.0)  # type: ignore[arg-type]
    while any(places[kind] < len(logs[kind]) for kind in "ab") or aligned.held:
        polled = {}
        for kind in "ab":
            if some := logs[kind][places[kind] :][: draw.randrange(5)]:
                places[kind] += len(some)
                polled[kind] = some
        known.more = {kind: len(logs[kind]) - places[kind] for kind in "ab"}
        found += list(in_order(aligned.take(0, polled), ("a", "b")))
    assert list(in_order(logs, ("a", "b"))) == found


@pytest.mark.parametrize("faults", [[], ["before", "after", "before"]])
async def test_after_an_outage_labels_in_time_are_joined(world: World, faults: list[str]) -> None:
    """The backlog of predictions is read first and reaches days ahead; no wait ends by that."""
    for day in range(40):
        world.prediction(f"k{day}", NOW + day * DAY)
        world.clock.advance(DAY // 2)
        world.label(f"k{day}", 1, NOW + day * DAY + DAY // 2)
        world.clock.advance(DAY // 2)
    world.store.faults = faults
    pace = Pace(5, 7, 0.001, 0.005, align_seconds=60)
    await worked_through(world, pace)
    distinct = {example.sequence: example.prediction.key for example in world.examples()}
    assert ([f"k{day}" for day in range(40)], []) == (list(distinct.values()), world.dead_letters())


async def test_a_topic_without_records_stalls_no_worker(world: World) -> None:
    """Predictions without any label are read, and so are labels without predictions."""
    for key in "abc":
        world.prediction(key)
    await worked_through(world, Pace(5, 7, 0.001, 0.005, align_seconds=60))
    assert 3 == world.fence("join")["predictions"]
    world.label("a")
    await worked_through(world, Pace(5, 7, 0.001, 0.005, align_seconds=60))
    assert 1 == len(world.examples())


async def worked_through(world: World, pace: Pace) -> None:
    """Let a worker of its own read everything that the first partition holds."""
    step = world.join()
    consumer = world.bus.consumer(step.name, step.kinds)
    alerts = Alerts(world.context.producer, world.clock)
    stopping = asyncio.Event()
    loop = MicroBatches(step, consumer, world.measurements, pace, alerts)
    running = asyncio.create_task(loop.run(stopping))
    ends = {kind: len(world.bus.log(kind, 0)) for kind in (PREDICTIONS, LABELS)}
    async with asyncio.timeout(10):
        while any(world.fence("join").get(f"offset:{kind}", 0) < ends[kind] for kind in ends):
            await asyncio.sleep(0.001)
    stopping.set()
    await running
