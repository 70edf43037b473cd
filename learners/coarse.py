"""Sums of which only the size matters, a byte each: quarter powers of two from 2^-31.75, or 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STEPS, _MIDDLE = 4.0, 128
_SMALLEST = 2.0**-40

Floats = NDArray[np.float64]


def to_bytes(sums: Floats) -> NDArray[np.uint8]:
    """The code of each number, 0 or more: what it stands for is at most a tenth off."""
    logarithms = np.rint(_STEPS * np.log2(np.maximum(sums, _SMALLEST))) + _MIDDLE
    return np.where(sums > 0, np.clip(logarithms, 1, 255), 0).astype(np.uint8)


def from_bytes(codes: NDArray[np.uint8]) -> Floats:
    """The numbers of codes."""
    sums = np.exp2((codes.astype(np.float64) - _MIDDLE) / _STEPS)
    return np.where(codes > 0, sums, 0.0)
