"""What each feature adds to a mixture: what its experts say it does, by how much each counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learners.explain.blend import slopes_of_odds, slopes_of_values
from learners.mixture.mixture import MixtureLearner

Floats = NDArray[np.float64]


def mixture_contributions(mixture: MixtureLearner, told: Sequence[Floats]) -> Floats:
    """Float64 (rows, features + 1) from those of the release and each expert.

    Exact in log-odds for probabilities, in the label's unit for values, where each expert's are:
    rows sum to the mixture's. The last column is what the mixture says where each expert says its
    own last column.
    """
    parts = np.stack(told, axis=1)  # (rows, experts, features + 1)
    start, end = parts[:, :, -1], parts.sum(axis=2)
    if mixture.task.kind == "regression":
        slopes, base = slopes_of_values(mixture.blend, start, end), mixture.blend.predict(start)
    else:
        slopes, base = slopes_of_odds(mixture.blend, start, end)
    found: Floats = np.einsum("re,ref->rf", slopes, parts)
    found[:, -1] = base
    return found
