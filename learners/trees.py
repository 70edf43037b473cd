"""Trees of a release, frozen: which leaf of each tree a feature vector falls into."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

from learners.explain.paths import Paths
from learners.learner import Scores, Vectors
from learners.lightgbm_text import parse_model
from learners.tree_arrays import TreeArrays
from learners.tree_walk import TreeWalk
from tidemill.tasks import Task


class FrozenTrees:
    """A LightGBM classifier of two classes or a regression, read only; safe from several threads.

    `tree_walk` gives the leaves LightGBM's own predictor gives (tested equal) in a third of what a
    call of LightGBM's C API costs a single vector, without loading that library into serving
    processes. One difference: values within 1e-35 of zero are what they are, where LightGBM's
    reader of rows takes them for zero.
    """

    def __init__(self, arrays: TreeArrays, digest: str) -> None:
        self.arrays = arrays
        self.digest = digest
        """SHA-256 of the model text: what a learner's state belongs to."""
        self.task: Task = arrays.task
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
        self._walk = TreeWalk.of(arrays)
        self._walked = threading.local()

    @classmethod
    def parse(cls, model_text: bytes) -> FrozenTrees:
        """Read LightGBM's text format. Raises ArtifactError for a model of another kind."""
        return cls(parse_model(model_text), hashlib.sha256(model_text).hexdigest())

    @cached_property
    def paths(self) -> Paths:
        """What explaining needs beside the nodes; made when first asked for."""
        return Paths.of(self.arrays)

    @property
    def unit(self) -> float:
        """What raw values are measured in: 1 for log-odds, else how far the values spread.

        The variance of a sum of trees is taken for the sum of their variances over the training
        rows.
        """
        if self.task.kind == "binary":
            return 1.0
        counts = np.maximum(self.leaf_weights, 1.0)
        tree_of = np.repeat(np.arange(len(self.leaf_counts)), self.leaf_counts)
        total = np.bincount(tree_of, counts)
        means = np.bincount(tree_of, counts * self.leaf_values) / total
        squares = counts * (self.leaf_values - means[tree_of]) ** 2
        return float(np.sqrt((np.bincount(tree_of, squares) / total).sum())) or 1.0

    def raw_many(self, vectors: Vectors) -> Scores:
        """Log-odds, or a regression's values, (rows,)."""
        return self.raw_of(self.leaves(vectors), self.leaf_values)

    def predict_many(self, vectors: Vectors) -> Scores:
        """Probabilities of label 1, or a regression's values, (rows,)."""
        return self.predictions_of(self.raw_many(vectors))

    @staticmethod
    def raw_of(leaves: NDArray[np.int32], values: NDArray[np.float64]) -> Scores:
        """The sum of each row's leaves (rows, trees) in the trees' order, as LightGBM adds them."""
        return _sums(leaves, values)

    def predictions_of(self, raw: Scores) -> Scores:
        """What raw values mean: probabilities, or themselves."""
        return raw if self.task.kind == "regression" else _probabilities(raw)

    def leaves(self, vectors: Vectors) -> NDArray[np.int32]:
        """The leaf of every tree for every vector.

        `vectors` is float32 (rows, features), NaN where a value is missing; the result int32 (rows,
        trees) holds numbers into `leaf_values`. Raises ValueError for vectors of another width.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.features):
            raise ValueError(
                f"vectors: found shape {vectors.shape}; allowed: (rows, {len(self.features)})"
            )
        held = getattr(self._walked, "vectors", None)
        if held is not None and held is vectors and self._walked.leaves is not None:
            return self._walked.leaves  # type: ignore[no-any-return]
        numbers = self._walk.leaves(vectors)
        if held is vectors:
            self._walked.leaves = numbers
        return numbers

    @contextmanager
    def walked_once(self, vectors: Vectors) -> Iterator[None]:
        """While it lasts, this thread walks the trees once for this array, which nobody changes."""
        self._walked.vectors, self._walked.leaves = vectors, None
        try:
            yield
        finally:
            self._walked.vectors = self._walked.leaves = None


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sums(leaves: NDArray[np.int32], values: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, trees = leaves.shape
    sums = np.empty(rows)
    for row in range(rows):
        total = 0.0
        for tree in range(trees):  # in LightGBM's order, so that sums are equal to the last bit
            total += values[leaves[row, tree]]
        sums[row] = total
    return sums


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _probabilities(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    # Compiled like what learns: NumPy's own exp differs from it in the last bit.
    scores = np.empty(len(raw))
    for row in range(len(raw)):
        scores[row] = 1 / (1 + np.exp(-raw[row]))
    return scores
