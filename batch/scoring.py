"""What a frozen model says of many rows, in little memory."""

from __future__ import annotations

import numpy as np

from learners.learner import Frozen, Scores, Vectors

_CHUNK_ROWS = 10_000  # a chunk of leaf numbers is 8 MB at 200 trees, whatever the rows


def predict_all(frozen: Frozen, vectors: Vectors) -> Scores:
    """Probabilities or values of `vectors` (rows, features), (rows,)."""
    starts = range(0, len(vectors), _CHUNK_ROWS)
    chunks = [frozen.predict_many(vectors[start : start + _CHUNK_ROWS]) for start in starts]
    return np.concatenate([np.empty(0), *chunks])
