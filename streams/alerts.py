"""What an operator should know, written to the topic `alerts` when it begins and when it ends."""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from tidemill.bus import Producer
from tidemill.clock import Clock
from tidemill.errors import BusUnavailable
from tidemill.topics import ALERTS
from tidemill.wire import Alert

KEPT = 1_000
_log = structlog.get_logger()


class Alerts:
    """Takes alerts at any time, without waiting, and writes them as soon as the broker takes them.

    While it does not, the newest `KEPT` are held; those of a worker that ends meanwhile are in its
    log alone.
    """

    def __init__(self, producer: Producer, clock: Clock, retry_seconds: float = 1.0) -> None:
        self._producer, self._clock = producer, clock
        self._retry_seconds = retry_seconds
        self._waiting: deque[Alert] = deque(maxlen=KEPT)
        self._came = asyncio.Event()

    @property
    def waiting(self) -> tuple[Alert, ...]:
        """What is not written yet, oldest first."""
        return tuple(self._waiting)

    def began(self, name: str, subject: str, message: str) -> Alert:
        """Something begins that needs attention; hand the result to `ended` when it is over."""
        now = self._clock.now_ms()
        return self._take(Alert(name, subject, "began", message, now, now))

    def ended(self, alert: Alert, message: str) -> Alert:
        """What began is over."""
        now = self._clock.now_ms()
        return self._take(Alert(alert.name, alert.subject, "ended", message, now, alert.began_ms))

    async def run(self, stopping: asyncio.Event) -> None:
        """Write what comes until `stopping` is set, and then once more what waits."""
        stopped = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                await self._first(stopped, self._came.wait())
                if not await self._written() and not stopping.is_set():
                    await self._first(stopped, asyncio.sleep(self._retry_seconds))
            await self._written()
        finally:
            stopped.cancel()

    async def _written(self) -> bool:
        self._came.clear()
        alerts = list(self._waiting)
        if not alerts:
            return True
        try:
            await self._producer.send_many(
                ALERTS, [(alert.subject.encode(), alert.encode()) for alert in alerts]
            )
        except BusUnavailable as error:
            _log.warning("alerts wait for the broker", waiting=len(alerts), error=str(error))
            self._came.set()
            return False
        for alert in alerts:
            if self._waiting and self._waiting[0] is alert:
                self._waiting.popleft()
        return True

    def _take(self, alert: Alert) -> Alert:
        self._waiting.append(alert)
        self._came.set()
        return alert

    @staticmethod
    async def _first(stopped: asyncio.Task[bool], other: object) -> None:
        task = asyncio.ensure_future(other)  # type: ignore[call-overload]
        await asyncio.wait((stopped, task), return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
