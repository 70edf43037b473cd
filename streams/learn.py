"""Examples → learner → snapshots; a new release catches up before it takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import structlog

from learners.progress import SlidingMetrics
from learners.snapshot import Snapshot, digest
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from streams.context import Context
from streams.fencing import Ownership
from streams.step import Records, Reopen
from tidemill.bus import Message
from tidemill.errors import ArtifactError
from tidemill.registry import Registry
from tidemill.topics import EXAMPLES, MODELS
from tidemill.wire import Announcement, Example, decode, vectors

MODEL_FILE = "model.txt"
LOOK_MS = 5_000  # a release whose announcement went to another worker is found this much later
_log = structlog.get_logger()


@dataclass
class _Learner:
    """One release's learner and how far it has come."""

    release: str
    head: TreeHead
    number: int
    examples: int
    offset: int
    sequences: dict[int, int]

    def learn(self, examples: Sequence[tuple[int, Example]], schema: str) -> list[Example]:
        """Learn those it has not had, in order; returns them. Other schemas only count as seen."""
        fresh = []
        for offset, example in examples:
            if offset < self.offset:
                continue
            self.offset = offset + 1
            if example.sequence <= self.sequences.get(example.partition, 0):
                continue
            self.sequences[example.partition] = example.sequence
            if example.prediction.schema == schema:
                fresh.append(example)
        if fresh:
            labels = np.array([example.label for example in fresh], dtype=np.float64)
            self.head.learn_many(vectors([example.prediction for example in fresh]), labels)
            self.examples += len(fresh)
        return fresh


class Learn:
    """One learner of one project; its state and the offsets it has learned are one snapshot."""

    name = "learn"
    kinds = (EXAMPLES,)

    def __init__(self, context: Context, registry: Registry, interval_ms: int) -> None:
        self._names, self._store, self._producer = context.names, context.store, context.producer
        self._measurements, self._clock = context.measurements, context.clock
        self._registry, self._interval_ms = registry, interval_ms
        self._schema = context.plan.schema.hash
        declared = context.plan.project.learner
        self._learner, self._learning_rate = declared.name, declared.learning_rate
        self.progress = SlidingMetrics()
        self._owned: Ownership | None = None
        self._is_open = False
        self._champion: _Learner | None = None
        self._candidate: _Learner | None = None
        self._news = False
        self._refused: str | None = None
        self._produced_ms: list[int] = []
        self._unsaved = False
        self._to_announce: Announcement | None = None
        self._saved_ms = self._looked_ms = 0

    @property
    def version(self) -> tuple[str, int]:
        """Release and number of the newest snapshot; empty before the first release."""
        return (self._champion.release, self._champion.number) if self._champion else ("", 0)

    @property
    def learned(self) -> int:
        """The distinct examples the champion covers, those its release was trained on included."""
        return sum(self._champion.sequences.values()) if self._champion else 0

    def wake(self) -> None:
        """A release was announced: look at the registry at the next opportunity."""
        self._news = True

    async def open(self, partition: int, claim: bool) -> Mapping[str, int]:
        """Restore the newest snapshot; when there is a newer release, start it catching up."""
        if claim or self._owned is None:
            self._owned = Ownership(self._store, self._names, self.name, partition)
        await self._owned.open(claim)
        self._news, self._is_open = False, True
        self._champion, self._candidate, self._produced_ms = None, None, []
        (stored,) = await self._store.read([self._names.snapshot(self._learner)])
        newest = await self._newest()
        if stored is not None:
            self._champion = await asyncio.to_thread(self._restore, Snapshot.decode(stored))
            self._to_announce = self._announcement(stored)
        if newest is not None and newest != self.version[0]:
            try:
                await self._begin(newest)
            except ArtifactError as error:
                self._refused = newest
                _log.error("release refused", release=newest, error=str(error))
        started = [each.offset for each in (self._champion, self._candidate) if each]
        return {EXAMPLES: min(started, default=0)}

    async def process(self, partition: int, records: Records) -> None:
        """Learn one micro-batch; publish when it is time."""
        messages = records[EXAMPLES]
        examples = [(message.offset, _example(message)) for message in messages]
        if self._candidate is not None:
            self._candidate.learn(examples, self._schema)
        if self._champion is None:
            return
        fresh = self._champion.learn(examples, self._schema)
        self._note(fresh)
        self._unsaved = self._unsaved or bool(fresh)
        await self.tick()

    def forget(self, partition: int) -> None:
        """Drop the learners; the snapshot in the store is what counts."""
        self._champion = self._candidate = None
        self._unsaved = self._is_open = False

    async def tick(self) -> None:
        """Notice a new release; publish when something was learned and the interval is over."""
        now = self._clock.now_ms()
        if self._is_open and (self._news or now - self._looked_ms >= LOOK_MS):
            self._news = False
            if await self._newest() not in (None, *self._known()):
                raise Reopen(self.name, 0)
        await self._take_over()
        await self._announce()
        if self._unsaved and self._clock.now_ms() - self._saved_ms >= self._interval_ms:
            await self._publish()

    async def close(self) -> None:
        """Keep what was learned since the last snapshot."""
        if self._unsaved:
            await self._publish()

    async def _newest(self) -> str | None:
        """The newest release of this schema; others are other learners' business."""
        self._looked_ms = self._clock.now_ms()
        return await asyncio.to_thread(self._registry.newest, self._schema)

    def _known(self) -> tuple[str | None, ...]:
        """The releases that need no new start: learned on, catching up, or refused."""
        candidate = self._candidate.release if self._candidate else None
        return self.version[0], candidate, self._refused

    async def _begin(self, release: str) -> None:
        """A learner for a new release, at the offset its training data reached."""
        trees = await asyncio.to_thread(self._trees, release)
        head = TreeHead.warm_start(trees, self._learning_rate)
        reached = self._registry.manifest(release).offsets
        sequences = {
            int(name.removeprefix("sequence:")): value
            for name, value in reached.items()
            if name.startswith("sequence:")
        }
        begun = _Learner(release, head, 0, 0, reached.get(f"{EXAMPLES}:0", 0), sequences)
        if self._champion is None:
            self._champion, self._unsaved = begun, True
        else:
            self._candidate = begun

    async def _take_over(self) -> None:
        """Swap when the candidate has learned everything the champion has."""
        if self._candidate and self._champion and self._candidate.offset >= self._champion.offset:
            self._champion, self._candidate = self._candidate, None
            await self._publish()

    async def _publish(self) -> None:
        """One snapshot: into the store with its offset behind the fence, then announced."""
        learner, owned = self._champion, self._owned
        assert learner is not None and owned is not None
        now = self._clock.now_ms()
        number = learner.number + 1
        snapshot = Snapshot(
            self._learner, learner.release, number, self._schema, learner.examples, learner.offset,
            dict(learner.sequences), learner.head.state(), now,
        ).encode()  # fmt: skip
        key = self._names.snapshot(self._learner)
        await owned.commit({EXAMPLES: learner.offset}, blobs=[(key, snapshot)])
        learner.number, self._saved_ms, self._unsaved = number, now, False
        self._measurements.count("tidemill_snapshots_total")
        self._to_announce = self._announcement(snapshot)
        await self._announce()

    async def _announce(self) -> None:
        if self._to_announce is not None:
            key = self._to_announce.learner.encode()
            await self._producer.send_many(MODELS, [(key, self._to_announce.encode())], 0)
            self._to_announce = None

    def _announcement(self, stored: bytes) -> Announcement:
        learner = self._champion
        assert learner is not None
        produced, self._produced_ms = self._produced_ms, []
        return Announcement(
            "snapshot", self._learner, learner.release, learner.number, digest(stored),
            self._clock.now_ms(), learner.examples, produced,
        )  # fmt: skip

    def _note(self, fresh: Sequence[Example]) -> None:
        if not fresh:
            return
        predictions = [example.prediction for example in fresh]
        self.progress.add(
            [p.score for p in predictions],
            [p.baseline for p in predictions],
            [example.label for example in fresh],
        )
        self._produced_ms += [example.label_produced_ms for example in fresh]
        self._measurements.count("tidemill_examples_learned_total", len(fresh))

    def _restore(self, saved: Snapshot) -> _Learner:
        trees = self._trees(saved.release)
        head = TreeHead.restore(trees, self._learning_rate, saved.state)
        return _Learner(
            saved.release, head, saved.number, saved.examples, saved.offset, dict(saved.sequences)
        )

    def _trees(self, release: str) -> FrozenTrees:
        found = self._registry.manifest(release).schema
        if found != self._schema:
            raise ArtifactError(f"release {release}: found schema {found}; allowed: {self._schema}")
        return FrozenTrees.parse(self._registry.read(release, MODEL_FILE))


def _example(message: Message) -> Example:
    try:
        example: Example = decode(Example, message.value or b"")
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{EXAMPLES} offset {message.offset}: {error}") from error
    return example
