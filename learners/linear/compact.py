"""Linear releases that name the slots they use: the others are empty, and of hashed ones most are.

Weights keep 64 bits or become 16, in units of the largest. What the optimizer's sums need is
coarse: then each is a byte (`learners.coarse`).
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners.coarse import from_bytes, to_bytes
from tidemill.errors import ArtifactError


class CompactRelease(msgspec.Struct, frozen=True, kw_only=True, tag="linear-compact-1"):
    """As `Release`, for the slots of `used` (uint32, ascending; empty: all) of all `slots`.

    `weights` (used, outputs) are float64, or float16 to be multiplied by `scale`; `evidence` is
    float64 or bytes in the same way.
    """

    task: Literal["binary", "regression", "multiclass"]
    classes: int
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    hash_bits: int | None
    unit: float
    moments: bytes
    keys: bytes
    slots: int
    used: bytes
    weights: bytes
    evidence: bytes
    scale: float | None


Floats = NDArray[np.float64]


def half(weights: Floats, evidence: Floats, unit: float) -> tuple[bytes, bytes, float]:
    """Weights and evidence in few bits, and the weights' scale; evidence counts in `unit` ** 2."""
    scale = float(np.abs(weights).max(initial=0)) or 1.0
    codes = to_bytes(evidence / unit**2)
    return (weights / scale).astype("<f2").tobytes(), codes.tobytes(), scale


def every_slot(release: CompactRelease, outputs: int, most: int) -> tuple[bytes, bytes]:
    """Weights and evidence of all slots as `Release` has them. Raises ArtifactError."""
    used = np.frombuffer(release.used, "<u4").astype(np.int64)
    few = 0 <= release.slots <= most
    if few and not len(used):
        used = np.arange(release.slots)
    if not few or not (np.diff(used) > 0).all() or (used >= release.slots).any():
        raise ArtifactError(f"linear release: used: found slots out of order or beyond {most}")
    if release.scale is None:
        weights = np.frombuffer(release.weights, "<f8")
        evidence = np.frombuffer(release.evidence, "<f8")
    else:
        if not (np.isfinite(release.scale) and np.isfinite(release.unit)):
            raise ArtifactError("linear release: scale, unit: found one that is not finite")
        weights = np.frombuffer(release.weights, "<f2").astype(np.float64) * release.scale
        evidence = from_bytes(np.frombuffer(release.evidence, np.uint8)) * release.unit**2
    slots = release.slots
    return _spread(weights, used, slots, outputs), _spread(evidence, used, slots, outputs)


def _spread(numbers: Floats, used: NDArray[np.int64], slots: int, outputs: int) -> bytes:
    if numbers.size != len(used) * outputs:
        raise ArtifactError(
            f"linear release: found {numbers.size} numbers; allowed: {len(used) * outputs}"
        )
    every = np.zeros((slots, outputs))
    every[used] = numbers.reshape(len(used), outputs)
    return every.astype("<f8").tobytes()
