"""A linear release from a declaration's settings: the same data gives the same bytes.

    model = LinearTrainer(tm.LinearModel(), schema, BINARY).train(rows)

The columns' means and spreads and the categories' slots come from one look at the data. Then
L-BFGS minimises the task's loss plus half a ridge on every weight but the bias. Last, the squared
gradients that the training rows are expected to give are added up for each weight: an online
learner started from the release is primed with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numba
import numpy as np
from numpy.typing import NDArray

from batch.progress import Progress, Silent
from batch.trainers.trainer import TrainingRows, Watch
from learners.learner import checked_labels, checked_weights
from learners.linear.encoding import Encoder, Pairs
from learners.linear.frozen import Release, shaped
from learners.linear.table import Table, outputs_of, rule_of
from learners.release import LINEAR_FILE, ModelFile
from tidemill.errors import TrainingFailed
from tidemill.learner_kinds import Linear
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task
from tidemill.trainer_kinds import LinearModel

_MEMORY = 10  # pairs of steps L-BFGS remembers
_GOOD_ENOUGH = 1e-7  # relative gain of a pass under which it stops

Flat = NDArray[np.float64]
Objective = Callable[[Flat], tuple[float, Flat]]
Passed = Callable[[Flat], bool]
"""Told where the search is after a pass; True ends it."""


class LinearTrainer:
    """Trains on vectors of one schema, in at most `settings.passes` steps over the data."""

    def __init__(
        self,
        settings: LinearModel,
        schema: FeatureSchema,
        task: Task,
        *,
        progress: Progress | None = None,
    ) -> None:
        self.settings, self.schema, self.task = settings, schema, task
        self._progress = progress or Silent()

    @property
    def steps(self) -> int:
        """Passes over the data."""
        return self.settings.passes

    def train(
        self, rows: TrainingRows, stage: str = "train", watch: Watch | None = None
    ) -> ModelFile:
        """See `Trainer`; a step is a pass, and there may be fewer."""
        outcomes = checked_labels(self.task, rows.labels, len(rows))
        weights = checked_weights(rows.weights, len(rows))
        encoder = Encoder(self.schema.names, self.schema.categorical, self.settings.hash_bits)
        # Once to learn means, spreads and categories, once more to encode every row by the same.
        encoder.learn(rows.vectors, weights)
        starts, slots, values = encoder.encode(rows.vectors)
        # Of hashed categories most slots are empty: what no row has stays 0 and costs nothing.
        used = np.zeros(encoder.slots, np.bool_)
        used[slots] = used[0] = True
        pairs = (starts, _compact(used, slots), values)
        shape = (int(used.sum()), outputs_of(self.task))
        loss = _Loss(pairs, (outcomes, weights), self.task, shape, self.settings.ridge)
        self._progress.start(stage, self.steps)
        passed = _Passed(self._progress, watch, loss, encoder, used)
        with np.errstate(over="ignore", invalid="ignore"):  # a loss that is no number is refused
            found = minimised(loss, loss.start(), self.steps, passed)
        return ModelFile(LINEAR_FILE, self._release(encoder, used, found, loss))

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


def _compact(used: NDArray[np.bool_], slots: NDArray[np.int32]) -> NDArray[np.int32]:
    """The slots' places among those used."""
    return np.asarray((np.cumsum(used) - 1).astype(np.int32)[slots])


class _Passed:
    """Called after each pass: moves the bar on, and lets the watch see what is predicted by now."""

    def __init__(
        self,
        progress: Progress,
        watch: Watch | None,
        loss: _Loss,
        encoder: Encoder,
        used: NDArray[np.bool_],
    ) -> None:
        self._progress, self._watch, self._loss = progress, watch, loss
        self._step = 0
        if watch is not None:
            starts, slots, values = encoder.encode(watch.vectors)
            values[~used[slots]] = 0  # no training row had it, so it says nothing
            self._pairs = (starts, np.maximum(_compact(used, slots), 0), values)

    def __call__(self, weights: Flat) -> bool:
        """Whether to stop here."""
        self._progress.advance()
        self._step += 1
        if self._watch is None:
            return False
        scores = self._loss.scores(weights, self._pairs)
        return self._watch.seen(self._step, shaped(scores, self._loss.task))


class _Loss:
    """The task's loss over encoded rows as a function of all weights, with its gradient.

    `data` are the rows' labels and how many examples each of them stands for.
    """

    def __init__(
        self,
        pairs: Pairs,
        data: tuple[Flat, Flat],
        task: Task,
        shape: tuple[int, int],
        ridge: float,
    ) -> None:
        self._pairs, (self._labels, self._counts), self.task = pairs, data, task
        self._shape, self._ridge = shape, ridge
        # Links and adds up; nothing is learned by its rule.
        self._table = Table(task, rule_of(Linear(), task), shape[0])

    def __len__(self) -> int:
        return len(self._labels)

    def start(self) -> Flat:
        """All weights 0, but the bias what the labels alone say."""
        weights = np.zeros(self._shape)
        total, count = float(self._labels @ self._counts), float(self._counts.sum())
        if self.task.kind == "regression" and count:
            weights[0] = total / count
        elif self.task.kind == "binary":
            weights[0] = math.log((total + 0.5) / (count - total + 0.5))
        return weights.ravel()

    def raws(self, weights: Flat, pairs: Pairs | None = None) -> Flat:
        """Weighted sums (rows, outputs), of other rows where there are some."""
        self._table.rows[:, 0] = weights.ravel()
        return self._table.raw_many(pairs or self._pairs)

    def scores(self, weights: Flat, pairs: Pairs | None = None) -> Flat:
        """Predictions (rows, outputs)."""
        return self._table.link(self.raws(weights, pairs))

    def __call__(self, weights: Flat) -> tuple[float, Flat]:
        """The loss of all rows plus the ridge, and its gradient."""
        raws = self.raws(weights)
        slopes = (self._table.link(raws) - self._targets()) * self._counts[:, None]
        gradient = np.zeros(self._shape)
        _scatter(*self._pairs, slopes, gradient, False)
        penalised = weights.reshape(self._shape).copy()
        penalised[0] = 0
        losses = self._losses(raws) * self._counts
        loss = float(losses.sum()) + self._ridge / 2 * float((penalised**2).sum())
        return loss, (gradient + self._ridge * penalised).ravel()

    def evidence(self, scores: Flat) -> Flat:
        """Per weight the squared gradients that the rows are expected to have (slots, outputs).

        The squared slope of a log-loss is p(1-p) in expectation, that of half a squared error the
        errors' variance.
        """
        counts = self._counts[:, None]
        if self.task.kind == "regression":
            squares = (scores[:, 0] - self._labels) ** 2 * self._counts
            mean = squares.sum() / max(self._counts.sum(), 1e-300)
            expected = np.full_like(scores, mean) * counts
        else:
            expected = scores * (1 - scores) * counts
        sums = np.zeros(self._shape)
        _scatter(*self._pairs, expected, sums, True)
        return sums

    def _targets(self) -> Flat:
        if self.task.kind == "multiclass":
            return np.eye(self.task.classes)[self._labels.astype(np.int64)]
        return self._labels[:, None]

    def _losses(self, raws: Flat) -> Flat:
        """Of each row."""
        if self.task.kind == "regression":
            return np.asarray((raws[:, 0] - self._labels) ** 2 / 2)
        if self.task.kind == "binary":
            return np.asarray(np.logaddexp(0, raws[:, 0]) - raws[:, 0] * self._labels)
        highest = raws.max(axis=1)
        totals = np.log(np.exp(raws - highest[:, None]).sum(axis=1)) + highest
        return np.asarray(totals - (raws * self._targets()).sum(axis=1))


def minimised(
    objective: Objective, start: Flat, passes: int, passed: Passed = lambda _: False
) -> Flat:
    """Where an objective is least, by L-BFGS (Liu and Nocedal, 1989) with backtracking.

    Raises TrainingFailed where it is no number at its start.
    """
    here = start.copy()
    value, gradient = objective(here)
    if not math.isfinite(value):
        raise TrainingFailed(f"linear model: found a loss of {value}; allowed: a finite one")
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
        better = found < value
        if passed(there if better else here) or not better:
            return there if better else here
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
