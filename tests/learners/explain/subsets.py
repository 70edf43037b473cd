"""Shapley values by their definition: every subset of the features, each tree walked for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from learners.trees import FrozenTrees

Floats = NDArray[np.float64]


def shapley(features: int, value: Callable[[frozenset[int]], float]) -> Floats:
    """What each feature adds on average over all orders, then the value of nothing."""
    value = cache(value)
    found = np.zeros(features + 1)
    for feature in range(features):
        others = [other for other in range(features) if other != feature]
        for size in range(features):
            weight = factorial(size) * factorial(features - size - 1) / factorial(features)
            for some in combinations(others, size):
                without = frozenset(some)
                found[feature] += weight * (value(without | {feature}) - value(without))
    found[-1] = value(frozenset())
    return found


def known_only(
    trees: FrozenTrees, values: Floats, vector: NDArray[np.float32], known: frozenset[int]
) -> float:
    """What trees say of a row of which some features are known, by the cover of the others' ways.

    Lundberg et al. (2020), Algorithm 1.
    """
    arrays = trees.arrays

    def cover(node: int) -> float:
        if node < 0:
            return float(arrays.leaf_covers[~node])
        return sum(map(cover, arrays.children[node].tolist()))

    def say(node: int) -> float:
        if node < 0:
            return float(values[~node])
        left, right = arrays.children[node].tolist()
        if arrays.split_features[node] in known:
            return say(right if _side(trees, node, vector) else left)
        return (cover(left) * say(left) + cover(right) * say(right)) / cover(node)

    return sum(say(root) for root in arrays.roots.tolist())


def _side(trees: FrozenTrees, node: int, vector: NDArray[np.float32]) -> int:
    """0 for left, 1 for right: the documented decision, in plain Python."""
    arrays = trees.arrays
    value = float(vector[arrays.split_features[node]])
    words = int(arrays.words[node])
    if words == 0:
        if np.isnan(value):
            return int(arrays.missing_right[node])
        return int(value > arrays.thresholds[node])
    if np.isnan(value) or not -1 < value < 32 * words:
        return 1
    code = int(value)
    word = int(arrays.bits[int(arrays.first_word[node]) + code // 32])
    return 0 if word >> code % 32 & 1 else 1
