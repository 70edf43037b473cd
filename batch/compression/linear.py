"""Smaller linear models: no empty slots, weights of 16 bits, no slots that say little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from batch.compression.family import Material, some_of
from learners.learner import Frozen, Vectors
from learners.linear.compact import CompactRelease, half
from learners.linear.frozen import FrozenLinear
from learners.release import LINEAR_FILE, ModelFile

_ROWS = 50_000


class Linears:
    """See `Family`.

    `slots` keeps those that move the training rows' raw scores most (root mean square), the bias
    always.
    """

    strengths: ClassVar[Mapping[str, Sequence[float]]] = {
        "sparse": (1.0,),
        "half": (1.0,),
        "slots": (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03),
    }

    def __init__(self, material: Material) -> None:
        self._frozen = FrozenLinear.parse(material.model.data)
        self._vectors = some_of(material.rows, _ROWS).vectors

    def variants(self, method: str, keep: float) -> Sequence[ModelFile]:
        """See `Family`."""
        frozen = self._frozen
        said = (frozen.weights != 0).any(axis=1) | (frozen.evidence > 0).any(axis=1)
        said[0] = True
        used = np.flatnonzero(said)
        if method == "slots":
            used = self._strongest(used, keep)
        return [ModelFile(LINEAR_FILE, compact_bytes(frozen, used, method != "sparse"))]

    @staticmethod
    def operations(model: Frozen, vectors: Vectors) -> float:
        """One multiplication a column and output, whatever is left out."""
        assert isinstance(model, FrozenLinear)
        return float((1 + len(model.features)) * model.weights.shape[1])

    def _strongest(self, used: NDArray[np.int64], keep: float) -> NDArray[np.int64]:
        frozen = self._frozen
        _, slots, values = frozen.encoder().encode(self._vectors)
        squares = np.bincount(slots, values.astype(np.float64) ** 2, len(frozen.weights))
        strength = squares[used] * (frozen.weights[used] ** 2).sum(axis=1)
        strength[used == 0] = np.inf
        order = np.argsort(-strength, kind="stable")[: max(1, round(keep * len(used)))]
        return np.sort(used[order])


def compact_bytes(frozen: FrozenLinear, used: NDArray[np.int64], halved: bool) -> bytes:
    """A release of some of the slots."""
    weights, evidence = frozen.weights[used], frozen.evidence[used]
    packed: tuple[bytes, bytes, float | None] = (
        weights.astype("<f8").tobytes(), evidence.astype("<f8").tobytes(), None,
    )  # fmt: skip
    if halved:
        packed = half(weights, evidence, frozen.unit)
    encoder = frozen.encoder()
    return msgspec.msgpack.encode(
        CompactRelease(
            task=frozen.task.kind,
            classes=frozen.task.classes,
            features=frozen.features,
            categorical=frozen.categorical,
            hash_bits=encoder.hash_bits,
            unit=frozen.unit,
            moments=encoder.moments.astype("<f8").tobytes(),
            keys=encoder.keys.astype("<u8").tobytes(),
            slots=encoder.slots,
            used=b"" if len(used) == encoder.slots else used.astype("<u4").tobytes(),
            weights=packed[0],
            evidence=packed[1],
            scale=packed[2],
        )
    )
