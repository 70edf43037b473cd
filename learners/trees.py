"""Trees of a release, frozen: which leaf of each tree a feature vector falls into."""

from __future__ import annotations

import hashlib

import numba
import numpy as np
from numpy.typing import NDArray

from learners.lightgbm_text import TreeArrays, parse_model


class FrozenTrees:
    """A LightGBM binary classifier, read only; safe to use from several threads.

    Walking the trees in a compiled kernel gives the leaves LightGBM's own predictor gives (tested
    equal) and costs a single vector half of what a call of LightGBM's C API does, without loading
    that library into serving processes.
    """

    def __init__(self, arrays: TreeArrays, digest: str) -> None:
        self._arrays = arrays
        self.digest = digest
        """SHA-256 of the model text: what a learner's state belongs to."""
        self.features = arrays.features
        self.leaf_counts = arrays.leaf_counts
        """Leaves of each tree, int32 (trees,)."""
        self.leaf_values = arrays.leaf_values
        """What each leaf adds to the log-odds, float64 (leaves,); tree 0 has the average."""
        self.leaf_weights = arrays.leaf_weights
        """Sum of p(1-p) over the training rows in each leaf, float64 (leaves,)."""
        self.offsets: NDArray[np.int64] = np.cumsum(arrays.leaf_counts, dtype=np.int64) - (
            arrays.leaf_counts
        )
        """Number of each tree's first leaf, int64 (trees,)."""

    @classmethod
    def parse(cls, model_text: bytes) -> FrozenTrees:
        """Read LightGBM's text format. Raises ArtifactError for all but a binary classifier."""
        return cls(parse_model(model_text), hashlib.sha256(model_text).hexdigest())

    def leaves(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """The leaf of every tree for every vector.

        `vectors` is float32 (rows, features), NaN where a value is missing; the result int32 (rows,
        trees) holds numbers into `leaf_values`. Raises ValueError for vectors of another width.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.features):
            raise ValueError(
                f"vectors: found shape {vectors.shape}; allowed: (rows, {len(self.features)})"
            )
        # One array type is one compiled kernel: a read-only or strided array would compile another.
        vectors = np.require(vectors, np.float32, ("C", "W"))
        numbers = np.empty((len(vectors), len(self.leaf_counts)), np.int32)
        arrays = self._arrays
        _walk(
            vectors,
            arrays.roots,
            arrays.split_features,
            arrays.thresholds,
            arrays.missing_right,
            arrays.first_word,
            arrays.words,
            arrays.children,
            arrays.bits,
            numbers,
        )
        return numbers


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _walk(  # noqa: PLR0913  a kernel takes arrays, not objects
    vectors: NDArray[np.float32],
    roots: NDArray[np.int32],
    split_features: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    missing_right: NDArray[np.bool_],
    first_word: NDArray[np.int32],
    words: NDArray[np.int32],
    children: NDArray[np.int32],
    bits: NDArray[np.uint32],
    numbers: NDArray[np.int32],
) -> None:
    for tree in range(len(roots)):  # trees outside: one tree's nodes stay in the cache
        for row in range(len(vectors)):
            node = roots[tree]
            while node >= 0:
                value = vectors[row, split_features[node]]
                if words[node] == 0:
                    right = (value > thresholds[node]) | ((value != value) & missing_right[node])
                else:
                    right = True
                    # NaN fails the comparison; -0.5 is category 0, as in LightGBM's integer cast.
                    if value > -1 and value < 32 * words[node]:
                        code = np.uint32(value)
                        word = bits[first_word[node] + (code >> 5)]
                        right = (word >> (code & np.uint32(31))) & np.uint32(1) == 0
                node = children[node, 1] if right else children[node, 0]
            numbers[row, tree] = ~node
