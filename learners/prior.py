"""What is answered before anything was learned: the same probability for every request."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PRIOR = "prior"
"""Stands where a release's name stands in answers and records."""

PROBABILITY = 0.5


class Prior:
    """Knows nothing, so it prefers neither label."""

    def predict_both(
        self, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores and baselines, each (rows,), for vectors (rows, features)."""
        scores = np.full(len(vectors), PROBABILITY)
        return scores, scores.copy()
