"""Adopt newer models while serving: verify and try out in a thread, then exchange a reference."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from api.measurements import Measurements, SwapPoint
from api.model import ModelSlot, ServedModel
from learners.snapshot import Snapshot, digest
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.errors import ArtifactError, StoreUnavailable
from tidemill.registry import Registry
from tidemill.schema import FeatureSchema
from tidemill.wire import Announcement

MODEL_FILE = "model.txt"
_KEPT_RELEASES = 2
_MOST_PENDING = 10_000
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where models come from: the newest snapshot's bytes, releases on disk."""

    registry: Registry
    read_snapshot: Callable[[], Awaitable[bytes | None]]


def check(what: str, found: object, allowed: object) -> None:
    """Raise ArtifactError unless `found` is what is allowed."""
    if found != allowed:
        raise ArtifactError(f"{what}: found {found}; allowed: {allowed}")


class ModelLoader:
    """Turns verified bytes into models; called in a worker thread, never in two at once."""

    def __init__(self, project: Project, schema: FeatureSchema, registry: Registry) -> None:
        self._project, self._schema, self._registry = project, schema, registry
        self._trees: dict[str, FrozenTrees] = {}
        self._schemas: dict[str, str] = {}

    @property
    def schema(self) -> str:
        """The hash of the schema every model must have."""
        return self._schema.hash

    def snapshot(
        self, data: bytes, recent: NDArray[np.float32] | None
    ) -> tuple[Snapshot, TreeHead]:
        """The snapshot in these bytes and its head, tried out. Raises ArtifactError."""
        snapshot = Snapshot.decode(data)
        check("snapshot schema", snapshot.schema, self._schema.hash)
        check("snapshot learner", snapshot.learner, self._project.learner.name)
        trees = self._release_trees(snapshot.release)
        head = TreeHead.restore(trees, self._project.learner.learning_rate, snapshot.state)
        self._try_out(head, recent)
        return snapshot, head

    def release(self, name: str, recent: NDArray[np.float32] | None) -> TreeHead:
        """A head that predicts what the release predicts, tried out. Raises ArtifactError."""
        trees = self._release_trees(name)
        head = TreeHead.warm_start(trees, self._project.learner.learning_rate)
        self._try_out(head, recent)
        return head

    def other_schema(self, release: str) -> bool:
        """True for a release known to be made for other features; read from the disk once."""
        if release not in self._schemas:
            try:
                self._schemas[release] = self._registry.manifest(release).schema
            except ArtifactError:
                return False
        return self._schemas[release] != self._schema.hash

    def _release_trees(self, name: str) -> FrozenTrees:
        if name not in self._trees:
            manifest = self._registry.manifest(name)
            check(f"release {name}: schema", manifest.schema, self._schema.hash)
            trees = FrozenTrees.parse(self._registry.read(name, MODEL_FILE))
            check(f"release {name}: features", tuple(trees.features), self._schema.names)
            self._trees[name] = trees
            for old in list(self._trees)[:-_KEPT_RELEASES]:
                del self._trees[old]
        return self._trees[name]

    def _try_out(self, head: TreeHead, recent: NDArray[np.float32] | None) -> None:
        """Predict for recent vectors and two extreme ones; also compiles what never ran before."""
        width = len(self._schema.names)
        rows = np.zeros((2, width), dtype=np.float32)
        rows[1] = np.nan
        vectors = rows if recent is None else np.concatenate((rows, recent))
        for scores in head.predict_both(vectors):
            if not bool(np.all((scores >= 0) & (scores <= 1))):
                raise ArtifactError(f"scores: found {scores.tolist()}; allowed: from 0 to 1")


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
        """Serve the newest snapshot; without one, the newest release; False: the store is away."""
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
        data = await self._source.read_snapshot()
        if data is not None and data != self._seen:
            self._seen = data
            await self._adopt_snapshot(data)

    async def _adopt_snapshot(self, data: bytes) -> None:
        announced = {(a.release, a.snapshot): a.sha256 for a in self._pending}
        try:
            snapshot, head = await asyncio.to_thread(self._loader.snapshot, data, self._slot.recent)
            expected = announced.get((snapshot.release, snapshot.number))
            if expected is not None:
                check("snapshot sha256", digest(data), expected)
        except Exception as error:  # Whatever is wrong with these bytes, the old model stays.
            return self._refuse("snapshot", error)
        self._exchange(snapshot.release, snapshot.number, snapshot.examples, head)

    async def _adopt_release(self) -> None:
        """Only while the prior is served: a later release comes through the learner, caught up."""
        if not self._slot.current.is_prior:
            return
        name = await asyncio.to_thread(self._source.registry.newest, self._loader.schema)
        if name is None:
            return
        try:
            head = await asyncio.to_thread(self._loader.release, name, self._slot.recent)
        except Exception as error:
            return self._refuse(f"release {name}", error)
        self._exchange(name, 0, 0, head)

    def _exchange(self, release: str, number: int, examples: int, head: TreeHead) -> None:
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
            if (announcement.release, announcement.snapshot) > (served.release, served.snapshot):
                self._pending.append(
                    announcement
                )  # Not adopted yet, or refused: the next has them.
                continue
            for produced_ms in announcement.labels_produced_ms:
                seconds = max(0, served.adopted_ms - produced_ms) / 1000
                self._measurements.label_to_weights.add(seconds)

    def _refuse(self, what: str, error: Exception) -> None:
        self._measurements.swaps_refused += 1
        _LOG.error("artifact_refused", artifact=what, error=f"{type(error).__name__}: {error}")
