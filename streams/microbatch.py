"""The road: poll, process a micro-batch, commit; open a partition again after any failure."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from streams.measurements import Measurements
from streams.step import Reopen, Step
from tidemill.bus import Consumer, Message
from tidemill.errors import BusUnavailable, FencedError, StoreUnavailable

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pace:
    """How much to read at once and how long to wait before trying again."""

    poll_wait_ms: int = 100
    batch_records: int = 5_000
    first_retry_seconds: float = 0.1
    last_retry_seconds: float = 5.0


class MicroBatches:
    """Runs one step on one consumer until told to stop."""

    def __init__(self, step: Step, consumer: Consumer, measurements: Measurements, pace: Pace) -> None:
        self.step = step
        self._consumer = consumer
        self._measurements = measurements
        self._pace = pace
        self._owned: set[int] = set()
        # A rebalance waits until the batch in hand is finished.
        self._busy = asyncio.Lock()

    async def run(self, stopping: asyncio.Event) -> None:
        """Process until `stopping` is set; then finish the batch in hand, flush and leave the group."""
        await self._start(stopping)
        try:
            while not stopping.is_set():
                polled = await self._consumer.poll(self._pace.poll_wait_ms, self._pace.batch_records)
                async with self._busy:
                    owned = self._by_partition(polled).items()
                    await asyncio.gather(*(self._process(p, each, stopping) for p, each in owned))
                    await self._tick(stopping)
                self._measurements.lag(self.step.name, self._consumer.lag())
            async with self._busy:
                await self.step.close()
        finally:
            await self._consumer.stop()

    async def _start(self, stopping: asyncio.Event) -> None:
        wait = self._pace.first_retry_seconds
        while not stopping.is_set():
            try:
                return await self._consumer.start(self._assigned, self._revoked)
            except BusUnavailable as error:
                wait = await self._pause("waiting for the broker", error, wait, stopping)

    async def _tick(self, stopping: asyncio.Event) -> None:
        try:
            await self.step.tick()
        except Reopen as decision:
            await self._open_again(decision.partition)
        except FencedError:
            for partition in tuple(self._owned):
                await self._open_again(partition)
        except (StoreUnavailable, BusUnavailable) as error:
            for partition in tuple(self._owned):
                await self._recover(partition, error, stopping)

    def _by_partition(
        self, polled: Mapping[tuple[str, int], Sequence[Message]]
    ) -> dict[int, dict[str, Sequence[Message]]]:
        grouped: dict[int, dict[str, Sequence[Message]]] = defaultdict(dict)
        for (kind, partition), records in polled.items():
            if partition in self._owned:
                grouped[partition][kind] = records
        return grouped

    async def _process(
        self, partition: int, records: dict[str, Sequence[Message]], stopping: asyncio.Event
    ) -> None:
        started = time.perf_counter()
        try:
            await self.step.process(partition, records)
        except (FencedError, Reopen):
            await self._open_again(partition)
        except (StoreUnavailable, BusUnavailable) as error:
            await self._recover(partition, error, stopping)
        self._measurements.batch(self.step.name, time.perf_counter() - started)

    def _drop(self, partition: int, error: FencedError) -> None:
        """Another worker owns it now: say so and read no more of it until the group assigns it again."""
        _log.warning("fenced", step=self.step.name, partition=partition, error=str(error))
        self._owned.discard(partition)
        self.step.forget(partition)

    async def _recover(self, partition: int, error: Exception, stopping: asyncio.Event) -> None:
        """What became of the batch is unknown: forget it, and go on from what the store says."""
        wait = self._pace.first_retry_seconds
        while not stopping.is_set():
            wait = await self._pause(f"partition {partition} paused", error, wait, stopping)
            try:
                return await self._open_again(partition)
            except StoreUnavailable as again:
                error = again

    async def _open_again(self, partition: int) -> None:
        """Read the partition's state from the store and go on from its offsets."""
        self.step.forget(partition)
        try:
            offsets = await self.step.open(partition, claim=False)
        except FencedError as fenced:
            return self._drop(partition, fenced)
        for kind, offset in offsets.items():
            self._consumer.seek(kind, partition, offset)

    async def _pause(
        self, what: str, error: Exception, wait: float, stopping: asyncio.Event
    ) -> float:
        _log.warning(what, step=self.step.name, error=str(error), retry_seconds=wait)
        try:
            await asyncio.wait_for(stopping.wait(), wait)
        except TimeoutError:
            pass
        return min(wait * 2, self._pace.last_retry_seconds)

    async def _assigned(self, partition: int) -> Mapping[str, int]:
        async with self._busy:
            wait = self._pace.first_retry_seconds
            while True:
                try:
                    offsets = await self.step.open(partition, claim=True)
                except StoreUnavailable as error:
                    wait = await self._pause("waiting for the store", error, wait, asyncio.Event())
                    continue
                self._owned.add(partition)
                _log.info("assigned", step=self.step.name, partition=partition, offsets=dict(offsets))
                return offsets

    async def _revoked(self, partition: int) -> None:
        async with self._busy:
            self._owned.discard(partition)
            self.step.forget(partition)
