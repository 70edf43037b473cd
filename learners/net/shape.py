"""What a net looks like: its inputs, its layers, and where their weights lie in one flat array."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from learners.net.id_map import mix
from tidemill.tasks import Task


@dataclass(frozen=True)
class NetShape:
    """Sizes of a net over `features`, of which `categorical` are ids.

    The inputs of a row are its numbers (standardised; 0 where missing), then for each number 1
    where it was missing and 0 elsewhere, then the embedding of each id. Layers are fully connected
    with ReLU between them. In the flat array a layer is its weights (in, out), then its biases.
    """

    task: Task
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    embedding: int
    hidden: tuple[int, ...]

    @cached_property
    def numeric_places(self) -> NDArray[np.int64]:
        """Columns of the numbers in a vector."""
        names = enumerate(self.features)
        return np.array([i for i, name in names if name not in self.categorical], np.int64)

    @cached_property
    def categorical_places(self) -> NDArray[np.int64]:
        """Columns of the ids in a vector."""
        names = enumerate(self.features)
        return np.array([i for i, name in names if name in self.categorical], np.int64)

    @property
    def outputs(self) -> int:
        """One, or the number of classes."""
        return self.task.classes or 1

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Width of the inputs, of every hidden layer and of the output."""
        inputs = 2 * len(self.numeric_places) + self.embedding * len(self.categorical_places)
        return np.array([inputs, *self.hidden, self.outputs], np.int64)

    @property
    def inputs(self) -> int:
        """Width of the inputs."""
        return int(self.sizes[0])

    @property
    def dense_length(self) -> int:
        """Weights and biases of all layers together."""
        return int(((self.sizes[:-1] + 1) * self.sizes[1:]).sum())

    def layers(
        self, dense: NDArray[np.float32]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Views of each layer's weights (in, out) and biases (out,)."""
        found: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        at = 0
        for before, after in zip(self.sizes[:-1].tolist(), self.sizes[1:].tolist(), strict=True):
            end = at + before * after
            found.append((dense[at:end].reshape(before, after), dense[end : end + after]))
            at = end + after
        return found

    def first_weights(self, seed: int) -> NDArray[np.float32]:
        """Weights to start with: random in the hidden layers, 0 in the last one and all biases.

        He et al., "Delving Deep into Rectifiers" (2015), section 2.2: the variance is 2 / inputs.
        """
        dense = np.zeros(self.dense_length, np.float32)
        for number, (weights, _) in enumerate(self.layers(dense)[:-1]):
            limit = np.sqrt(6 / len(weights))
            weights[:] = limit * _uniform(seed, number, weights.size).reshape(weights.shape)
        return dense

    def is_pruned(self, whole: NetShape) -> bool:
        """True for the shape of a net like `whole` with fewer units in some hidden layers."""
        return replace(self, hidden=whole.hidden) == whole and (
            len(self.hidden) == len(whole.hidden)
            and all(few <= many for few, many in zip(self.hidden, whole.hidden, strict=True))
        )

    def __str__(self) -> str:
        sizes = "-".join(map(str, self.sizes.tolist()))
        ids = ",".join(map(str, self.categorical_places.tolist()))
        return f"{self.task.kind} {sizes} of {len(self.features)} with ids {ids}"


def _uniform(seed: int, layer: int, count: int) -> NDArray[np.float64]:
    """Numbers from -1 to 1 that depend on nothing but the arguments, in any NumPy."""
    first = np.uint64(mix((seed << 8) + layer) >> np.uint64(1))
    bits = np.array([mix(int(first) + i) for i in range(count)], np.uint64)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1
