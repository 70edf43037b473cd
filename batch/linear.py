"""A linear release from a declaration's settings: the same data gives the same bytes.

    release = LinearTrainer(Linear(), schema, BINARY).train(vectors, labels)

The columns' means and spreads and the categories' slots come from one look at the data. Then
L-BFGS minimises the task's loss plus half a ridge on every weight but the bias. Last, the squared
gradients that the training rows are expected to give are added up for each weight: an online
learner started from the release is primed with them. `l1` is the online learner's alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numba
import numpy as np
from numpy.typing import NDArray

from batch.progress import Progress, Silent
from learners.learner import Vectors, checked_labels
from learners.linear.encoding import Encoder, Pairs
from learners.linear.frozen import Release
from learners.linear.table import Table, outputs_of, rule_of
from tidemill.learner_kinds import Linear
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task

_MEMORY = 10  # pairs of steps L-BFGS remembers
_GOOD_ENOUGH = 1e-7  # relative gain of a pass under which it stops

Flat = NDArray[np.float64]
Objective = Callable[[Flat], tuple[float, Flat]]


class LinearTrainer:
    """Trains on vectors of one schema, in at most `passes` steps over the data."""

    def __init__(  # noqa: PLR0913  what a trainer is made of, each with a default where one fits
        self,
        settings: Linear,
        schema: FeatureSchema,
        task: Task,
        *,
        ridge: float = 1.0,
        passes: int = 100,
        progress: Progress | None = None,
    ) -> None:
        self.settings, self.schema, self.task = settings, schema, task
        self._ridge, self._passes = max(ridge, settings.l2), passes
        self._progress = progress or Silent()

    def train(self, vectors: Vectors, labels: NDArray[np.generic], stage: str = "train") -> bytes:
        """A release for `FrozenLinear.parse`. Raises ValueError for labels of another task."""
        outcomes = checked_labels(self.task, labels, len(vectors))
        encoder = Encoder(self.schema.names, self.schema.categorical, self.settings.hash_bits)
        # Once to learn means, spreads and categories, once more to encode every row by the same.
        encoder.learn(vectors, np.ones(len(vectors)))
        starts, slots, values = encoder.encode(vectors)
        # Of hashed categories most slots are empty: what no row has stays 0 and costs nothing.
        used = np.zeros(encoder.slots, np.bool_)
        used[slots] = used[0] = True
        compact = (np.cumsum(used) - 1).astype(np.int32)[slots]
        shape = (int(used.sum()), outputs_of(self.task))
        loss = _Loss((starts, compact, values), outcomes, self.task, shape, self._ridge)
        self._progress.start(stage, self._passes)
        weights = minimised(loss, loss.start(), self._passes, self._progress.advance)
        return self._release(encoder, used, weights, loss)

    def _release(
        self, encoder: Encoder, used: NDArray[np.bool_], weights: Flat, loss: _Loss
    ) -> bytes:
        shape = (encoder.slots, outputs_of(self.task))
        every, evidence = np.zeros(shape), np.zeros(shape)
        every[used] = weights.reshape(-1, shape[1])
        evidence[used] = loss.evidence(loss.scores(weights))
        spread = float(loss.raws(weights).std()) if len(loss) else 0.0
        return msgspec.msgpack.encode(
            Release(
                task=self.task.kind,
                classes=self.task.classes,
                features=self.schema.names,
                categorical=self.schema.categorical,
                hash_bits=encoder.hash_bits,
                unit=(spread or 1.0) if self.task.kind == "regression" else 1.0,
                moments=encoder.moments.astype("<f8").tobytes(),
                keys=encoder.keys.astype("<u8").tobytes(),
                weights=every.astype("<f8").tobytes(),
                evidence=evidence.astype("<f8").tobytes(),
            )
        )


class _Loss:
    """The task's loss over encoded rows as a function of all weights, with its gradient."""

    def __init__(
        self, pairs: Pairs, labels: Flat, task: Task, shape: tuple[int, int], ridge: float
    ) -> None:
        self._pairs, self._labels, self._task = pairs, labels, task
        self._shape, self._ridge = shape, ridge
        # Links and adds up; nothing is learned by its rule.
        self._table = Table(task, rule_of(Linear(), task), shape[0])

    def __len__(self) -> int:
        return len(self._labels)

    def start(self) -> Flat:
        """All weights 0, but the bias what the labels alone say."""
        weights = np.zeros(self._shape)
        labels, count = self._labels, len(self._labels)
        if self._task.kind == "regression" and count:
            weights[0] = labels.mean()
        elif self._task.kind == "binary":
            weights[0] = math.log((labels.sum() + 0.5) / (count - labels.sum() + 0.5))
        return weights.ravel()

    def raws(self, weights: Flat) -> Flat:
        """Weighted sums (rows, outputs)."""
        self._table.rows[:, 0] = weights.ravel()
        return self._table.raw_many(self._pairs)

    def scores(self, weights: Flat) -> Flat:
        """Predictions (rows, outputs)."""
        return self._table.link(self.raws(weights))

    def __call__(self, weights: Flat) -> tuple[float, Flat]:
        """The loss of all rows plus the ridge, and its gradient."""
        raws = self.raws(weights)
        slopes = self._table.link(raws) - self._targets()
        gradient = np.zeros(self._shape)
        _scatter(*self._pairs, slopes, gradient, False)
        penalised = weights.reshape(self._shape).copy()
        penalised[0] = 0
        loss = self._loss(raws) + self._ridge / 2 * float((penalised**2).sum())
        return loss, (gradient + self._ridge * penalised).ravel()

    def evidence(self, scores: Flat) -> Flat:
        """Per weight the squared gradients that the rows are expected to have (slots, outputs).

        The squared slope of a log-loss is p(1-p) in expectation, that of half a squared error the
        errors' variance.
        """
        if self._task.kind == "regression":
            expected = np.full_like(scores, np.mean((scores[:, 0] - self._labels) ** 2))
        else:
            expected = scores * (1 - scores)
        sums = np.zeros(self._shape)
        _scatter(*self._pairs, expected, sums, True)
        return sums

    def _targets(self) -> Flat:
        if self._task.kind == "multiclass":
            return np.eye(self._task.classes)[self._labels.astype(np.int64)]
        return self._labels[:, None]

    def _loss(self, raws: Flat) -> float:
        if self._task.kind == "regression":
            return float(((raws - self._targets()) ** 2).sum()) / 2
        if self._task.kind == "binary":
            return float(np.logaddexp(0, raws[:, 0]).sum() - (raws[:, 0] * self._labels).sum())
        highest = raws.max(axis=1)
        totals = np.log(np.exp(raws - highest[:, None]).sum(axis=1)) + highest
        return float(totals.sum() - (raws * self._targets()).sum())


def minimised(
    objective: Objective, start: Flat, passes: int, advance: Callable[[], None] = lambda: None
) -> Flat:
    """Where an objective is least, by L-BFGS (Liu and Nocedal, 1989) with backtracking."""
    here = start.copy()
    value, gradient = objective(here)
    steps: list[tuple[Flat, Flat]] = []
    for _ in range(passes):
        direction = -_scaled(gradient, steps)
        fall = float(direction @ gradient)
        length = 1.0 if steps else 1.0 / max(1.0, float(np.abs(gradient).max()))
        there = here + length * direction
        found, slope = objective(there)
        while found > value + 1e-4 * length * fall and length > 1e-10:  # Armijo's rule
            length /= 2
            there = here + length * direction
            found, slope = objective(there)
        advance()
        if found >= value:
            break
        step, change = there - here, slope - gradient
        if float(step @ change) > 1e-12 * float(change @ change):
            steps = [*steps, (step, change)][-_MEMORY:]
        done = value - found <= _GOOD_ENOUGH * max(1.0, abs(found))
        here, value, gradient = there, found, slope
        if done:
            break
    return here


def _scaled(gradient: Flat, steps: list[tuple[Flat, Flat]]) -> Flat:
    """The inverse Hessian's estimate times the gradient (the two-loop recursion)."""
    result, parts = gradient.copy(), []
    for step, change in reversed(steps):
        part = float(step @ result) / float(step @ change)
        parts.append(part)
        result -= part * change
    if steps:
        step, change = steps[-1]
        result *= float(step @ change) / float(change @ change)
    for (step, change), part in zip(steps, reversed(parts), strict=True):
        result += (part - float(change @ result) / float(step @ change)) * step
    return result


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _scatter(  # noqa: PLR0913  a kernel takes arrays, not objects
    starts: NDArray[np.int64],
    slots: NDArray[np.int32],
    values: NDArray[np.float32],
    slopes: NDArray[np.float64],
    sums: NDArray[np.float64],
    squared: bool,
) -> None:
    """Add every row's slopes (rows, outputs) times its values, or their squares, to `sums`."""
    rows, outputs = slopes.shape
    for row in range(rows):
        for place in range(starts[row], starts[row + 1]):
            value = np.float64(values[place])
            factor = value * value if squared else value
            for output in range(outputs):
                sums[slots[place], output] += slopes[row, output] * factor
