"""Adopt newer models while serving: verify and try out in a thread, then exchange a reference."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from api.measurements import Measurements, SwapPoint
from api.model import Head, ModelSlot, ServedModel
from learners.families import restore, warm_start
from learners.learner import Frozen, Incremental, Learner
from learners.release import load_release
from learners.snapshot import Snapshot, digest
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.errors import ArtifactError, StoreUnavailable
from tidemill.registry import Registry
from tidemill.schema import FeatureSchema
from tidemill.wire import Announcement

_KEPT_RELEASES = 2
_MOST_PENDING = 10_000
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where models come from: releases on disk, and snapshots in the store.

    `read_snapshots` gives what brings a reader that has this number of this release to the newest:
    a whole one and its changes, or changes alone; nothing for one that has it.
    """

    registry: Registry
    read_snapshots: Callable[[str, int], Awaitable[list[bytes]]]


def check(what: str, found: object, allowed: object) -> None:
    """Raise ArtifactError unless `found` is what is allowed."""
    if found != allowed:
        raise ArtifactError(f"{what}: found {found}; allowed: {allowed}")


class ModelLoader:
    """Turns verified bytes into models; called in a worker thread, never in two at once.

    A learner that is published by its changes exists twice: one answers while the changes go into
    the other, then they change places. What answers is never written to.
    """

    def __init__(self, project: Project, schema: FeatureSchema, registry: Registry) -> None:
        self._project, self._schema, self._registry = project, schema, registry
        self._releases: dict[str, Frozen] = {}
        self._schemas: dict[str, str] = {}
        self._forget()

    def _forget(self) -> None:
        self.have = ("", 0)
        """Release and number of the snapshot that changes are applied to."""
        self._answers: Learner | None = None
        self._spare: Learner | None = None
        self._ahead: list[bytes] = []  # changes that `_answers` has and `_spare` has not

    @property
    def schema(self) -> str:
        """The hash of the schema every model must have."""
        return self._schema.hash

    def snapshot(
        self, records: Sequence[bytes], recent: NDArray[np.float32] | None
    ) -> tuple[Snapshot, Learner]:
        """The last of these snapshots and its learner, tried out. Raises ArtifactError."""
        try:
            chain = [Snapshot.decode(record) for record in records]
            self._check_chain(chain)
            learner = self._restored(chain) if chain[0].whole else self._changed(chain)
            self._try_out(learner, recent)
        except BaseException:
            self._forget()
            raise
        self.have = (chain[-1].release, chain[-1].number)
        return chain[-1], learner

    def release(self, name: str, recent: NDArray[np.float32] | None) -> Learner:
        """A learner that predicts what the release predicts, tried out. Raises ArtifactError."""
        learner = warm_start(self._project.learner, self._release(name), self._schema)
        self._try_out(learner, recent)
        return learner

    def other_schema(self, release: str) -> bool:
        """True for a release known to be made for other features; read from the disk once."""
        if release not in self._schemas:
            try:
                self._schemas[release] = self._registry.manifest(release).schema
            except ArtifactError:
                return False
        return self._schemas[release] != self._schema.hash

    def _check_chain(self, chain: Sequence[Snapshot]) -> None:
        release, number = self.have
        first = chain[0].number if chain[0].whole else number + 1
        for place, each in enumerate(chain):
            check("snapshot schema", each.schema, self._schema.hash)
            check("snapshot learner", each.learner, self._project.learner.name)
            check("snapshot release", each.release, chain[0].release if chain[0].whole else release)
            check("snapshot number", each.number, first + place)
            check("snapshot base", each.base, chain[0].base)

    def _restored(self, chain: Sequence[Snapshot]) -> Learner:
        release = self._release(chain[0].release)
        learner = restore(self._project.learner, release, self._schema, chain[0].state)
        _apply(learner, [change.state for change in chain[1:]])
        self._answers, self._spare, self._ahead = learner, None, []
        return learner

    def _changed(self, chain: Sequence[Snapshot]) -> Learner:
        assert self._answers is not None
        learner = self._spare or self._answers.clone()
        changes = [change.state for change in chain]
        _apply(learner, [*self._ahead, *changes] if self._spare else changes)
        self._answers, self._spare, self._ahead = learner, self._answers, changes
        return learner

    def _release(self, name: str) -> Frozen:
        if name not in self._releases:
            self._releases[name] = load_release(self._registry, name, self._project)
            for old in list(self._releases)[:-_KEPT_RELEASES]:
                del self._releases[old]
        return self._releases[name]

    def _try_out(self, head: Head, recent: NDArray[np.float32] | None) -> None:
        """Predict for recent vectors and two extreme ones; also compiles what never ran before."""
        width = len(self._schema.names)
        rows = np.zeros((2, width), dtype=np.float32)
        rows[1] = np.nan
        vectors = rows if recent is None else np.concatenate((rows, recent))
        most = np.inf if self._project.task.kind == "regression" else 1.0
        for scores in head.predict_both(vectors):
            if not bool(np.all(np.isfinite(scores) & (scores >= 1 - most) & (scores <= most))):
                allowed = "finite values" if most > 1 else "from 0 to 1"
                raise ArtifactError(f"scores: found {scores.tolist()}; allowed: {allowed}")


def _apply(learner: Learner, changes: Sequence[bytes]) -> None:
    if changes and not isinstance(learner, Incremental):
        raise ArtifactError("snapshot: found changes; allowed: a whole state")
    for change in changes:
        assert isinstance(learner, Incremental)
        learner.apply(change)


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
        self._measurements, self._clock = measurements, clock
        self._pending: deque[Announcement] = deque(maxlen=_MOST_PENDING)
        self._seen: bytes | None = None

    def note(self, announcement: Announcement) -> None:
        """Keep what an announced snapshot says of itself until it is served."""
        if announcement.kind == "snapshot":
            self._pending.append(announcement)

    async def adopt_newest(self) -> bool:
        """Serve the newest snapshot; without one, the champion; False: the store is away."""
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
        records = await self._source.read_snapshots(*self._loader.have)
        if records and records[-1] != self._seen:
            self._seen = records[-1]
            await self._adopt_snapshot(records)

    async def _adopt_snapshot(self, records: Sequence[bytes]) -> None:
        announced = {(a.release, a.snapshot): a.sha256 for a in self._pending}
        try:
            snapshot, head = await asyncio.to_thread(
                self._loader.snapshot, records, self._slot.recent
            )
            expected = announced.get((snapshot.release, snapshot.number))
            if expected is not None:
                check("snapshot sha256", digest(records[-1]), expected)
        except Exception as error:  # Whatever is wrong with these bytes, the old model stays.
            return self._refuse("snapshot", error)
        self._exchange(snapshot.release, snapshot.number, snapshot.examples, head)

    async def _adopt_release(self) -> None:
        """Only while the prior is served: a later release comes through the learner, caught up."""
        if not self._slot.current.is_prior:
            return
        name = await asyncio.to_thread(self._source.registry.champion, self._loader.schema)
        if name is None:
            return
        try:
            head = await asyncio.to_thread(self._loader.release, name, self._slot.recent)
        except Exception as error:
            return self._refuse(f"release {name}", error)
        self._exchange(name, 0, 0, head)

    def _exchange(self, release: str, number: int, examples: int, head: Head) -> None:
        now_ms = self._clock.now_ms()
        model = ServedModel(release, number, head, self._loader.schema, examples, now_ms)
        changed = self._slot.adopt(model)
        self._measurements.swaps["release" if changed else "snapshot"] += 1
        if changed:
            self._measurements.release_changes.append(SwapPoint(now_ms, release, number))
            _LOG.info("release_adopted", release=release, snapshot=number, examples=examples)

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
            for produced_ms in announcement.labels_produced_ms:
                seconds = max(0, served.adopted_ms - produced_ms) / 1000
                self._measurements.label_to_weights.add(seconds)

    def _refuse(self, what: str, error: Exception) -> None:
        self._measurements.swaps_refused += 1
        _LOG.error("artifact_refused", artifact=what, error=f"{type(error).__name__}: {error}")
