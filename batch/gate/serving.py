"""What a model would have answered over past rows, learning from each label when it came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from learners.learner import Learner

STEP_MS = 60_000
"""The simulated service exchanges its weights this often; the real one does so sooner."""


def serve(learner: Learner, data: Dataset) -> NDArray[np.float64]:
    """Score every row at its time with what was learned from the labels that had come by then.

    Time moves in steps of `STEP_MS`: in each, all requests are scored, then all labels learned.
    """
    scores = np.empty(len(data))
    asked = np.argsort(data.times, kind="stable")
    asked_step = data.times[asked] // STEP_MS
    learned_step = data.label_times // STEP_MS  # rows are in the order of their labels
    for step in np.union1d(asked_step, learned_step):
        rows = asked[slice(*np.searchsorted(asked_step, [step, step + 1]))]
        scores[rows] = learner.predict_many(data.vectors[rows])
        known = slice(*np.searchsorted(learned_step, [step, step + 1]))
        learner.learn_many(data.vectors[known], data.labels[known], data.weights[known])
    return scores
