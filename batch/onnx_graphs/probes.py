"""Vectors that go where a model turns: on thresholds and beside them, into categories, missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.learner import Frozen, Vectors
from learners.linear.frozen import FrozenLinear
from learners.net.frozen_net import FrozenNet
from learners.tree_arrays import TreeArrays
from learners.tree_walk import rounded_down
from learners.trees import FrozenTrees

_ANYWHERE = (0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 7.0, 3e38, -3e38, 1e-40, np.inf, -np.inf, np.nan)
_MOST_OF_A_SET = 100

Values = NDArray[np.float32]


def probes(frozen: Frozen, rows: int = 2000, seed: int = 7) -> Vectors:
    """So many rows of values that matter to the model, each column's drawn by itself."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(rows, len(frozen.features))).astype(np.float32)
    for place in range(len(frozen.features)):
        known = np.concatenate([_of(frozen, place), np.array(_ANYWHERE, np.float32)])
        drawn = random.random(rows) < 0.9
        vectors[drawn, place] = random.choice(known, int(drawn.sum()))
    vectors[random.random(vectors.shape) < 0.1] = np.nan
    return vectors


def _of(frozen: Frozen, place: int) -> Values:
    if isinstance(frozen, FrozenTrees):
        return _turns(frozen.arrays, place)
    if isinstance(frozen, FrozenLinear):
        encoder = frozen.encoder()
        keys = encoder.keys[encoder.keys >> np.uint64(32) == place]
        count, mean, squares = encoder.moments[place]
        return np.concatenate([values_of_keys(keys), _around(mean, squares / max(count, 1))])
    if isinstance(frozen, FrozenNet):
        shape, keys = frozen.network.shape, frozen.network.table.all_rows().keys
        if place in shape.categorical_places:
            column = int(np.flatnonzero(shape.categorical_places == place)[0])
            return values_of_keys(keys[(keys >= 0) & (keys >> 32 == column)])
        number = int(np.flatnonzero(shape.numeric_places == place)[0])
        count, mean, squares = frozen.network.moments[:, number]
        return _around(mean, squares / max(count, 1))
    return np.empty(0, np.float32)


def _turns(arrays: TreeArrays, place: int) -> Values:
    mine = arrays.split_features == place
    at = rounded_down(arrays.thresholds[mine & (arrays.words == 0)])
    sets = np.flatnonzero(mine & (arrays.words > 0))
    ends = 32 * int(arrays.words[sets].max(initial=0)) + 2
    codes = np.unique(np.linspace(0, ends, _MOST_OF_A_SET).astype(np.float32))
    beside = [np.nextafter(at, np.float32(side)) for side in (np.inf, -np.inf)]
    return np.concatenate([at, *beside, *((codes, codes + np.float32(0.5)) if len(sets) else ())])


def _around(mean: float, variance: float) -> Values:
    steps = np.array([-20, -8, -1, 0, 1, 8, 20])
    return np.asarray(mean + np.sqrt(variance) * steps, np.float32)


def values_of_keys(keys: NDArray[np.uint64] | NDArray[np.int64]) -> Values:
    """The float32 whose bits are in the lower half of each key."""
    return (keys.astype(np.uint64) & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)
