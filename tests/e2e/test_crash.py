"""Workers that die anywhere between read and commit: the state is that of a clean replay."""

from __future__ import annotations

import asyncio
import os
import random

from crash_harness import KILLED, PATIENCE_SECONDS
from crash_lanes import Lane
from crash_points import LOST, POINTS, Point
from processes import until

KILLS = int(os.environ.get("TIDEMILL_TEST_KILLS", "12"))
LANES = 4  # side by side, because a start mostly waits


async def test_a_worker_that_dies_at_a_marked_point_loses_and_doubles_nothing(lanes):
    """Every boundary between read and commit, before and after it, and with its answer unread."""

    async def walk(lane: Lane, points: list[Point]) -> None:
        for point in points:
            await _die_at(lane, point)
        await lane.finish()

    found = await lanes(LANES)
    async with asyncio.TaskGroup() as group:
        for number, lane in enumerate(found):
            group.create_task(walk(lane, POINTS[number::LANES]))
    for lane in found:  # one after the other: it is all computing
        await lane.check()


async def test_a_worker_that_dies_at_random_moments_loses_and_doubles_nothing(lanes):
    """SIGKILL while starting, joining, reading and writing, with events flowing all the time."""

    async def storm(lane: Lane, kills: int, rng: random.Random) -> None:
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(lane.traffic.run(stopping, 0.1))
            for _ in range(kills):
                await _die_any_time(lane, rng)
            stopping.set()
        await lane.finish()

    found = await lanes(LANES)
    async with asyncio.TaskGroup() as group:
        for number, lane in enumerate(found):
            group.create_task(storm(lane, -(-KILLS // LANES), random.Random(number)))
    for lane in found:
        await lane.check()


async def _die_at(lane: Lane, point: Point) -> None:
    """Start a worker that dies there, and send until it does."""
    child = await lane.start(point)

    async def reached() -> bool:
        await lane.traffic.send(60)
        await asyncio.sleep(0.1)
        if point.moment == "lost":
            child.require_alive()
            return LOST in child.log
        return child.code.done()

    await until(f"a worker comes to {point}", reached, PATIENCE_SECONDS)
    if point.moment == "lost":  # it must get over it by itself
        await lane.books.worked_off(lane.traffic, child.require_alive)
        await child.kill()
    assert KILLED == await child.ended(), f"{point}: {child.log[-2000:]}"
    await lane.bury(child)


async def _die_any_time(lane: Lane, rng: random.Random) -> None:
    """Kill a worker some moments after its first commit; one in five long before."""
    before = await lane.progress()
    child = await lane.start(with_faust=rng.random() < 0.1)

    async def works() -> bool:
        child.require_alive()
        return await lane.progress() > before

    if rng.random() < 0.2:
        await asyncio.sleep(rng.uniform(0, 1.2))
    else:
        await until("a worker works", works, PATIENCE_SECONDS)
        await asyncio.sleep(rng.uniform(0, 0.25))
    await child.kill()
    await lane.bury(child)
