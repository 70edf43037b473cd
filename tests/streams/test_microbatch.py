"""The road: pauses, reopenings, rebalances and stops, with nothing lost or doubled."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from stream_world import PARTITIONS, World

from streams.alerts import Alerts
from streams.measurements import Measurements
from streams.microbatch import MicroBatches, Pace
from streams.step import Records, Step
from tidemill.errors import ArtifactError, BusUnavailable, StateLost
from tidemill.memory_bus import MemoryConsumer
from tidemill.topics import EVENTS

PACE = Pace(poll_wait_ms=5, batch_records=7, first_retry_seconds=0.001, last_retry_seconds=0.005)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds; fails after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


class Worker:
    """One step on one member of its group, as a task."""

    def __init__(self, world: World, step: Step, pace: Pace = PACE) -> None:
        self.step = step
        self.consumer = world.bus.consumer(step.name, step.kinds)
        self.alerts = Alerts(world.context.producer, world.clock)
        self.loop = MicroBatches(step, self.consumer, Measurements(), pace, self.alerts)
        self.stopping = asyncio.Event()
        self.task = asyncio.create_task(self.loop.run(self.stopping))

    async def stop(self) -> None:
        """Stop as SIGTERM does."""
        self.stopping.set()
        async with asyncio.timeout(10):
            await self.task


@asynccontextmanager
async def running(world: World, step: Step) -> AsyncIterator[Worker]:
    """A worker that is stopped at the end."""
    worker = Worker(world, step)
    try:
        yield worker
    finally:
        await worker.stop()


class Gate:
    """A step that holds each micro-batch until it is let through, and notes what happens."""

    name = "gate"
    kinds = (EVENTS,)

    def __init__(self) -> None:
        self.open_gate = asyncio.Event()
        self.noted: list[str] = []
        self.error: Exception | None = None
        self.refuses_to_open: Exception | None = None

    async def open(self, partition: int, claim: bool) -> Mapping[str, int]:
        """Begin at the beginning, or raise."""
        if self.refuses_to_open:
            raise self.refuses_to_open
        self.noted.append(f"open {partition}")
        return {EVENTS: 0}

    async def process(self, partition: int, records: Records) -> None:
        """Wait at the gate."""
        self.noted.append(f"begin {partition}")
        await self.open_gate.wait()
        if self.error:
            raise self.error
        self.noted.append(f"end {partition}")

    def forget(self, partition: int) -> None:
        """Note it."""
        self.noted.append(f"forget {partition}")

    async def tick(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Note it."""
        self.noted.append("close")


def fill(world: World, count: int) -> None:
    """Append events to all partitions."""
    for i in range(count):
        world.event(i % PARTITIONS, card=f"c{i % 5}")


async def test_everything_is_applied_once(world: World) -> None:
    """Two steps in a row work through what was there and what comes while they run."""
    fill(world, 40)
    async with running(world, world.rekey()), running(world, world.fold()):
        await until(lambda: world.total("updates", "events_applied") == 40)
        fill(world, 40)
        await until(lambda: world.total("updates", "events_applied") == 80)
    assert 80 == world.total("events", "events_read")


async def test_a_store_that_goes_away_loses_and_doubles_nothing(world: World) -> None:
    """While the store is gone the step pauses; then it goes on from what was committed."""
    world.store.faults = ["before", "after"] * 6
    fill(world, 60)
    async with running(world, world.rekey()), running(world, world.fold()):
        await until(lambda: world.total("updates", "events_applied") >= 20)
        world.store.gone = True
        fill(world, 30)
        await until(lambda: world.store.refusals > 0)
        world.store.gone = False
        await until(lambda: world.total("updates", "events_applied") >= 90)
    assert (90, 90) == (
        world.total("events", "events_read"), world.total("updates", "events_applied")
    )  # fmt: skip


async def test_a_store_that_is_down_at_the_start_is_waited_for(world: World) -> None:
    """A worker that starts before the store opens its partitions once it answers."""
    world.store.gone = True
    fill(world, 9)
    worker = Worker(world, world.rekey())
    await until(lambda: worker.consumer in worker.consumer.group._members)
    assert {} == world.store.fences
    world.store.gone = False
    await until(lambda: world.total("events", "events_read") == 9)
    await worker.stop()


async def test_a_stop_does_not_wait_for_a_store_that_is_down(world: World) -> None:
    """SIGTERM ends a worker whose store never answered."""
    world.store.gone = True
    worker = Worker(world, world.rekey())
    await until(lambda: worker.consumer in worker.consumer.group._members)
    await worker.stop()
    assert worker.task.exception() is None


async def test_a_fence_that_closes_while_the_store_is_gone_is_survived(world: World) -> None:
    """A store that goes away while a partition is opened again only makes it wait."""
    fill(world, 3)
    async with running(world, world.rekey()) as worker:
        await until(lambda: world.total("events", "events_read") == 3)
        world.fence("events", 0)["offset:events"] = 0  # the next commit is refused
        world.event(0)
        commit = world.store.commit

        async def refused_then_gone(each) -> None:
            world.store.commit = commit
            try:
                await commit(each)
            finally:
                world.store.gone = True

        world.store.commit = refused_then_gone
        await until(lambda: world.store.gone)
        world.store.gone = False
        await until(lambda: world.fence("events", 0)["offset:events"] == 2)
        assert not worker.task.done()


async def test_a_broker_that_is_down_at_the_start_is_waited_for(world: World) -> None:
    """A worker that starts before the broker joins once it answers."""
    world.bus.reachable = False
    fill(world, 9)
    async with running(world, world.rekey()) as worker:
        await until(lambda: worker.stopping is not None)
        assert () == worker.consumer.partitions
        world.bus.reachable = True
        await until(lambda: world.total("events", "events_read") == 9)


async def test_a_broker_that_goes_away_is_waited_for(world: World) -> None:
    """Writes that fail are made again, and each event counts once."""
    fill(world, 9)
    async with running(world, world.rekey()), running(world, world.fold()):
        await until(lambda: world.total("updates", "events_applied") == 9)
        world.bus.room = 1
        fill(world, 9)
        await until(lambda: not world.bus.reachable)
        world.bus.reachable = True
        await until(lambda: world.total("updates", "events_applied") == 18)
    assert 18 == world.total("events", "events_read")


async def test_reading_that_fails_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the broker while reading is no end of the run."""
    failures = [BusUnavailable("one"), BusUnavailable("two")]
    poll = MemoryConsumer.poll

    async def failing(self: MemoryConsumer, wait_ms: int, limit: int):
        if failures:
            raise failures.pop()
        return await poll(self, wait_ms, limit)

    monkeypatch.setattr(MemoryConsumer, "poll", failing)
    fill(world, 9)
    async with running(world, world.rekey()):
        await until(lambda: world.total("events", "events_read") == 9)
    assert [] == failures


async def test_a_fenced_partition_is_dropped(world: World) -> None:
    """A worker whose session ended unnoticed stops writing at its first refused commit."""
    async with running(world, world.rekey()) as old:
        await until(lambda: len(old.consumer.partitions) == PARTITIONS)
        await until(lambda: world.total("events", "epoch") == PARTITIONS)
        await world.bus.expire(old.consumer)
        async with running(world, world.rekey()) as new:
            await until(lambda: world.total("events", "epoch") == 2 * PARTITIONS)
            fill(world, 30)
            await until(lambda: world.total("events", "events_read") == 30)
            await until(lambda: old.consumer.lag() == 0)
            async with old.loop._busy:
                assert set() == old.loop._owned
            assert PARTITIONS == len(new.consumer.partitions)
    assert 30 == world.total("events", "events_read")


async def test_a_fence_that_is_gone_ends_the_run(world: World) -> None:
    """Nobody took over a state that was removed: waiting for the group would be for ever."""
    worker = Worker(world, world.rekey())
    await until(lambda: world.total("events", "epoch") == PARTITIONS)
    world.store.fences.clear()
    fill(world, 9)
    with pytest.raises(StateLost, match="found no epoch; allowed: 1 or later"):
        await asyncio.wait_for(worker.task, 10)


async def test_partitions_move_when_a_worker_joins_and_leaves(world: World) -> None:
    """While members come and go, every event is read by one of them, once."""
    async with running(world, world.rekey()) as first:
        fill(world, 30)
        async with running(world, world.rekey()) as second:
            await until(lambda: len(second.consumer.partitions) == 1)
            assert (0, 1) == first.consumer.partitions
            fill(world, 30)
            await until(lambda: world.total("events", "events_read") == 60)
        assert (0, 1, 2) == first.consumer.partitions
        fill(world, 30)
        await until(lambda: world.total("events", "events_read") == 90)


async def test_a_rebalance_waits_for_the_batch_in_hand(world: World) -> None:
    """A partition is given up only after its micro-batch is finished."""
    world.event(0)
    gate = Gate()
    worker = Worker(world, gate)
    await until(lambda: "begin 0" in gate.noted)
    heir = Worker(world, Gate())
    for _ in range(20):
        await asyncio.sleep(0)
    assert [] == [note for note in gate.noted if note.startswith("forget")]
    gate.open_gate.set()
    await until(lambda: "forget 0" in gate.noted)
    assert gate.noted.index("end 0") < gate.noted.index("forget 0")
    heir.step.open_gate.set()
    await heir.stop()
    await worker.stop()


async def test_a_clean_stop_finishes_the_batch_and_leaves(world: World) -> None:
    """After SIGTERM the batch in hand ends, the step is closed, and the group is left."""
    world.event(0)
    gate = Gate()
    worker = Worker(world, gate)
    await until(lambda: "begin 0" in gate.noted)
    worker.stopping.set()
    gate.open_gate.set()
    await worker.stop()
    order = [gate.noted.index(note) for note in ("begin 0", "end 0", "close")]
    assert sorted(order) == order
    assert [] == worker.consumer.group._members


async def test_a_clean_stop_flushes(world: World) -> None:
    """What was learned or buffered and not yet written is written at the stop."""
    world.publish()
    worker = Worker(world, world.learn(interval_ms=10_000_000_000_000))
    await until(lambda: worker.consumer.partitions == (0,))
    world.example(1)
    await until(lambda: worker.step.learned == 1)
    await worker.stop()
    assert 1 == world.fence("learn")["offset:examples"]


async def test_an_error_that_no_retry_helps_ends_the_run(world: World) -> None:
    """The run raises what the step raised, once the other partitions' batches are finished."""
    fill(world, 3)
    gate = Gate()
    gate.error = ValueError("broken")
    gate.open_gate.set()
    worker = Worker(world, gate)
    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(worker.task, 10)
    assert [] == worker.consumer.group._members
    assert "close" not in gate.noted


async def test_an_error_while_opening_ends_the_run(world: World) -> None:
    """A client only logs what a callback raises, so the loop itself ends with it."""
    gate = Gate()
    gate.refuses_to_open = ArtifactError("snapshot: broken")
    worker = Worker(world, gate)
    with pytest.raises(ArtifactError, match="broken"):
        await asyncio.wait_for(worker.task, 10)


async def test_an_error_while_opening_in_a_rebalance_ends_the_run(world: World) -> None:
    """A partition that cannot be opened when another worker joins ends the one who had to."""
    gate, other = Gate(), Gate()
    worker = Worker(world, gate)
    await until(lambda: len(worker.consumer.partitions) == PARTITIONS)
    gate.refuses_to_open = ArtifactError("snapshot: broken")
    async with running(world, other):
        with pytest.raises(ArtifactError, match="broken"):
            await asyncio.wait_for(worker.task, 10)
        await until(lambda: other.noted.count("open 0") == 1)


async def test_a_new_release_makes_the_learner_open_again(world: World) -> None:
    """A step's own decision to open again is carried out."""
    world.publish()
    learn = world.learn()
    async with running(world, learn):
        await until(lambda: learn.version == ("r0001", 1))
        world.example(1)
        await until(lambda: learn.version == ("r0001", 2))
        world.publish(seed=2)
        learn.wake()
        await until(lambda: learn.version == ("r0002", 1))
    assert 1 == world.fence("learn")["offset:examples"]


async def test_an_outage_is_announced_when_it_begins_and_ends(world: World) -> None:
    """However often the store refuses, one alert begins and one ends, also without new records."""
    fill(world, 30)
    async with running(world, world.rekey()) as worker:
        await until(lambda: world.total("events", "events_read") == 30)
        world.store.gone = True
        world.event(0)
        await until(lambda: world.store.refusals > 3)
        world.store.gone = False
        await until(lambda: len(worker.alerts._waiting) == 2)
        world.store.faults = ["after"]  # applied, and yet the answer is lost
        world.event(0)
        await until(lambda: len(worker.alerts._waiting) == 4)
    states = [(alert.subject, alert.state) for alert in worker.alerts._waiting]
    assert [("events", "began"), ("events", "ended")] * 2 == states


async def test_a_store_that_only_refuses_writes_is_not_written_around(world: World) -> None:
    """While the store is full nothing is sent to the broker over and over."""
    fill(world, 9)
    async with running(world, world.rekey()) as worker:
        await until(lambda: world.total("events", "events_read") == 9)
        sent = len(world.bus.log("updates", 0))
        world.store.faults = ["before"] * 8
        world.event(0)
        await until(lambda: len(worker.alerts._waiting) == 2)
        await until(lambda: world.total("events", "events_read") == 10)
    assert 2 >= len(world.bus.log("updates", 0)) - sent
