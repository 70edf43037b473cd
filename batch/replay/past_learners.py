"""A release's learner as it was at offsets of the log: learned again, example by example.

How a stream is cut into calls changes nothing (`learners.learner.Learner`), so a learner that gets
the same examples in the log's order is the one that answered, whatever restarts there were.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import tidemill
from batch.datasets.dataset import Quarantined
from batch.replay.checkpoints import Checkpoints, Line, Ranges
from batch.training_set import logged_vectors, some
from features.archive.logged_examples import LoggedExamples
from features.plan import FeaturePlan
from learners.families import restore, warm_start
from learners.learner import Frozen, Learner
from learners.release import load_release, trained_to
from learners.snapshot import Snapshot
from tidemill.errors import ArtifactError
from tidemill.registry import Registry
from tidemill.schema import FeatureSchema

EVERY = 50_000
"""So many offsets lie between two checkpoints, or a multiple of that."""
MOST_KEPT = 16
"""States that one pass keeps, or about so many: they may be large."""


@dataclass(slots=True)
class Moment:
    """A learner that has had every example before `offset`.

    `sequences` are the highest seen of each partition of the join, `examples` what it has learned.
    """

    learner: Learner
    offset: int
    sequences: dict[int, int] = field(default_factory=dict)
    examples: int = 0

    def take(self, table: pa.Table, schema: FeatureSchema, skipped: Ranges) -> None:
        """Learn what it has not had, as the worker's learner does (`streams.learning.Learning`).

        A sequence counts as seen also where its example is left out or was made for other features.
        """
        fresh = self._fresh(table["join_partition"].to_numpy(), table["sequence"].to_numpy())
        fresh &= pc.equal(table["schema"], schema.hash).to_numpy()
        fresh &= ~Quarantined(skipped).holds(table["offset"].to_numpy())
        rows = np.flatnonzero(fresh)
        if not len(rows):
            return
        taken = some(table, rows)
        self.learner.learn_many(
            logged_vectors(taken["vector"], len(schema.names)),
            taken["label"].to_numpy(),
            taken["weight"].to_numpy(),
        )
        self.examples += len(rows)

    def _fresh(
        self, partitions: NDArray[np.int32], sequences: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which sequences are above all of their partition before them, which is remembered."""
        fresh = np.zeros(len(sequences), bool)
        for partition in np.unique(partitions).tolist():
            rows = np.flatnonzero(partitions == partition)
            reached = self.sequences.get(partition, 0)
            highest = np.maximum.accumulate(np.append(reached, sequences[rows]))
            fresh[rows] = sequences[rows] > highest[:-1]
            self.sequences[partition] = int(highest[-1])
        return fresh


class PastLearners:
    """Learns again what the learners of a project's releases learned; may block on the disk."""

    def __init__(
        self,
        registry: Registry,
        plan: FeaturePlan,
        checkpoints: Checkpoints | None = None,
        every: int = EVERY,
    ) -> None:
        """Without `checkpoints` every way begins at its release, and none is kept."""
        self._registry, self._project, self._schema = registry, plan.project, plan.schema
        self._checkpoints, self._every = checkpoints, every
        self.log = LoggedExamples(registry.home, plan.project.name)

    def first(self, release: str) -> Moment:
        """The learner as its release made it, at the offset that was trained to.

        Raises ArtifactError for a release that is gone, damaged or of other features.
        """
        return self._first(release, load_release(self._registry, release, self._project))

    def at(self, release: str, offsets: Sequence[int], skipped: Ranges) -> Iterator[Moment]:
        """The learner at each of these offsets, which rise and are not before the first.

        It is one object that goes on learning when the next is asked for. Ends early where the
        archive does. Raises ArtifactError as `first` does.
        """
        frozen = load_release(self._registry, release, self._project)
        line = Line(release, self._key(release, frozen), tuple(skipped))
        moment = self._begun(line, frozen, offsets[0])
        reach = self.log.reach(moment.offset)
        wanted = [offset for offset in offsets if offset <= reach]
        if not wanted:
            return
        kept = self._to_keep(line, moment.offset, wanted[-1])
        for stop in self._through(moment, sorted({*wanted, *kept}), skipped):
            if stop in kept:
                self._keep(line, moment)
            if stop in wanted:
                yield moment

    def _first(self, release: str, frozen: Frozen) -> Moment:
        offset, sequences = trained_to(self._registry.manifest(release))
        learner = warm_start(self._project.learner, frozen, self._schema)
        return Moment(learner, offset, sequences)

    def _begun(self, line: Line, frozen: Frozen, offset: int) -> Moment:
        """The last checkpoint before the offset, or the release."""
        saved = self._checkpoints.best(line, offset) if self._checkpoints else None
        if saved is not None and self._checkpoints is not None:
            try:
                learner = restore(self._project.learner, frozen, self._schema, saved.state)
                return Moment(learner, saved.offset, dict(saved.sequences), saved.examples)
            except ArtifactError as error:
                self._checkpoints.drop(line, saved.offset, error)
        return self._first(line.release, frozen)

    def _through(self, moment: Moment, stops: Sequence[int], skipped: Ranges) -> Iterator[int]:
        """Learn up to each of the stops in turn."""
        waiting = deque(stops)
        for table in self.log.between(moment.offset, stops[-1]):
            offsets, begun = table["offset"].to_numpy(), 0
            while waiting and waiting[0] <= offsets[-1]:
                end = int(np.searchsorted(offsets, waiting[0]))
                moment.take(table.slice(begun, end - begun), self._schema, skipped)
                begun, moment.offset = end, waiting[0]
                yield waiting.popleft()
            moment.take(table.slice(begun), self._schema, skipped)
            moment.offset = int(offsets[-1]) + 1
        for stop in waiting:
            moment.offset = stop
            yield stop

    def _to_keep(self, line: Line, first: int, last: int) -> set[int]:
        """The offsets at which a state is to be kept that is not kept yet.

        Always multiples of the same number, so that others find them; of a long way fewer, and the
        last before its goal.
        """
        if self._checkpoints is None:
            return set()
        step = self._every
        while (last - first) // step > MOST_KEPT:
            step *= 2
        goal = last // self._every * self._every
        marks = {*range((first // step + 1) * step, last + 1, step), max(goal, first)} - {first}
        return {offset for offset in marks if not self._checkpoints.has(line, offset)}

    def _keep(self, line: Line, moment: Moment) -> None:
        assert self._checkpoints is not None
        record = Snapshot(
            learner=self._project.learner.name, release=line.release, number=0, base=0,
            schema=self._schema.hash, examples=moment.examples, offset=moment.offset,
            sequences=dict(moment.sequences), state=memoryview(moment.learner.snapshot()),
            created_ms=0, skipped=line.left_out(moment.offset),
        )  # fmt: skip
        self._checkpoints.keep(line, record)

    def _key(self, release: str, frozen: Frozen) -> str:
        """What decides the states on its way, beside the log."""
        reached = sorted(self._registry.manifest(release).offsets.items())
        declared = repr(self._project.learner)
        said = repr((tidemill.__version__, self._schema.hash, frozen.digest, reached, declared))
        return hashlib.sha256(said.encode()).hexdigest()
