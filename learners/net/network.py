"""The weights of a net and what they make of vectors; a release and a learner have one each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from learners.learner import Scores, Vectors
from learners.net.layers import fill_inputs, find_rows, multiply
from learners.net.moments import scaling_of
from learners.net.shape import NetShape
from learners.net.table import EmbeddingTable

_CHUNK_ROWS = 1024  # of the same time in memory, whatever the call


@dataclass
class Network:
    """Layers, embeddings and the standardisation of numbers.

    What it outputs is `center` + `scale` times the last layer; a regression's scale is 0 until the
    first examples show how large errors are.
    """

    shape: NetShape
    dense: NDArray[np.float32]
    sums: NDArray[np.float32]
    table: EmbeddingTable
    moments: NDArray[np.float64]
    center: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        self.rescale()
        self.layers = self.shape.layers(self.dense)

    def rescale(self) -> None:
        """Standardise by the moments as they are now."""
        self.scaling = scaling_of(self.moments)

    def copy(self) -> Self:
        """A network of its own with the same weights."""
        arrays = (self.dense.copy(), self.sums.copy(), self.table.copy(), self.moments.copy())
        return type(self)(self.shape, *arrays, self.center, self.scale)

    def checked(self, vectors: Vectors) -> Vectors:
        """Vectors as the kernels take them. Raises ValueError for those of another width."""
        wide = len(self.shape.features)
        if vectors.ndim != 2 or vectors.shape[1] != wide:
            raise ValueError(f"vectors: found shape {vectors.shape}; allowed: (rows, {wide})")
        # One array type is one compiled kernel: a read-only or strided array would compile another.
        return np.require(vectors, np.float32, ("C", "W"))

    def raw_many(self, vectors: Vectors) -> NDArray[np.float64]:
        """What the net outputs, (rows, outputs), for checked vectors."""
        if len(vectors) <= _CHUNK_ROWS:
            return self.output(self.run(vectors)[-1])
        starts = range(0, len(vectors), _CHUNK_ROWS)
        return np.concatenate([self.raw_many(vectors[s : s + _CHUNK_ROWS]) for s in starts])

    def output(self, last: NDArray[np.float32]) -> NDArray[np.float64]:
        """The net's output of its last layer's."""
        return self.center + self.scale * last.astype(np.float64)

    def run(self, vectors: Vectors) -> list[NDArray[np.float32]]:
        """The inputs and what each layer makes of them, for checked vectors."""
        return self.run_from(vectors, self.find(vectors)[0])

    def find(self, vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Each id's row in the table, and its key: int64 (rows, ids)."""
        places = self.shape.categorical_places
        found, keys = np.empty((2, len(vectors), len(places)), np.int64)
        find_rows(vectors, places, self.table.index.slots, found, keys)
        return found, keys

    def run_from(self, vectors: Vectors, found: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """As `run`, for ids that were found."""
        rows, shape = len(vectors), self.shape
        values = np.empty((rows, shape.inputs), np.float32)
        fill_inputs(vectors, shape.numeric_places, self.scaling, found, self.table.rows, values)
        made = [values]
        for weights, biases in self.layers:
            results = np.empty((rows, len(biases)), np.float32)
            multiply(made[-1], weights, biases, results, len(made) < len(self.layers))
            made.append(results)
        return made

    def scores(self, raw: NDArray[np.float64]) -> Scores:
        """Raw outputs as the ports have them: (rows,) but for several classes."""
        return raw if self.shape.task.kind == "multiclass" else raw[:, 0]
