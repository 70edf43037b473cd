"""Hears of new models and sees to it that they are looked at, also when an announcement is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from tidemill.errors import BusUnavailable
from tidemill.wire import Announcement

RETRY_SECONDS = 0.5
LOOK_SECONDS = 2.0
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Watched:
    """Where announcements come from, who is told of each, and the look that follows.

    `look` returns False when it could not see everything and is to be repeated soon.
    """

    announcements: Callable[[], AsyncIterator[Announcement]]
    note: Callable[[Announcement], None]
    look: Callable[[], Awaitable[bool]]


class ModelWatch:
    """Looks when something was announced, and every two seconds anyway."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._wake = asyncio.Event()
        self._wake.set()

    async def run(self) -> None:
        """Look at once and then again and again, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._look_when_woken())

    async def _listen(self) -> None:
        while True:
            try:
                async for announcement in self._watched.announcements():
                    self._watched.note(announcement)
                    self._wake.set()
            except BusUnavailable as error:
                _LOG.warning("announcements_unavailable", error=str(error))
            await asyncio.sleep(RETRY_SECONDS)
            self._wake.set()  # What was announced meanwhile lies in the store.

    async def _look_when_woken(self) -> None:
        """Whatever was announced while a model loads is answered by one more look."""
        while True:
            with suppress(TimeoutError):  # An announcement can be missed; the store cannot.
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if not await self._watched.look():
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()
