"""One release's learner and how far it has come in the log of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners.guard import Guard, Trip
from learners.learner import Learner
from learners.snapshot import Snapshot
from tidemill.bus import Message
from tidemill.errors import ArtifactError
from tidemill.topics import EXAMPLES
from tidemill.wire import Example, decode, vectors

Placed = tuple[int, Example]
"""An example and its offset."""


def placed_in(messages: Sequence[Message]) -> list[Placed]:
    """The examples of these records. Raises ArtifactError for one that cannot be read."""
    return [(message.offset, _example(message)) for message in messages]


def _example(message: Message) -> Example:
    try:
        example: Example = decode(Example, message.value or b"")
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{EXAMPLES} offset {message.offset}: {error}") from error
    return example


@dataclass
class Place:
    """How far a learner has come: the next offset, what of each partition, how many examples.

    `skipped` are ranges of offsets that it leaves out; before `unguarded` nothing is judged.
    """

    offset: int
    sequences: dict[int, int]
    examples: int = 0
    skipped: list[tuple[int, int]] = field(default_factory=list)
    unguarded: int = 0

    def copy(self) -> Place:
        """A place of its own."""
        return replace(self, sequences=dict(self.sequences), skipped=list(self.skipped))


@dataclass
class Learned:
    """What a call brought: the examples it was the first to see, and what was predicted for each.

    `trip` says why the last window must not stay learned.
    """

    examples: list[Example] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    trip: Trip | None = None

    def predictions(self) -> NDArray[np.float64]:
        """What was predicted before learning, a row for each example."""
        return np.concatenate(self.scores) if self.scores else np.empty(0)


class Learning:
    """Learns examples in the log's order, each once; with a guard, in the guard's windows.

    The last window that passed is kept beside, so that one that does not can be taken back.
    """

    def __init__(
        self,
        release: str,
        learner: Learner,
        place: Place,
        guard: Guard | None = None,
        number: int = 0,
    ) -> None:
        self.release, self.learner, self.place = release, learner, place
        self.number = number
        self.guard = guard
        self.checkpoint: Learning | None = None
        """The learner as it was when the window began; none of one without a guard."""

    @property
    def offset(self) -> int:
        """The next offset it has not seen."""
        return self.place.offset

    def guarded(self, guard: Guard) -> Learning:
        """The same with a guard, whose window begins now."""
        self.guard = guard
        guard.begin(self.learner.update_norm())
        self.keep()
        return self

    def learn(self, placed: Sequence[Placed], schema: str) -> Learned:
        """Learn what it has not had; examples of another schema only count as seen.

        After a trip nothing more is learned: go on with `checkpoint`.
        """
        learned, waiting = Learned(), list[Example]()
        for offset, example in placed:
            if not self._is_new(offset, example) or example.prediction.schema != schema:
                continue
            waiting.append(example)
            if self.guard is not None and len(waiting) == self.guard.room:
                self._take_in(waiting, learned)
                waiting = []
                if self._close_window(learned):
                    return learned
        self._take_in(waiting, learned)
        return learned

    def snapshot(self, learner: str, schema: str, now_ms: int, state: bytes, base: int) -> Snapshot:
        """The record of its state as it is."""
        return Snapshot(
            learner=learner, release=self.release, number=self.number, base=base, schema=schema,
            examples=self.place.examples, offset=self.place.offset,
            sequences=dict(self.place.sequences), state=memoryview(state), created_ms=now_ms,
            skipped=list(self.place.skipped), unguarded=self.place.unguarded,
            guard=self.guard.encode() if self.guard else b"",
        )  # fmt: skip

    @classmethod
    def restored(
        cls, saved: Snapshot, learner: Learner, make_guard: Callable[[], Guard]
    ) -> Learning:
        """Where a snapshot left off. Raises ArtifactError for a damaged guard."""
        guard = make_guard()
        guard.restore(saved.guard)
        place = Place(
            saved.offset,
            dict(saved.sequences),
            saved.examples,
            list(saved.skipped),
            saved.unguarded,
        )
        return cls(saved.release, learner, place, guard, saved.number)

    def taken_back(self) -> Learning:
        """The learner as it was when the window began, to go on with."""
        good = self.checkpoint
        assert good is not None
        good.number = self.number
        good.keep()
        return good

    def skip(self, until: int, sequences: dict[int, int]) -> None:
        """Leave out what lies between here and `until`; `sequences` are the highest in it."""
        self.place.skipped.append((self.place.offset, until))
        self.place.offset = until
        for partition, sequence in sequences.items():
            before = self.place.sequences.get(partition, 0)
            self.place.sequences[partition] = max(before, sequence)

    def _is_new(self, offset: int, example: Example) -> bool:
        """Notes that it was seen; True when it is to be learned."""
        if offset < self.place.offset:
            return False
        self.place.offset = offset + 1
        if example.sequence <= self.place.sequences.get(example.partition, 0):
            return False
        self.place.sequences[example.partition] = example.sequence
        return not any(start <= offset < end for start, end in self.place.skipped)

    def _take_in(self, examples: list[Example], learned: Learned) -> None:
        if not examples:
            return
        labels = np.array([example.label for example in examples], np.float64)
        weights = np.array([example.weight for example in examples], np.float64)
        matrix = vectors([example.prediction for example in examples])
        scores = self.learner.learn_many(matrix, labels, weights)
        self.place.examples += len(examples)
        learned.examples += examples
        learned.scores.append(scores)
        if self.guard is not None:
            answered = np.array([example.prediction.score for example in examples])
            self.guard.add(labels, answered, scores, [example.producer for example in examples])

    def _close_window(self, learned: Learned) -> bool:
        """Judge the window that is full; True when it must not stay learned."""
        assert self.guard is not None
        norm = self.learner.update_norm()
        trip = self.guard.judge(norm)
        if trip is not None and self.place.offset <= self.place.unguarded:
            trip = None  # an operator has seen these examples and wants them learned
            self.guard.begin(norm)
        learned.trip = trip
        if trip is None:
            self.keep()
        return trip is not None

    def keep(self) -> None:
        """What is learned now is what a trip goes back to."""
        guard = self.guard.clone() if self.guard else None
        self.checkpoint = Learning(
            self.release, self.learner.clone(), self.place.copy(), guard, self.number
        )
