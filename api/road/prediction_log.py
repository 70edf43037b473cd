"""The bounded way from an answer to the broker: predictions wait here so that callers do not."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import perf_counter

import structlog

from api.http.errors import refuse_full_queue
from api.measuring.measurements import Measurements
from api.resources.predictions import RecentPredictions
from api.road.bad_cases import RulesBySchema
from api.road.shadows import Shadows
from tidemill import topics
from tidemill.bus import Headers, Outgoing, Producer
from tidemill.errors import BusUnavailable
from tidemill.wire import Prediction

_LOG = structlog.get_logger()
_SEND_AT_ONCE = 500
_GATHER_SECONDS = 0.02
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 0.05, 2.0


class PredictionLog:
    """Keeps predictions until the broker has them; a score that would not fit is refused before.

    `reserve` takes the place before a request is scored, `put` fills it, the task that runs `run`
    empties it. Where there are challengers, their scores come into the records here.
    """

    def __init__(
        self,
        producer: Producer,
        rules: RulesBySchema,
        capacity: int,
        measurements: Measurements,
        shadows: Shadows | None = None,
    ) -> None:
        self._producer, self._rules, self._capacity = producer, rules, capacity
        self._measurements, self._shadows = measurements, shadows
        self._queue: deque[Prediction] = deque()
        self._carried: dict[str, Headers] = {}
        self.recent = RecentPredictions()
        """The newest predictions, whether or not the broker has them."""
        self._taken = 0
        self._wake = asyncio.Event()
        # Gathering must not fill a small queue while the broker has nothing to do.
        self._plenty = min(_SEND_AT_ONCE, max(1, capacity // 4))
        self._gathered = asyncio.Event()
        self._closing = False

    @property
    def depth(self) -> int:
        """Predictions that the broker has not acknowledged, and places reserved for more."""
        return self._taken

    def reserve(self, count: int, slow: bool = False) -> None:
        """Take `count` places. Raises Refused (503) when there are not so many left.

        What is `slow` to fill them may only have half of all: it must not crowd out the others.
        """
        capacity = max(1, self._capacity // 2) if slow else self._capacity
        if self._taken + count > capacity:
            raise refuse_full_queue(self._taken, capacity)
        self._taken += count

    def release(self, count: int) -> None:
        """Give reserved places back, unused."""
        self._taken -= count

    def carry(self, headers: Mapping[str, Headers]) -> None:
        """What is to stand beside the records of these predictions, by their ids; call it first."""
        self._carried.update(headers)

    def put(self, predictions: Sequence[Prediction]) -> None:
        """Hand over predictions whose places were reserved. Never blocks."""
        self._queue.extend(predictions)
        self.recent.put(predictions)
        self._wake.set()
        if len(self._queue) >= self._plenty:
            self._gathered.set()

    async def run(self) -> None:
        """Send until `close`, then what is left; each group goes out before the next begins."""
        while self._queue or not self._closing:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            if len(self._queue) < self._plenty and not self._closing:
                # A produce request costs the same for one record as for many, and nobody waits.
                self._gathered.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_GATHER_SECONDS):
                        await self._gathered.wait()
            count = min(len(self._queue), _SEND_AT_ONCE)
            await self._finish([self._queue.popleft() for _ in range(count)])
            self._taken -= count

    def close(self) -> None:
        """Let `run` end once everything has been sent."""
        self._closing = True
        self._wake.set()
        self._gathered.set()

    async def _finish(self, group: list[Prediction]) -> None:
        """Complete a group's records and send them, then the bad cases among them."""
        if self._shadows is not None and self._shadows.wanted():
            try:
                await self._shadows.add(group, self._crowded)
            except Exception as error:  # whatever becomes of shadows, the log is written
                _LOG.exception("shadows_failed", exc_info=error)
        started = perf_counter()
        await self._send(topics.PREDICTIONS, self._records(group))
        self._measurements.stage_seconds["log"].add(perf_counter() - started)
        found = self._rules.judge(group)
        if found:
            cases: list[Outgoing] = [(c.prediction.key.encode(), c.encode()) for c in found]
            await self._send(topics.BADCASES, cases)

    def _crowded(self) -> bool:
        """True when callers would soon be refused."""
        return self._taken > self._capacity // 2

    def _records(self, group: Sequence[Prediction]) -> list[Outgoing]:
        if not self._carried:
            return [(p.key.encode(), p.encode()) for p in group]
        carried = [self._carried.pop(p.id, None) for p in group]
        return [
            (p.key.encode(), p.encode(), headers) if headers else (p.key.encode(), p.encode())
            for p, headers in zip(group, carried, strict=True)
        ]

    async def _send(self, kind: str, records: Sequence[Outgoing]) -> None:
        """Send until the broker acknowledges; waits longer after each failure."""
        wait = _FIRST_RETRY_SECONDS
        while True:
            try:
                await self._producer.send_many(kind, records)
                return
            except Exception as error:  # whatever it is, what was answered must not be lost
                text = str(error) if isinstance(error, BusUnavailable) else repr(error)
                _LOG.warning("broker_unavailable", topic=kind, waiting=self._taken,
                             retry_seconds=wait, error=text)  # fmt: skip
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LAST_RETRY_SECONDS)
