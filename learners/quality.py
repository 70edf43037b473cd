"""How good probabilities are: AUC and log-loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# scikit-learn clips at the float64 epsilon too; a certain and wrong score costs 36, not infinity.
_SMALLEST = np.finfo(np.float64).eps


def auc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve, ties counted half; None unless both classes are there.

    Hanley and McNeil (Radiology 1982): the share of pairs of a positive and a negative in the right
    order.
    """
    positive, values = np.asarray(labels) == 1, np.asarray(scores, np.float64)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return None
    order = np.argsort(values, kind="stable")
    _, group, sizes = np.unique(values[order], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # tied scores share their mean rank
    above = float(ranks[positive[order]].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def log_loss(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Mean negative log-likelihood in nats; None for no rows."""
    positive = np.asarray(labels) == 1
    if len(positive) == 0:
        return None
    values = np.clip(np.asarray(scores, np.float64), _SMALLEST, 1 - _SMALLEST)
    return float(-np.mean(np.log(np.where(positive, values, 1 - values))))
