"""An online linear head on frozen trees: AdaGrad moves a leaf's weight after each example."""

from __future__ import annotations

import msgspec
import numba
import numpy as np
from numpy.typing import NDArray

from learners.trees import FrozenTrees
from tidemill.errors import ArtifactError

# A leaf's sum begins as if the head had seen this share of the leaf's training rows: the sum of
# p(1-p) that LightGBM keeps is what their squared slopes of the log-loss are expected to add up to.
# On eight months of flights a tenth ends as good as no priming at all (AUC .783, log-loss .456;
# the frozen release .775 and .463). Early on it is steadier: against the release +.003 AUC in one
# week and -.0005 in three, unprimed -.001 and -.002; one example moves a score .003, not .018.
PRIME_SHARE = 0.1
PRIME_FLOOR = 1.0  # in leaves that hold next to nothing


class _State(msgspec.Struct, frozen=True, array_like=True):
    """What a head's state is as bytes: the trees it belongs to and little-endian float64 arrays."""

    trees: str
    weights: bytes
    sums: bytes


class TreeHead:
    """Boosted trees give one leaf per tree; a logistic regression over the leaves learns online.

    Trees and head: He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook" (ADKDD
    2014), section 3. Step sizes: Duchi, Hazan and Singer, "Adaptive Subgradient Methods" (JMLR
    2011), diagonal AdaGrad. Predicting changes no state; one thread may learn while nobody else
    uses the same head.
    """

    def __init__(
        self,
        trees: FrozenTrees,
        learning_rate: float,
        weights: NDArray[np.float64],
        sums: NDArray[np.float64],
    ) -> None:
        self.trees, self.learning_rate = trees, learning_rate
        self.weights, self.sums = weights, sums

    @classmethod
    def warm_start(cls, trees: FrozenTrees, learning_rate: float) -> TreeHead:
        """A head that predicts what the release predicts, primed to move little at first."""
        sums = np.maximum(PRIME_SHARE * trees.leaf_weights, PRIME_FLOOR)
        return cls(trees, learning_rate, trees.leaf_values.copy(), sums)

    @classmethod
    def restore(cls, trees: FrozenTrees, learning_rate: float, state: bytes) -> TreeHead:
        """The head of this `state()`. Raises ArtifactError when it is damaged or of other trees."""
        try:
            saved = msgspec.msgpack.decode(state, type=_State)
            weights, sums = (np.frombuffer(data, "<f8") for data in (saved.weights, saved.sums))
        except (msgspec.DecodeError, ValueError) as error:
            raise ArtifactError(f"head state: {error}") from error
        if saved.trees != trees.digest:
            raise ArtifactError(f"head state: found trees {saved.trees}; allowed: {trees.digest}")
        shape = trees.leaf_values.shape
        if weights.shape != shape or sums.shape != shape:
            raise ArtifactError(f"head state: found {weights.shape} weights; allowed: {shape}")
        if not (np.isfinite(weights).all() and np.isfinite(sums).all() and (sums > 0).all()):
            raise ArtifactError("head state: found numbers that are not finite")
        return cls(trees, learning_rate, weights.copy(), sums.copy())

    def state(self) -> bytes:
        """Everything learned, as bytes; the same state gives the same bytes."""
        weights, sums = (array.astype("<f8", copy=False) for array in (self.weights, self.sums))
        return msgspec.msgpack.encode(_State(self.trees.digest, weights.tobytes(), sums.tobytes()))

    def clone(self) -> TreeHead:
        """A head of its own with the same state, on the same trees."""
        return TreeHead(self.trees, self.learning_rate, self.weights.copy(), self.sums.copy())

    def predict_many(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities (rows,) for float32 vectors (rows, features)."""
        return _probabilities(self.trees.leaves(vectors), self.weights)

    def baseline_many(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the frozen release predicts, (rows,)."""
        return _probabilities(self.trees.leaves(vectors), self.trees.leaf_values)

    def predict_both(
        self, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`predict_many` and `baseline_many`, walking the trees once."""
        leaves = self.trees.leaves(vectors)
        return _probabilities(leaves, self.weights), _probabilities(leaves, self.trees.leaf_values)

    def learn_many(
        self, vectors: NDArray[np.float32], labels: NDArray[np.generic]
    ) -> NDArray[np.float64]:
        """Predict, then learn, row by row in order; returns the probabilities before learning.

        `labels` (rows,) hold 0 and 1. Raises ValueError, and learns nothing, for any other.
        """
        outcomes = np.array(labels, np.float64)
        if outcomes.shape != (len(vectors),) or not np.isin(outcomes, (0.0, 1.0)).all():
            raise ValueError(f"labels: found {labels!r}; allowed: {len(vectors)} values of 0 or 1")
        leaves = self.trees.leaves(vectors)
        return _learn(leaves, outcomes, self.weights, self.sums, self.learning_rate)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _probabilities(leaves: NDArray[np.int32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, trees = leaves.shape
    scores = np.empty(rows)
    for row in range(rows):
        total = 0.0
        for tree in range(trees):  # in LightGBM's order, so that sums are equal to the last bit
            total += weights[leaves[row, tree]]
        scores[row] = 1 / (1 + np.exp(-total))
    return scores


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _learn(
    leaves: NDArray[np.int32],
    labels: NDArray[np.float64],
    weights: NDArray[np.float64],
    sums: NDArray[np.float64],
    learning_rate: float,
) -> NDArray[np.float64]:
    rows, trees = leaves.shape
    scores = np.empty(rows)
    for row in range(rows):
        total = 0.0
        for tree in range(trees):
            total += weights[leaves[row, tree]]
        scores[row] = 1 / (1 + np.exp(-total))
        slope = scores[row] - labels[row]  # of the log-loss, for every leaf the row falls into
        for tree in range(trees):
            leaf = leaves[row, tree]
            sums[leaf] += slope * slope
            weights[leaf] -= learning_rate * slope / np.sqrt(sums[leaf])
    return scores
