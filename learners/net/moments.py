"""Mean and variance of each number so far, by which it is standardised."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from learners.net.layers import CLIP

COUNT, MEAN, SQUARES = range(3)
"""Rows of the moments (3, numbers): values seen, their mean, their summed squared deviations."""


def no_moments(numbers: int) -> NDArray[np.float64]:
    """Nothing seen yet."""
    return np.zeros((3, numbers))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def scaling_of(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean and 1 / standard deviation (2, numbers); 0 and 0 for one that never varied so far."""
    scaling = np.zeros((2, moments.shape[1]))
    for i in range(moments.shape[1]):
        count, mean = moments[COUNT, i], moments[MEAN, i]
        if count >= 2:
            variance = moments[SQUARES, i] / count
            if variance > 1e-12 * mean * mean and variance > 1e-60:
                scaling[0, i], scaling[1, i] = mean, 1 / np.sqrt(variance)
    return scaling


@numba.njit(cache=True, nogil=True, error_model="numpy")
def take_in(
    moments: NDArray[np.float64],
    scaling: NDArray[np.float64],
    vectors: NDArray[np.float32],
    numeric: NDArray[np.int64],
) -> None:
    """Add rows to the moments (Welford, "Note on a method for calculating corrected sums", 1962).

    A value further out than the net's inputs are cut counts as one at that distance, so that a
    single wild one does not squeeze all others together.
    """
    for row in range(len(vectors)):
        for i in range(len(numeric)):
            value = np.float64(vectors[row, numeric[i]])
            if not np.isfinite(value):
                continue
            if scaling[1, i] > 0:
                reach = CLIP / scaling[1, i]
                value = min(max(value, scaling[0, i] - reach), scaling[0, i] + reach)
            moments[COUNT, i] += 1
            off = value - moments[MEAN, i]
            moments[MEAN, i] += off / moments[COUNT, i]
            moments[SQUARES, i] += off * (value - moments[MEAN, i])
