"""Adopt newer models while serving: verify and try out in a thread, then exchange a reference."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import structlog

from api.adopting import heap
from api.adopting.loader import ModelLoader, check
from api.adopting.model import Head, ModelSlot, Result, ServedModel, Vectors
from api.measuring.measurements import Measurements, SwapPoint
from learners.learner import Learner
from learners.snapshot import Snapshot, digest
from tidemill.clock import Clock
from tidemill.errors import ArtifactError, StoreUnavailable
from tidemill.registry import Registry
from tidemill.wire import Announcement

CHALLENGER = "challenger"
_MOST_PENDING = 10_000
_GIVE_BACK_SECONDS = 10.0  # between swaps that come one after the other, the holes are used again
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where models come from: releases on disk, and snapshots in the store; and who loads them.

    `read_snapshots` gives what brings a reader that has this number of this release to the newest:
    a whole one and its changes, or changes alone; nothing for one that has it. Without `threads`
    any will do.
    """

    registry: Registry
    read_snapshots: Callable[[str, int], Awaitable[list[bytes]]]
    threads: Executor | None = None

    async def in_thread(self, work: Callable[..., Result], *given: object) -> Result:
        """Have it done beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *given)


@dataclass(frozen=True, slots=True)
class Version:
    """Which model is to be exchanged for the one that serves."""

    release: str
    snapshot: int = 0
    examples: int = 0
    offset: int = 0


def _comes_after(announced: Announcement, served: ServedModel) -> bool:
    if announced.release == served.release:
        return announced.snapshot > served.snapshot
    # Releases take over in any order, an older one after a rollback.
    return announced.time_ms > served.adopted_ms


class Adoption:
    """Keeps the slot at the newest model that passes its checks; what fails changes nothing."""

    def __init__(
        self, loader: ModelLoader, source: ModelSource, slot: ModelSlot,
        measurements: Measurements, clock: Clock,
    ) -> None:  # fmt: skip
        self._loader, self._source, self._slot = loader, source, slot
        loader.make_room = slot.make_room
        self._measurements, self._clock = measurements, clock
        self._pending: deque[Announcement] = deque(maxlen=_MOST_PENDING)
        self._seen: bytes | None = None
        self._refused_release = ""
        self._give_back_at = 0.0

    def note(self, announcement: Announcement) -> None:
        """Keep what an announced snapshot of its own learner says of itself until it is served."""
        if announcement.kind == "snapshot" and announcement.learner == self._loader.learner:
            self._pending.append(announcement)

    async def adopt_newest(self) -> bool:
        """Serve the newest snapshot; without one, the release; False: the store is away."""
        try:
            await self._look_into_store()
        except StoreUnavailable as error:
            _LOG.warning("snapshot_unavailable", error=str(error))
            await self._adopt_release()
            return False
        await self._adopt_release()
        self._observe_labels()
        return True

    async def _look_into_store(self) -> None:
        try:
            records = await self._source.read_snapshots(*self._loader.have)
        except ArtifactError as error:
            return self._refuse_unread(str(error).encode(), error)
        if records and records[-1] != self._seen:
            self._seen = records[-1]
            await self._adopt_snapshot(records)

    async def _adopt_snapshot(self, records: Sequence[bytes]) -> None:
        announced = {(a.release, a.snapshot): a.sha256 for a in self._pending}
        recent = self._slot.recorded.newest()
        try:
            snapshot, head = await self._source.in_thread(self._load, records, announced, recent)
        except Exception as error:  # Whatever is wrong with these bytes, the old model stays.
            # Else what still serves would be the copy that the next changes go into.
            self._loader.forget()
            return self._refuse(f"snapshot of {self._loader.learner}", error)
        version = Version(snapshot.release, snapshot.number, snapshot.examples, snapshot.offset)
        await self._exchange(version, head)

    def _load(
        self,
        records: Sequence[bytes],
        announced: Mapping[tuple[str, int], str],
        recent: Vectors | None,
    ) -> tuple[Snapshot, Learner]:
        """Runs in a thread: on the loop the hash of a large snapshot alone would be a pause."""
        snapshot, learner = self._loader.snapshot(records, recent)
        expected = announced.get((snapshot.release, snapshot.number))
        if expected is not None:
            check("snapshot sha256", digest(records[-1]), expected)
        return snapshot, learner

    async def _adopt_release(self) -> None:
        """Only while the prior is served: a later release comes through the learner, caught up."""
        if not self._slot.current.is_prior:
            return
        name: str | None = self._loader.challenger
        if name and name == self._refused_release:
            return  # it is not tried again and again beside a champion
        try:
            name = name or await asyncio.to_thread(
                self._source.registry.champion, self._loader.schema
            )
            if not name:
                return
            recent = self._slot.recorded.newest()
            head = await self._source.in_thread(self._loader.release, name, recent)
        except Exception as error:
            self._refused_release = name or ""
            return self._refuse(f"release {name}" if name else "roles", error)
        await self._exchange(Version(name), head)

    async def _exchange(self, version: Version, head: Head) -> None:
        now_ms, release = self._clock.now_ms(), version.release
        model = ServedModel(
            release, version.snapshot, head, self._loader.schema, version.examples, now_ms,
            version.offset, self._loader.frozen(release),
        )  # fmt: skip
        changed = self._slot.adopt(model)
        if self._loader.challenger:
            self._measurements.swaps[CHALLENGER] += 1
        else:
            self._measurements.swaps["release" if changed else "snapshot"] += 1
            if changed:
                self._measurements.change_release(SwapPoint(now_ms, release, version.snapshot))
                _LOG.info("release_adopted", release=release, snapshot=version.snapshot,
                          examples=version.examples)  # fmt: skip
        now = asyncio.get_running_loop().time()
        if changed and now >= self._give_back_at:
            self._give_back_at = now + _GIVE_BACK_SECONDS
            await self._source.in_thread(heap.give_back)

    def _observe_labels(self) -> None:
        """Record label to served weights for the labels of announced snapshots up to the served."""
        served = self._slot.current
        if served.is_prior:
            return
        waiting = list(self._pending)
        self._pending.clear()
        for announcement in waiting:
            if self._loader.other_schema(announcement.release):
                continue
            if _comes_after(announcement, served):
                self._pending.append(announcement)  # not adopted yet, or refused: the next has them
                continue
            if self._loader.challenger:
                continue
            for produced_ms in announcement.labels_produced_ms:
                seconds = max(0, served.adopted_ms - produced_ms) / 1000
                self._measurements.label_to_weights.add(seconds)

    def _refuse_unread(self, seen: bytes, error: Exception) -> None:
        """What lies in the store says nothing; said once, until it says something else."""
        if seen != self._seen:
            self._seen = seen
            self._refuse(f"snapshot of {self._loader.learner}", error)

    def _refuse(self, artifact: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        self._measurements.refuse_swap(self._clock.now_ms(), artifact, text)
        _LOG.error("artifact_refused", artifact=artifact, error=text)
