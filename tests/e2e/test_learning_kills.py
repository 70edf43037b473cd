"""A worker killed at any moment: what the learner holds is what a clean one learns from the log."""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import flights
import pytest
from crash_harness import KILLED, PATIENCE_SECONDS, Zygote
from crash_lanes import SESSION_MS
from crash_points import LOST, Point
from flights import Flights, some_days
from learning_books import LearningBooks
from processes import until

KILLS = int(os.environ.get("TIDEMILL_TEST_KILLS", "4"))
A_KILL = 0.31  # days of flights: with 100 kills all of May
CALLS = "commit:learn send:learn:models"
POINTS = [Point(call, moment) for call in CALLS.split() for moment in ("before", "after", "answer")]
POINTS += [Point("poll:learn", "after"), Point("claim:learn", "after")]
POINTS += [Point("commit:learn", "lost"), Point("send:learn:models", "lost")]

Open = Callable[..., Awaitable[LearningBooks]]


@pytest.fixture
async def books(broker, endpoints, tmp_path: Path) -> AsyncIterator[Open]:
    """`await books(project, flights)`: a project of this name with a release, nothing sent yet."""
    settings = {"TIDEMILL_SESSION_TIMEOUT_MS": SESSION_MS[broker]}
    home, file = tmp_path / "workers", flights.PROJECT_FILE
    async with AsyncExitStack() as stack:
        zygote = Zygote(home, endpoints.kafka, endpoints.redis, settings, file)
        await stack.enter_async_context(zygote)

        async def opened(project: str, some: Flights) -> LearningBooks:
            made = LearningBooks.opened(some, zygote, broker, project)
            return await stack.enter_async_context(made)

        yield opened


async def test_a_learner_killed_at_any_moment_counts_every_example_once(books, tmp_path):
    """While starting, joining, learning; before and after a commit and its announcement."""
    some = Flights.of(some_days(tmp_path, 5, min(31, math.ceil(KILLS * A_KILL))))
    day = Flights.of(some_days(tmp_path, 5, 1))
    stormy, marked = await books("stormy", some), await books("marked", day)
    async with asyncio.TaskGroup() as group:
        group.create_task(_storm(stormy, random.Random(3)))
        group.create_task(_walk(marked))
    for each in (stormy, marked):
        print(await each.check())


async def _storm(books, rng):
    """SIGKILL at random moments, with labels coming all the time."""
    parts = books.parts(KILLS)
    for moments in parts:
        await _die_any_time(books, rng, moments)
    await books.finish()


async def _walk(books):
    """SIGKILL at every marked point."""
    for point, moments in zip(POINTS, books.parts(len(POINTS)), strict=True):
        await _die_at(books, point, moments)
    await books.finish()


async def _die_any_time(books, rng, moments):
    """Kill a worker some moments after it has learned more; one in five any time before."""
    before = await books.learned_to()
    child = await books.start(with_faust=rng.random() < 0.2)

    async def works():
        child.require_alive()
        return await books.learned_to() > before

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(books.send(moments, seconds=1.0))
        if rng.random() < 0.2:
            await asyncio.sleep(rng.uniform(0, 1.2))
        else:
            await until("a worker learns", works, PATIENCE_SECONDS)
            await asyncio.sleep(rng.uniform(0, 0.5))
        await child.kill()
        await sending
    await books.bury(child)


async def _die_at(books, point, moments):
    """Start a worker that dies there, and send until it does."""
    child = await books.start(point)
    bites = [moments[start : start + 20] for start in range(0, len(moments), 20)]

    async def reached():
        if bites:
            await books.send(bites.pop(0))
        if point.moment == "lost":
            child.require_alive()
            return LOST in child.log
        return child.code.done()

    await until(f"a worker comes to {point}", reached, PATIENCE_SECONDS)
    if point.moment == "lost":
        await child.kill()
    assert KILLED == await child.ended(), f"{point}: {child.log[-2000:]}"
    for bite in bites:
        await books.send(bite)
    await books.bury(child)
