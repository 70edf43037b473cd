"""The weights of a linear model and their optimizer: learns rows of (slot, value) pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learners.learner import Scores, checked_labels, checked_weights
from learners.linear import kernels
from learners.linear.encoding import Pairs
from learners.linear.kernels import COLUMNS, TOUCHED, WEIGHT, N, Rule, Z
from tidemill.learner_kinds import Linear
from tidemill.tasks import Task

_KINDS = {
    "binary": kernels.BINARY, "regression": kernels.REGRESSION, "multiclass": kernels.MULTICLASS
}  # fmt: skip


def rule_of(settings: Linear, task: Task, unit: float = 1.0) -> Rule:
    """The compiled loops' form of the settings; a regression's numbers are in units of `unit`."""
    scale = unit if task.kind == "regression" else 1.0
    return Rule(
        settings.optimizer == "ftrl",
        settings.learning_rate * scale,
        settings.beta * scale,
        settings.l1 * scale,
        float(settings.l2),
        math.inf if settings.max_step is None else settings.max_step * scale,
    )


def outputs_of(task: Task) -> int:
    """How many weights a slot has."""
    return task.classes if task.kind == "multiclass" else 1


class Table:
    """Weights of `slots` slots, `outputs_of(task)` each, learned one row after the other.

    FTRL-proximal: McMahan et al., "Ad Click Prediction: a View from the Trenches" (KDD 2013),
    Algorithm 1. AdaGrad: Duchi, Hazan and Singer, "Adaptive Subgradient Methods" (JMLR 2011),
    diagonal, composite mirror descent. Both per coordinate. The loss is the log-loss, half the
    squared error or the log-loss of a softmax; an example of weight w has w times its gradient. All
    slots are regularised alike.
    """

    def __init__(
        self,
        task: Task,
        rule: Rule,
        slots: int,
        weights: NDArray[np.float64] | None = None,
        evidence: NDArray[np.float64] | float = 0.0,
    ) -> None:
        """A table at its start: what `weights` (slots, outputs) say, or nothing.

        `evidence`, of the same shape or one number for all, is where the sums of squared gradients
        begin: the more, the less an example moves. Slots that come later begin with its smallest.
        """
        self.task, self.rule, self.outputs = task, rule, outputs_of(task)
        size = slots * self.outputs
        sums = np.broadcast_to(np.asarray(evidence, np.float64), (slots, self.outputs)).ravel()
        self._later = float(sums.min()) if size else 0.0
        self.start = np.zeros((size, 2))
        """`Z` and `N` of every row at the start, float64 (rows, 2); rows after it begin alike."""
        self.start[:, 1] = sums
        if weights is not None:
            self.start[:, 0] = primed(weights.ravel(), sums, rule)
        self.fork = self.start
        """`Z` and `N` of the rows as they were when this table was cloned or began."""
        self.rows = np.zeros((size, COLUMNS))
        self.put(np.arange(size), self.start)

    @property
    def weights(self) -> NDArray[np.float64]:
        """All weights, float64 (slots, outputs)."""
        return self.rows[:, WEIGHT].reshape(-1, self.outputs)

    def clone(self) -> Table:
        """A table of its own with the same state; `merge` counts what is learned from here on."""
        twin = object.__new__(Table)
        twin.__dict__.update(self.__dict__)
        twin.rows = self.rows.copy()
        twin.fork = self.rows[:, [Z, N]]
        return twin

    def grow(self, slots: int) -> None:
        """Have room for so many slots."""
        missing = slots * self.outputs - len(self.rows)
        if missing > 0:  # by half as much again: growing one by one would copy each time
            more = np.zeros((max(missing, len(self.rows) // 2), COLUMNS))
            more[:, N] = self._later
            self.rows = np.concatenate([self.rows, more])

    def put(self, rows: NDArray[np.int64], numbers: NDArray[np.float64]) -> None:
        """Set `Z` and `N` (rows, 2) of these rows, and the weights that follow from them."""
        self.rows[rows, Z], self.rows[rows, N] = numbers[:, 0], numbers[:, 1]
        kernels.set_weights(self.rows, rows, self.rule)

    def raw_many(self, pairs: Pairs, offsets: Scores | None = None) -> Scores:
        """Weighted sums (rows, outputs), added to `offsets` when there are some."""
        raws = self._offsets(pairs, offsets)
        kernels.add_raw(*pairs, self.rows, raws)
        return raws

    def terms(self, pairs: Pairs) -> NDArray[np.float64]:
        """What each pair adds to the weighted sums of its row, (pairs, outputs)."""
        _, slots, values = pairs
        return values[:, None] * self.weights[slots]

    def learn_many(
        self,
        pairs: Pairs,
        labels: NDArray[np.float64],
        weights: NDArray[np.float64],
        offsets: Scores | None = None,
    ) -> Scores:
        """Predict, then learn, row by row: the predictions (rows, outputs) before learning.

        Labels and weights must have been checked, and the slots must be this table's.
        """
        scores = self._offsets(pairs, offsets)
        kind = _KINDS[self.task.kind]
        kernels.learn(*pairs, labels, weights, self.rows, scores, kind, self.rule)
        return scores

    def learn_checked(
        self,
        pairs: Pairs,
        labels: NDArray[np.generic],
        weights: NDArray[np.float64] | None = None,
    ) -> Scores:
        """`learn_many` for wide data that was hashed elsewhere.

        `pairs` are as in CSR: int64 row starts (rows + 1,), int32 slots and float32 values of all
        pairs. Raises ValueError, and learns nothing, for slots outside the table and whatever else
        does not fit.
        """
        starts, slots, values = pairs
        rows = len(starts) - 1
        fit = rows >= 0 and starts[0] == 0 and starts[-1] == len(slots) == len(values)
        if not fit or (np.diff(starts) < 0).any():
            raise ValueError("pairs: found starts that do not fit the slots and values")
        most = len(self.rows) // self.outputs
        if len(slots) and not 0 <= slots.min() <= slots.max() < most:
            found = f"{slots.min()} to {slots.max()}"
            raise ValueError(f"slots: found {found}; allowed: 0 to {most - 1}")
        if not np.isfinite(values).all():
            raise ValueError("values: found some that are not finite; allowed: finite values")
        outcomes = checked_labels(self.task, labels, rows)
        return self.learn_many(pairs, outcomes, checked_weights(weights, rows))

    def link(self, raws: Scores) -> Scores:
        """Predictions (rows, outputs) from weighted sums."""
        linked = np.array(raws, np.float64)
        kernels.link_all(linked, _KINDS[self.task.kind])
        return linked

    def changed(self) -> NDArray[np.int64]:
        """The rows that are not as they were at the start, ascending."""
        found: NDArray[np.int64] = kernels.changed_rows(self.rows, self.start, self._later)
        return found

    def take_touched(self) -> NDArray[np.int64]:
        """The rows that were learned since the last call, ascending."""
        found = np.flatnonzero(self.rows[:, TOUCHED])
        self.rows[found, TOUCHED] = 0
        return found

    def update_norm(self) -> float:
        """The Euclidean distance of the weights from those at the start."""
        rows = self.changed()
        begun = np.zeros((len(rows), COLUMNS))
        begun[:, [Z, N]] = self.padded(self.start)[rows]
        kernels.set_weights(begun, np.arange(len(rows)), self.rule)
        return float(np.linalg.norm(self.rows[rows, WEIGHT] - begun[:, WEIGHT]))

    def merge(self, others: Sequence[NDArray[np.float64]], fork: NDArray[np.float64]) -> None:
        """Take in the rows that others have become, in this table's order, from `fork` on.

        Parameter mixing (McDonald, Hall and Mann, NAACL 2010), per weight: the mean of the weights,
        each counting as the squared gradients its learner has added; those sums are added up.
        """
        parts = [self.rows, *others]
        gained = np.array([np.maximum(part[:, N] - fork[:, 1], 0) for part in parts])
        total = gained.sum(axis=0)
        rows = np.flatnonzero(total > 0)
        shares = gained[:, rows] / total[rows]
        weights = (shares * [part[rows, WEIGHT] for part in parts]).sum(axis=0)
        pulls = (shares * [part[rows, Z] for part in parts]).sum(axis=0)
        sums = fork[rows, 1] + total[rows]
        numbers = np.stack([primed(weights, sums, self.rule), sums], axis=1)
        # A weight that l1 holds at 0 has no other memory than how strongly it is pulled.
        idle = (weights == 0) & self.rule.ftrl
        numbers[idle, 0] = np.clip(pulls[idle], -self.rule.l1, self.rule.l1)
        self.put(rows, numbers)
        self.rows[rows, TOUCHED] = 1

    def rows_at(self, slots: NDArray[np.int64], other: Table) -> NDArray[np.float64]:
        """The rows as `other` would have them, where this one's slots are numbered `slots`."""
        placed = np.zeros_like(other.rows)
        placed[:, [Z, N]] = other.padded(other.start)
        rows = np.add.outer(slots * self.outputs, np.arange(self.outputs)).ravel()
        kernels.set_weights(placed, np.arange(len(placed)), self.rule)
        placed[rows] = self.rows[: len(rows)]
        return placed

    def padded(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """`Z` and `N` (rows, 2) of the first rows, and of all later ones as they begin."""
        missing = len(self.rows) - len(numbers)
        if missing == 0:
            return numbers
        later = np.zeros((missing, 2))
        later[:, 1] = self._later
        return np.concatenate([numbers, later])

    def _offsets(self, pairs: Pairs, offsets: Scores | None) -> Scores:
        shape = (len(pairs[0]) - 1, self.outputs)
        return np.zeros(shape) if offsets is None else offsets.reshape(shape).copy()


def primed(
    weights: NDArray[np.float64], sums: NDArray[np.float64], rule: Rule
) -> NDArray[np.float64]:
    """The `Z` that makes an optimizer with these sums of squared gradients hold these weights."""
    if not rule.ftrl:
        return weights.copy()
    scale = (rule.beta + np.sqrt(sums)) / rule.alpha + rule.l2
    return -weights * scale - np.sign(weights) * rule.l1
