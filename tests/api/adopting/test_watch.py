"""New models are looked for when announced, after a failure, and every now and then anyway."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.adopting import watch
from api.adopting.watch import ModelWatch, Watched
from tidemill.errors import BusUnavailable
from tidemill.wire import Announcement

NEWS = Announcement("release", "head", "r0002", 0, "", 1)


class Looks:
    """Announcements from a queue; counts the looks, which say what they are told to."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Announcement | Exception] = asyncio.Queue()
        self.noted: list[Announcement] = []
        self.count, self.good = 0, True

    async def announcements(self) -> AsyncIterator[Announcement]:
        """What is put into the queue; an exception is raised."""
        while True:
            found = await self.queue.get()
            if isinstance(found, Exception):
                raise found
            yield found

    async def look(self) -> bool:
        """One more look."""
        self.count += 1
        return self.good


@pytest.fixture
async def looks(monkeypatch):
    """A watch that runs, whose times are milliseconds."""
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.001)
    found = Looks()
    watched = Watched(found.announcements, found.noted.append, found.look)
    task = asyncio.create_task(ModelWatch(watched).run())
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_looks_at_once_and_when_something_is_announced(looks, until):
    """Each announcement is noted before the look it causes."""
    await until(lambda: looks.count == 1)
    looks.queue.put_nowait(NEWS)
    await until(lambda: looks.count == 2)
    assert [NEWS] == looks.noted


async def test_it_looks_again_soon_when_it_could_not_see(looks, until):
    """A store that was away is asked again."""
    looks.good = False
    await until(lambda: looks.count >= 3)


async def test_a_broker_that_was_away_is_listened_to_again(looks, until):
    """And what was announced meanwhile is looked for."""
    await until(lambda: looks.count == 1)
    looks.queue.put_nowait(BusUnavailable("gone"))
    await until(lambda: looks.count == 2)
    looks.queue.put_nowait(NEWS)
    await until(lambda: looks.noted == [NEWS])


async def test_an_announcement_that_was_lost_does_not_matter(looks, until, monkeypatch):
    """After a while it looks anyway."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.001)
    await until(lambda: looks.count == 1)
    looks.queue.put_nowait(NEWS)
    await until(lambda: looks.count >= 4)
