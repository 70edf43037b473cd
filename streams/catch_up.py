"""A new release on its way to the champion's place: what it learned, and what it is worth."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from learners.prior import PRIOR
from streams.learning import Learned, Learning, Placed
from tidemill.arm_scores import DEFAULT, of_champion
from tidemill.gate import Gate
from tidemill.roles import RoleChange, is_order
from tidemill.tasks import Task
from tidemill.wire import Alert, Example, Prediction

STANDARD_ERRORS = 2.0


class CatchUp:
    """The learner of a release learns what came since its data, beside the champion.

    Its predictions before learning are compared with what was answered to the same requests. It
    then knows every label that had come before, the service only those that had come before the
    request: a candidate that is worse even so will be worse in service.
    """

    def __init__(self, learning: Learning, task: Task, began_ms: int, change: RoleChange) -> None:
        """`change` is the change of roles that wants it."""
        self.learning, self.began_ms, self.change = learning, began_ms, change
        self.alert: Alert | None = None
        """The alert that it is slow, where it may not be given up."""
        self._logistic = task.kind == "binary"
        self.compared = 0
        """How many examples both have predicted."""
        self._sums = np.zeros(2)  # of its losses and of those of what was answered
        self._products = np.zeros((2, 2))

    @property
    def ordered(self) -> bool:
        """True when an operator wants it: then it is not given up."""
        return is_order(self.change)

    def learn(self, placed: list[Placed], schema: str) -> Learned:
        """Learn what it has not had, and compare."""
        learned = self.learning.learn(placed, schema)
        self._compare(learned.examples, learned.predictions())
        return learned

    @property
    def losses(self) -> tuple[float, float]:
        """Its mean loss and that of what was answered, over the examples compared."""
        own, answered = (self._sums / max(self.compared, 1)).tolist()
        return own, answered

    def too_slow(self, offset: int, now_ms: int, limit_ms: int) -> str:
        """Why it is, when it has not come to the champion's offset in time; else nothing."""
        taken = now_ms - self.began_ms
        if taken <= limit_ms:
            return ""
        return (
            f"found {offset - self.learning.offset} examples to learn after {taken / 1000:.0f} s; "
            f"allowed: none after {limit_ms / 1000:.0f} s"
        )

    def too_bad(self, gate: Gate) -> str:
        """Why it is, when its loss is above what the gate tolerates; else nothing."""
        if self.compared < gate.min_rows or not self.is_worse(gate.tolerance):
            return ""
        own, answered = self.losses
        return (
            f"found a mean loss of {own:.6f} over {self.compared} examples; allowed: at most "
            f"{answered * (1 + gate.tolerance):.6f} (that of what was answered, and the gate's "
            "tolerance) but for chance"
        )

    def is_worse(self, tolerance: float) -> bool:
        """True when its loss is above what was answered and the (relative) tolerance, by more than
        chance: two standard errors of the mean of the paired differences.
        """
        rows = max(self.compared, 2)
        weights = np.array([1.0, -1.0 - tolerance])
        mean = float(weights @ self._sums) / rows
        square = float(weights @ self._products @ weights) / rows
        return mean > STANDARD_ERRORS * math.sqrt(max(square - mean * mean, 0.0) / rows)

    def _compare(self, examples: list[Example], scores: NDArray[np.float64]) -> None:
        said = [of_champion(example.prediction) for example in examples]
        rows = [n for n, each in enumerate(said) if _is_champions(each)]
        if not rows or scores.ndim > 1:
            return
        labels = np.array([examples[n].label for n in rows], np.float64)
        answered = np.array([said[n].score for n in rows])
        self.compared += len(rows)
        losses = np.stack([self._losses(labels, scores[rows]), self._losses(labels, answered)])
        self._sums += losses.sum(axis=1)
        self._products += losses @ losses.T

    def _losses(
        self, labels: NDArray[np.float64], scores: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        if self._logistic:
            right = np.maximum(np.where(labels == 1, scores, 1 - scores), 1e-15)
            return np.asarray(-np.log(right))
        return np.asarray((labels - scores) ** 2)


def _is_champions(prediction: Prediction) -> bool:
    """What the prior or the default head answered says nothing about a champion."""
    known = prediction.release != PRIOR and prediction.arm != DEFAULT
    return known and math.isfinite(prediction.score)
