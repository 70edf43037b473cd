"""From a net's raw outputs to predictions, and the slopes of the loss it learns by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.learner import Scores
from tidemill.tasks import Task


def predictions_of(task: Task, raw: Scores) -> Scores:
    """Probabilities or values of raw scores: log-odds, values or what softmax takes."""
    if task.kind == "binary":
        with np.errstate(over="ignore"):  # exp(-raw) is infinite only where the probability is 0
            return 1 / (1 + np.exp(-raw))
    if task.kind == "regression":
        return raw
    weights = np.exp(raw - raw.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def slopes_of(task: Task, scores: Scores, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes (rows, outputs) of the log-loss, or of half the squared error, by the raw scores."""
    if task.kind != "multiclass":
        return (scores - labels)[:, None]
    slopes = scores.copy()
    slopes[np.arange(len(labels)), labels.astype(np.int64)] -= 1
    return slopes
