"""Measures of rows: AUC, log-loss, calibration error and accuracy of probabilities; MAE and RMSE.

Every one takes importances as `weights` (1 without) and is None where it is not defined.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# scikit-learn clips at the float64 epsilon too; a certain and wrong score costs 36, not infinity.
_SMALLEST = np.finfo(np.float64).eps
CALIBRATION_GROUPS = 15  # as in Guo et al., On Calibration of Modern Neural Networks (ICML 2017)
THRESHOLD = 0.5  # a probability above it says "1"

Floats = NDArray[np.float64]


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Area under the ROC curve, ties counted half; None unless both classes are there.

    Hanley and McNeil (Radiology 1982): the share of pairs of a positive and a negative in the right
    order; a pair weighs the product of its two weights.
    """
    positive, weighed = np.asarray(labels) == 1, _weights(labels, weights)
    values, cell = np.unique(np.asarray(scores, np.float64), return_inverse=True)
    up: Floats = np.bincount(cell, weighed * positive, len(values)).astype(np.float64)
    down: Floats = np.bincount(cell, weighed * ~positive, len(values)).astype(np.float64)
    return auc_of_cells(up, down)[0]


def auc_of_cells(positive: Floats, negative: Floats) -> tuple[float | None, float]:
    """AUC of cells in rising order of their scores, and how far it can be off.

    `positive` and `negative` are the weights in each cell. A pair within one cell counts half, so
    that the AUC of the scores themselves lies within half the weight of such pairs.
    """
    pairs = float(positive.sum() * negative.sum())
    if not pairs > 0:
        return None, 0.0
    below = np.cumsum(negative) - negative
    within = float(positive @ negative)
    return (float(positive @ below) + within / 2) / pairs, within / 2 / pairs


def log_loss(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> float | None:
    """Mean negative log-likelihood in nats; None for no rows."""
    return _mean(log_losses(labels, scores), _weights(labels, weights))


def log_losses(labels: ArrayLike, scores: ArrayLike) -> Floats:
    """Negative log-likelihood in nats of each row."""
    positive = np.asarray(labels) == 1
    values = np.clip(np.asarray(scores, np.float64), _SMALLEST, 1 - _SMALLEST)
    losses: Floats = -np.log(np.where(positive, values, 1 - values))
    return losses


def calibration_error(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> float | None:
    """Expected calibration error: mean distance between what was said and what came; None for none.

    Naeini, Cooper and Hauskrecht (AAAI 2015), over groups of equal weight instead of equal width,
    which is less biased (Roelofs et al., AISTATS 2022, section 5).
    """
    values, weighed = np.asarray(scores, np.float64), _weights(labels, weights)
    order = np.argsort(values, kind="stable")
    positive = (np.asarray(labels) == 1)[order]
    sorted_ = weighed[order]
    return calibration_of_cells(sorted_, sorted_ * values[order], sorted_ * positive)


def calibration_of_cells(weights: Floats, said: Floats, came: Floats) -> float | None:
    """Expected calibration error of cells in rising order of their scores.

    `said` is a cell's weighted sum of scores, `came` its weight of positives.
    """
    total = float(weights.sum())
    if not total > 0:
        return None
    middle = (np.cumsum(weights) - weights / 2) / total
    group = np.clip(middle * CALIBRATION_GROUPS, 0, CALIBRATION_GROUPS - 1).astype(np.int64)
    gaps = np.bincount(group, said - came, CALIBRATION_GROUPS)
    return float(np.abs(gaps).sum()) / total


def accuracy(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> float | None:
    """Share of rows on the right side of one half; None for no rows."""
    right = (np.asarray(scores, np.float64) > THRESHOLD) == (np.asarray(labels) == 1)
    return _mean(right.astype(np.float64), _weights(labels, weights))


def mae(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Mean absolute error, in the label's unit; None for no rows."""
    return _mean(np.abs(_errors(labels, scores)), _weights(labels, weights))


def rmse(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Root of the mean squared error, in the label's unit; None for no rows."""
    squared = _mean(_errors(labels, scores) ** 2, _weights(labels, weights))
    return None if squared is None else float(np.sqrt(squared))


def _errors(labels: ArrayLike, scores: ArrayLike) -> Floats:
    errors: Floats = np.asarray(scores, np.float64) - np.asarray(labels, np.float64)
    return errors


def _weights(labels: ArrayLike, weights: ArrayLike | None) -> Floats:
    if weights is None:
        return np.ones(len(np.asarray(labels)))
    return np.asarray(weights, np.float64)


def _mean(values: Floats, weights: Floats) -> float | None:
    total = float(weights.sum())
    return float(weights @ values) / total if total > 0 else None
