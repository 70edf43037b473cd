"""What is answered before anything was learned: the same for every request."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tidemill.tasks import BINARY, Task

PRIOR = "prior"
"""Stands where a release's name stands in answers and records."""

PROBABILITY, VALUE = 0.5, 0.0


class Prior:
    """Knows nothing: prefers neither label, and of numbers none to zero."""

    def __init__(self, task: Task = BINARY) -> None:
        self._score = VALUE if task.kind == "regression" else PROBABILITY

    def predict_both(
        self, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores and baselines, each (rows,), for vectors (rows, features)."""
        scores = np.full(len(vectors), self._score)
        return scores, scores.copy()
