"""How good scores are, with intervals: a bootstrap that draws whole stretches of the stream.

Künsch, "The Jackknife and the Bootstrap for General Stationary Observations" (Annals of Statistics
1989), with blocks that do not overlap: rows of one day are alike and must be drawn together.
Methods are compared on the same draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
REPLICATES, SEED = 400, 7
_LOW, _HIGH = 2.5, 97.5  # percentiles of a 95 % interval
_SMALLEST = 1e-15


@dataclass(frozen=True)
class Estimate:
    """A number over all rows and over each replicate."""

    value: float
    replicates: Floats

    @property
    def interval(self) -> tuple[float, float]:
        """Where 95 % of the replicates are."""
        low, high = np.percentile(self.replicates, (_LOW, _HIGH))
        return float(low), float(high)

    def __sub__(self, other: Estimate) -> Estimate:
        return Estimate(self.value - other.value, self.replicates - other.replicates)


def draws(blocks: NDArray[np.int64]) -> Floats:
    """How often each row counts in each replicate: its block's draws (replicates, blocks)."""
    count = len(np.unique(blocks))
    random = np.random.default_rng(SEED)
    return random.multinomial(count, np.full(count, 1 / count), REPLICATES).astype(float)


def measure(labels: Floats, scores: Floats, blocks: NDArray[np.int64]) -> dict[str, Estimate]:
    """AUC, log-loss and accuracy of scores (rows,) of labels 0 and 1."""
    number = np.unique(blocks, return_inverse=True)[1]
    drawn, sizes = draws(blocks), np.bincount(number).astype(float)
    right = (scores > 0.5) == (labels == 1)
    return {
        "auc": _auc(labels, scores, number, drawn),
        "log_loss": _mean(log_losses(labels, scores), number, drawn, sizes),
        "accuracy": _mean(right.astype(float), number, drawn, sizes),
    }


def log_losses(labels: Floats, scores: Floats) -> Floats:
    """The log-loss of each row in nats."""
    said = np.where(labels == 1, scores, 1 - scores)
    return np.asarray(-np.log(np.clip(said, _SMALLEST, 1)), float)


def _mean(values: Floats, number: NDArray[np.int64], drawn: Floats, sizes: Floats) -> Estimate:
    sums = np.bincount(number, values)
    return Estimate(float(values.mean()), (drawn @ sums) / (drawn @ sizes))


def _auc(labels: Floats, scores: Floats, number: NDArray[np.int64], drawn: Floats) -> Estimate:
    """Hanley and McNeil's (Radiology 1982), rows weighted, ties counted half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    positive, block = labels[order] == 1, number[order]

    def weighted(weights: Floats) -> float:
        ups = np.add.reduceat(np.where(positive, weights, 0.0), starts)
        downs = np.add.reduceat(np.where(positive, 0.0, weights), starts)
        below = np.cumsum(downs) - downs / 2
        pairs = ups.sum() * downs.sum()
        return float((ups * below).sum() / pairs) if pairs else np.nan

    value = weighted(np.ones(len(labels)))
    found = np.array([weighted(one[block]) for one in drawn])
    return Estimate(value, found[~np.isnan(found)] if np.isnan(found).any() else found)
