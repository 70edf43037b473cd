"""Follows one trial's training: keeps its best step, and ends it when more steps bring nothing."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from batch.trainers.trainer import TrainingRows
from learners.learner import Scores, Vectors
from learners.quality.measures import log_losses
from tidemill.errors import TrainingFailed
from tidemill.tasks import Task

PATIENCE = 0.4
"""A training that did not improve for this share of its best step's number has had its best."""

LEAST_PATIENCE = 15  # steps
BLOCKS = 20  # stretches of time that two trials are compared by

_HALF_LIVES = 2.0
Losses = NDArray[np.float64]


class Watched:
    """The watch over one training: `loss` and `step` are the best seen, `ended` says why it ended.

    `to_beat` is what is worth reaching, `over` tells when there is no more time. A training that
    cannot reach `to_beat` is given up: a loss that falls like a power of the steps gains less in
    the next doubling of them than in the last one (Domhan et al., IJCAI 2015, fit such curves).
    """

    def __init__(
        self,
        rows: TrainingRows,
        task: Task,
        to_beat: float = math.inf,
        over: Callable[[], bool] = lambda: False,
        slower: float = 1.0,
    ) -> None:
        self._rows, self._task = rows, task
        self._to_beat, self._over = to_beat, over
        self._least = round(LEAST_PATIENCE * slower)
        self._steps: list[int] = []  # that were seen, and the best loss by each
        self._curve: list[float] = []
        self.loss, self.step, self.ended = math.inf, 0, ""
        self.seen_steps = 0
        self._losses = np.empty(0)

    @property
    def vectors(self) -> Vectors:
        """The rows that are scored."""
        return self._rows.vectors

    @property
    def blocks(self) -> list[float]:
        """The best step's loss in each of `BLOCKS` stretches of time."""
        return blocks_of(self._rows, self._losses)

    def seen(self, step: int, scores: Scores) -> bool:
        """See `Watch`. Raises TrainingFailed for a loss that is no number."""
        losses = losses_of(self._task, self._rows, scores)
        loss = mean_of(self._rows, losses)
        if not math.isfinite(loss):
            raise TrainingFailed(f"loss after step {step}: found {loss}; allowed: a number")
        if loss < self.loss:
            self.loss, self.step, self._losses = loss, step, losses
        self._steps.append(step)
        self._curve.append(self.loss)
        self.seen_steps = step
        if step - self.step >= max(self._least, PATIENCE * self.step):
            return True
        if self._over():
            self.ended = "out of time"
        elif self._hopeless(step):
            self.ended = "cannot reach the best"
        return bool(self.ended)

    def _hopeless(self, step: int) -> bool:
        if step < 2 * self._least or not math.isfinite(self._to_beat):
            return False
        gained = self._curve[bisect_right(self._steps, step // 2) - 1] - self.loss
        return self.loss - _HALF_LIVES * gained > self._to_beat


def losses_of(task: Task, rows: TrainingRows, scores: Scores) -> Losses:
    """Each row's loss as the gate counts it, log-loss or squared error; NaN where a score is."""
    values: Losses = np.asarray(scores, np.float64)
    if not np.isfinite(values).all():
        return np.full(len(rows), math.nan)
    if task.kind == "regression":
        return np.asarray((values - rows.labels) ** 2)
    return log_losses(rows.labels, values)


def mean_of(rows: TrainingRows, losses: Losses) -> float:
    """The rows' mean loss by their weights."""
    return float(np.average(losses, weights=rows.weights))


def blocks_of(rows: TrainingRows, losses: Losses) -> list[float]:
    """The mean loss of each of `BLOCKS` stretches of time, as the rows lie in it."""
    parts = np.array_split(np.arange(len(losses)), min(BLOCKS, len(losses)))
    means = (np.average(losses[part], weights=rows.weights[part]) for part in parts)
    return [round(float(mean), 7) for mean in means]
