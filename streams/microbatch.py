"""The road: poll, process a micro-batch, commit; open a partition again after any failure."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from streams.alerts import Alerts
from streams.alignment import Alignment
from streams.measurements import Measurements
from streams.outage import Outage
from streams.step import Records, Reopen, Step
from tidemill.bus import Consumer, Message
from tidemill.errors import BusUnavailable, FencedError, StoreUnavailable, TidemillError

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pace:
    """How much to read at once and how long to wait before trying again.

    With `align_seconds` the step's topics are taken in the order of their stamps (see
    `streams/alignment.py`), and a record that is said to be there is waited for that long.
    """

    poll_wait_ms: int = 100
    batch_records: int = 50_000
    first_retry_seconds: float = 0.1
    last_retry_seconds: float = 5.0
    align_seconds: float = 0.0


class MicroBatches:
    """Runs one step on one consumer until told to stop."""

    def __init__(
        self,
        step: Step,
        consumer: Consumer,
        measurements: Measurements,
        pace: Pace,
        alerts: Alerts,
    ) -> None:
        self.step = step
        self._consumer = consumer
        self._measurements = measurements
        self._pace = pace
        self._outage = Outage(
            step.name, measurements, alerts, pace.first_retry_seconds, pace.last_retry_seconds
        )
        self._alignment = (
            Alignment(step.kinds, consumer, pace.align_seconds, time.monotonic)
            if pace.align_seconds
            else None
        )
        self._owned: set[int] = set()
        self._next: dict[tuple[str, int], int] = {}
        self._stopping = asyncio.Event()
        self._failure: Exception | None = None
        # A rebalance waits until the batch in hand is finished.
        self._busy = asyncio.Lock()

    async def run(self, stopping: asyncio.Event) -> None:
        """Process until `stopping` is set; then finish the batch in hand, flush, leave the group.

        Raises what the step failed with, unless trying again may help.
        """
        self._stopping = stopping
        await self._start()
        try:
            while not stopping.is_set():
                await self._turn()
            async with self._busy:
                await self.step.close()
        finally:
            await self._consumer.stop()

    async def _start(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._consumer.start(self._assigned, self._revoked)
                return self._outage.worked("reading")
            except BusUnavailable as error:
                await self._pause("reading", "waiting for the broker", error)

    async def _turn(self) -> None:
        """One poll, and what it brought."""
        try:
            polled = await self._consumer.poll(self._pace.poll_wait_ms, self._pace.batch_records)
        except BusUnavailable as error:
            await self._pause("reading", "reading paused", error)
            return
        self._outage.worked("reading")
        async with self._busy:
            if self._failure is not None:
                raise self._failure
            found = self._aligned(self._by_partition(polled))
            # Let all of them finish before an error of one ends the run.
            ended = await asyncio.gather(
                *(self._process(partition, each) for partition, each in found.items()),
                return_exceptions=True,
            )
            for failure in ended:
                if failure is not None:
                    raise failure
            for partition in self._owned - found.keys():
                # A commit whose answer was lost may have covered all there was.
                self._outage.worked(partition)
            await self._tick()
        held = self._alignment.held if self._alignment else 0
        self._measurements.lag(self.step.name, self._consumer.lag() + held)

    async def _tick(self) -> None:
        try:
            await self.step.tick()
            self._outage.worked("tick")
        except Reopen as decision:
            await self._open_again(decision.partition)
        except FencedError:
            for partition in tuple(self._owned):
                await self._open_again(partition)
        except (StoreUnavailable, BusUnavailable) as error:
            await self._recover("tick", tuple(self._owned), error)

    def _by_partition(
        self, polled: Mapping[tuple[str, int], Sequence[Message]]
    ) -> dict[int, dict[str, Sequence[Message]]]:
        grouped: dict[int, dict[str, Sequence[Message]]] = defaultdict(dict)
        for (kind, partition), records in polled.items():
            if partition not in self._owned:
                continue
            # The client may have fetched from elsewhere before it was told where to read on.
            wanted = self._next.get((kind, partition), 0)
            if records[0].offset < wanted:
                records = [record for record in records if record.offset >= wanted]
            if records:
                self._next[kind, partition] = records[-1].offset + 1
                grouped[partition][kind] = records
        return grouped

    def _aligned(self, found: dict[int, dict[str, Sequence[Message]]]) -> Mapping[int, Records]:
        """What may be processed now: of every partition, for an empty poll may end a wait."""
        if self._alignment is None:
            return found
        taken = {p: self._alignment.take(p, found.get(p, {})) for p in sorted(self._owned)}
        return {partition: records for partition, records in taken.items() if records}

    async def _open(self, partition: int, claim: bool) -> Mapping[str, int]:
        offsets = await self.step.open(partition, claim)
        self._next.update({(kind, partition): offset for kind, offset in offsets.items()})
        return offsets

    async def _process(self, partition: int, records: Records) -> None:
        started = time.perf_counter()
        try:
            await self.step.process(partition, records)
            self._outage.worked(partition)
        except (FencedError, Reopen):
            await self._open_again(partition)
        except (StoreUnavailable, BusUnavailable) as error:
            await self._recover(partition, (partition,), error)
        self._measurements.batch(self.step.name, time.perf_counter() - started)

    def _drop(self, partition: int, error: FencedError) -> None:
        """Another worker owns it now: read no more of it until the group assigns it again."""
        _log.warning("fenced", step=self.step.name, partition=partition, error=str(error))
        self._give_up(partition)

    def _give_up(self, partition: int) -> None:
        self._owned.discard(partition)
        self._forget(partition)
        self._outage.worked(partition)

    def _forget(self, partition: int) -> None:
        self.step.forget(partition)
        if self._alignment is not None:
            self._alignment.forget(partition)

    async def _recover(
        self, part: Hashable, partitions: Sequence[int], error: TidemillError
    ) -> None:
        """What became of the batch is unknown: forget it, and go on from what the store says."""
        await self._pause(part, f"partitions {list(partitions)} paused", error)
        for partition in partitions:
            await self._open_again(partition)

    async def _open_again(self, partition: int) -> None:
        """Read the partition's state, as soon as the store answers, and go on from its offsets."""
        self._forget(partition)
        while not self._stopping.is_set():
            try:
                offsets = await self._open(partition, claim=False)
            except FencedError as fenced:
                return self._drop(partition, fenced)
            except StoreUnavailable as error:
                await self._pause(partition, f"partition {partition} paused", error)
                continue
            for kind, offset in offsets.items():
                self._consumer.seek(kind, partition, offset)
            return

    async def _pause(self, part: Hashable, what: str, error: TidemillError) -> None:
        wait = self._outage.failed(part, what, error)
        try:
            await asyncio.wait_for(self._stopping.wait(), wait)
        except TimeoutError:
            pass

    async def _assigned(self, partition: int) -> Mapping[str, int]:
        async with self._busy:
            while not self._stopping.is_set():
                try:
                    offsets = await self._open(partition, claim=True)
                except StoreUnavailable as error:
                    await self._pause(partition, "waiting for the store", error)
                    continue
                except Exception as error:
                    # A client only logs what a callback raises: the loop ends the run with it.
                    self._failure = error
                    break
                self._outage.worked(partition)
                self._owned.add(partition)
                where = dict(offsets)
                _log.info("assigned", step=self.step.name, partition=partition, offsets=where)
                return offsets
        return {}

    async def _revoked(self, partition: int) -> None:
        async with self._busy:
            self._give_up(partition)
