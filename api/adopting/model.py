"""The model being served: one immutable value, exchanged by setting one reference."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners.learner import Frozen, Incremental
from learners.prior import PRIOR, Prior
from tidemill.tasks import BINARY, Task

Vectors = NDArray[np.float32]
Result = TypeVar("Result")


class Head(Protocol):
    """What scores requests; several threads may ask it at once."""

    def predict_both(self, vectors: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores and the frozen release's, each (rows,), for vectors (rows, features)."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A head that knows between what the outcome is expected to lie."""

    def intervals(self, vectors: Vectors) -> NDArray[np.float64]:
        """Lower and upper ends (rows, 2), in the unit of the scores."""
        ...


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A verified head with its version; snapshot 0 is the release before anything was learned.

    `offset` is how far in the examples it has come, 0 for snapshot 0; `frozen` is the release it
    started from, which answers where the head fails.
    """

    release: str
    snapshot: int
    head: Head
    schema: str
    examples: int
    adopted_ms: int
    offset: int = 0
    frozen: Frozen | None = None

    @property
    def is_prior(self) -> bool:
        """True while there is no model: every score is the prior's."""
        return self.release == PRIOR


class RecordedVectors:
    """The vectors of the newest requests, to try new models on."""

    def __init__(self, rows: int) -> None:
        self._rows, self._held = rows, 0
        self._groups: deque[Vectors] = deque()

    def add(self, matrix: Vectors) -> None:
        """Keep a group's vectors (requests, features), which nobody changes any more."""
        if not len(matrix):
            return
        groups = self._groups
        groups.append(matrix)
        self._held += len(matrix)
        while self._held - len(groups[0]) >= self._rows:
            self._held -= len(groups.popleft())

    def newest(self) -> Vectors | None:
        """The newest ones, float32 (rows, features); None before the first."""
        return np.concatenate(self._groups)[-self._rows :] if self._groups else None


class ModelSlot:
    """Holds the model that answers; readers take `current` once per group of requests.

    It begins with the prior. `before` is the model that answered until then, for when the current
    one fails; None where its learner is the one that the next changes are written into, and from
    when it had to make room for the next release.
    """

    __slots__ = ("before", "current", "recorded")

    def __init__(
        self,
        schema: str,
        now_ms: int,
        task: Task = BINARY,
        recorded: RecordedVectors | None = None,
    ) -> None:
        self.current = ServedModel(PRIOR, 0, Prior(task), schema, 0, now_ms)
        self.before: ServedModel | None = None
        self.recorded = recorded or RecordedVectors(1)

    def adopt(self, model: ServedModel) -> bool:
        """Serve this model from the next group on; True when its release is another than before."""
        before, self.current = self.current, model
        reused = before.is_prior or isinstance(before.head, Incremental)
        self.before = None if reused else before
        return before.release != model.release

    def make_room(self) -> None:
        """Let go of a model of another release than the one that answers; any thread may call it.

        The current one's own release answers where it fails, until the next one is adopted.
        """
        before = self.before
        if before is not None and before.release != self.current.release:
            self.before = None


class Lent:
    """Which learners threads are reading: as long as they do, nothing is written into them."""

    def __init__(self) -> None:
        self._readers: Counter[int] = Counter()

    def __contains__(self, head: object) -> bool:
        """May be asked by any thread, of a learner that is not lent again meanwhile."""
        return self._readers[id(head)] > 0

    def in_thread(
        self,
        heads: Sequence[object],
        work: Callable[[], Result],
        threads: Executor | None = None,
    ) -> asyncio.Future[Result]:
        """Run in a thread what reads these heads; do not cancel what is returned."""
        self._readers.update(map(id, heads))
        try:
            future = asyncio.get_running_loop().run_in_executor(threads, work)
        except RuntimeError:  # the loop is being closed
            self._give_back(heads)
            raise
        future.add_done_callback(lambda _: self._give_back(heads))
        return future

    def _give_back(self, heads: Sequence[object]) -> None:
        self._readers.subtract(map(id, heads))
        for head in heads:
            if self._readers[id(head)] == 0:
                del self._readers[id(head)]


class Said(msgspec.Struct, frozen=True):
    """What a head says of some vectors: scores and its release's, NaN where it failed, and why."""

    scores: list[float]
    baselines: list[float]
    error: Exception | None = None

    @property
    def whole(self) -> bool:
        """True when every score is a finite number."""
        return self.error is None and math.isfinite(sum(self.scores))


def ask(head: Head, matrix: Vectors) -> Said:
    """A head's scores; never raises. One row that it cannot score does not cost the others."""
    rows = len(matrix)
    try:
        scores, baselines = (found.tolist() for found in head.predict_both(matrix))
        if len(scores) != rows or len(baselines) != rows:
            raise ValueError(f"scores: found {len(scores)}; allowed: {rows}")
        return Said(scores, baselines)
    except Exception as error:
        if rows == 1:
            return Said([math.nan], [math.nan], error)
    each = [ask(head, matrix[row : row + 1]) for row in range(rows)]
    return Said(
        [score for one in each for score in one.scores],
        [baseline for one in each for baseline in one.baselines],
        next((one.error for one in each if one.error), None),
    )
