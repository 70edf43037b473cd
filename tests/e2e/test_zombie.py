"""Two workers share a project: partitions change hands, and a paused one wakes up too late."""

from __future__ import annotations

import asyncio

from crash_harness import PATIENCE_SECONDS, Child
from crash_lanes import PARTITIONS, Lane
from crash_points import ASLEEP, Point
from processes import until

STEPS = ("events", "updates")
ZOMBIES = [
    Point("send:events:updates", "pause", 6),  # wakes up and sends what another has sent
    Point("commit:events", "pause", 3),
    Point("commit:updates", "pause", 3),
    Point("poll:archive", "pause", 2),  # wakes up with records that another has archived
]


async def test_partitions_that_change_hands_lose_and_double_nothing(lanes):
    """A second worker joins, a third comes and goes, the first dies: all while events flow."""
    (lane,) = await lanes(1)
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(lane.traffic.run(stopping, 0.1))
        first = await lane.start(with_faust=True)
        await _owns(first, PARTITIONS)
        second = await lane.start(with_faust=True)
        await _owns(second, 1)
        third = await lane.start()
        await _owns(third, 1)
        assert 0 == await third.stop()
        third = await lane.start()
        await _owns(third, 1)
        await third.kill()
        await first.kill()
        await _advances(lane, second)
        stopping.set()
    await lane.books.worked_off(lane.traffic, second.require_alive)
    assert 0 == await second.stop()
    await lane.check()


async def test_a_zombie_that_wakes_up_is_fenced_and_goes_on(lanes):
    """SIGSTOP with a batch in hand until another has it; what the zombie then writes is refused."""

    async def haunt(lane: Lane, point: Point) -> None:
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(lane.traffic.run(stopping, 0.1))
            zombie = await lane.start(point)
            await zombie.says(ASLEEP)
            heir = await lane.start()
            await _owns(heir, PARTITIONS)
            await _advances(lane, heir)
            asleep = len(zombie.log)
            zombie.wake()
            step = point.call.split(":")[1]
            # The group may take the archive's partition from it before its next write is refused:
            # it says nothing then, and the books below tell whether anything was written twice.
            if step != "archive":
                await _says(zombie, asleep, "fenced", step)
            await _says(zombie, asleep, "assigned", step)
            await heir.kill()
            await _advances(lane, zombie)  # by then all of it is the zombie's
            stopping.set()
        await lane.books.worked_off(lane.traffic, zombie.require_alive)
        assert 0 == await zombie.stop()

    found = await lanes(len(ZOMBIES))
    async with asyncio.TaskGroup() as group:
        for lane, point in zip(found, ZOMBIES, strict=True):
            group.create_task(haunt(lane, point))
    for lane in found:
        await lane.check()


async def _owns(child: Child, partitions: int) -> None:
    """Wait until a worker was given so many partitions of both steps of the features."""

    async def given() -> list[int]:
        child.require_alive()
        lines = [line.split() for line in child.log.splitlines() if "assigned" in line]
        return [
            len({word for line in lines if f"step={step}" in line for word in line
                 if word.startswith("partition=")})
            for step in STEPS
        ]  # fmt: skip

    await until(
        "a worker has partitions",
        given,
        PATIENCE_SECONDS,
        good=lambda found: min(found) >= partitions,
    )


async def _advances(lane: Lane, child: Child) -> None:
    """Wait until every partition of both steps has gone on from where it stands now."""

    async def offsets() -> list[int]:
        child.require_alive()
        return [
            (await lane.books.fence(step, partition)).get(f"offset:{step}", 0)
            for step in STEPS
            for partition in range(PARTITIONS)
        ]

    before = await offsets()
    await until("every partition goes on", offsets, PATIENCE_SECONDS,
                good=lambda now: all(n > b for n, b in zip(now, before, strict=True)))  # fmt: skip


async def _says(child: Child, start: int, word: str, step: str) -> None:
    """Wait until a line that was written after `start` says it of the step."""

    async def said() -> bool:
        child.require_alive()
        lines = child.log[start:].splitlines()
        return any(word in line and f"step={step}" in line for line in lines)

    await until(f"a zombie says {word} of {step}", said, PATIENCE_SECONDS)
