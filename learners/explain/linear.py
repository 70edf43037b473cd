"""What each feature adds to a linear model's sum: its weights, times its values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.learner import Vectors
from learners.linear.frozen import FrozenLinear
from learners.linear.learner import LinearLearner


def linear_contributions(
    model: FrozenLinear | LinearLearner, vectors: Vectors
) -> NDArray[np.float64]:
    """Float64 (rows, features + 1), exact; the last column is the model's bias.

    A number is standardised, so what it adds is how far it is from the mean, times its weight. A
    missing one adds the weight of its absence, a category its own.
    """
    terms = model.terms(vectors)  # (rows, 1 + features), the bias first
    return np.concatenate([terms[:, 1:], terms[:, :1]], axis=1)
