"""Shapley values of trees: what each feature of a row added to the sum of its leaves."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from learners.learner import Vectors
from learners.trees import FrozenTrees

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

# Sums may be taken in any order: they are compared to 1e-9, not to the last bit. NaN stays NaN.
_kernel = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})


def tree_contributions(trees: FrozenTrees, values: Floats, vectors: Vectors) -> Floats:
    """Float64 (rows, features + 1); the last column is what the trees say on average.

    `values` are what the leaves add: `trees.leaf_values`, or a head's weights. Path-dependent
    TreeSHAP: the values of Algorithm 2 of Lundberg et al., "From local explanations to global
    understanding with explainable AI for trees" (Nature Machine Intelligence 2020), with the
    training rows in each leaf as cover.

    A leaf of value v is reached by a coalition t of features (each in it with chance t) as often as
    the product, over the features on its way, of z + t(1 - z) where the row goes the leaf's way and
    of z(1 - t) where it does not; z is the share of rows that go that way. A feature's Shapley
    value is the integral, over t from 0 to 1, of how that changes when the feature joins (Owen,
    "Multilinear Extensions of Games", Management Science 1972). It is a polynomial of t, so
    Gauss-Legendre quadrature is exact, and as it is linear in v, leaves below a node are added up
    once for all features above (Yu, Bifet, Read and Xu, "Linear TreeSHAP", NeurIPS 2022).
    """
    if vectors.ndim != 2 or vectors.shape[1] != len(trees.features):
        raise ValueError(
            f"vectors: found shape {vectors.shape}; allowed: (rows, {len(trees.features)})"
        )
    # One array type is one compiled kernel: a read-only or strided array would compile another.
    vectors = np.require(vectors, np.float32, ("C", "W"))
    values = values.view()
    values.flags.writeable = False
    arrays, paths = trees.arrays, trees.paths
    found = np.zeros((len(vectors), len(trees.features) + 1))
    found[:, -1] = _average(arrays.roots, arrays.children, paths.shares, values)
    _explain(
        vectors, arrays.leaf_counts, arrays.split_features, arrays.thresholds,
        arrays.missing_right, arrays.first_word, arrays.words, arrays.bits, arrays.children,
        values, paths.shares, paths.zeros, paths.above, paths.which, paths.points, paths.rules,
        found,
    )  # fmt: skip
    return found


@_kernel
def _average(roots: Ints, children: Ints, shares: Floats, values: Floats) -> float:
    """What all trees together say when nothing is known of a row."""
    means = np.empty(len(children))
    for node in range(len(children) - 1, -1, -1):  # children have higher numbers
        means[node] = 0.0
        for side in range(2):
            child = children[node, side]
            below = means[child] if child >= 0 else values[~child]
            means[node] += shares[2 * node + side] * below
    total = 0.0
    for root in roots:
        total += means[root] if root >= 0 else values[~root]
    return total


@_kernel
def _explain(  # noqa: PLR0913  a kernel takes arrays, not objects
    vectors: NDArray[np.float32],
    leaf_counts: Ints,
    split_features: Ints,
    thresholds: Floats,
    missing_right: NDArray[np.bool_],
    first_word: Ints,
    words: Ints,
    bits: NDArray[np.uint32],
    children: Ints,
    values: Floats,
    shares: Floats,
    zeros: Floats,
    above: Ints,
    which: NDArray[np.int64],
    points: NDArray[np.int64],
    rules: Floats,
    found: Floats,
) -> None:
    most = leaf_counts.max()
    follows = np.empty(2 * most, np.bool_)
    carried = np.ones((2 * most, rules.shape[2]))
    first = leaf = 0
    for tree in range(len(leaf_counts)):  # trees outside: one tree's nodes stay in the cache
        last, count = first + leaf_counts[tree] - 1, points[which[tree]]
        rule = rules[which[tree]]
        for row in range(len(vectors)):
            _decide(
                vectors, row, first, last, split_features, thresholds, missing_right, first_word,
                words, bits, above, follows,
            )  # fmt: skip
            _go_down(
                first, last, leaf, count, children, values, shares, zeros, above, follows, rule,
                carried,
            )  # fmt: skip
            _come_up(
                first, last, leaf, count, children, split_features, zeros, above, follows, rule,
                carried, row, found,
            )  # fmt: skip
        first, leaf = last, leaf + leaf_counts[tree]


@_kernel
def _decide(  # noqa: PLR0913
    vectors: NDArray[np.float32],
    row: int,
    first: int,
    last: int,
    split_features: Ints,
    thresholds: Floats,
    missing_right: NDArray[np.bool_],
    first_word: Ints,
    words: Ints,
    bits: NDArray[np.uint32],
    above: Ints,
    follows: NDArray[np.bool_],
) -> None:
    """Which edges of a tree the row goes, there and wherever the same feature was asked before."""
    for node in range(first, last):
        value = vectors[row, split_features[node]]
        if words[node] == 0:  # the ways that `FrozenTrees` takes
            if value > thresholds[node]:
                right = True
            elif value <= thresholds[node]:
                right = False
            else:
                right = missing_right[node]
        else:
            right = True
            # NaN fails the comparison; -0.5 is category 0, as in LightGBM's integer cast.
            if value > -1 and value < 32 * words[node]:
                code = np.uint32(value)
                word = bits[first_word[node] + np.int64(code >> np.uint32(5))]
                right = (word >> (code & np.uint32(31))) & np.uint32(1) == 0
        edge = 2 * (node - first)
        before = above[2 * node]
        alive = before < 0 or follows[before - 2 * first]
        follows[edge], follows[edge + 1] = alive and not right, alive and right


@_kernel
def _go_down(  # noqa: PLR0913
    first: int,
    last: int,
    leaf: int,
    count: int,
    children: Ints,
    values: Floats,
    shares: Floats,
    zeros: Floats,
    above: Ints,
    follows: NDArray[np.bool_],
    rule: Floats,
    carried: Floats,
) -> None:
    """Fill `carried` (nodes, then leaves; points): each way's chance, to leaves times value."""
    for q in range(count):
        carried[0, q] = 1.0
    for node in range(first, last):
        at, before = node - first, above[2 * node]
        gone = before >= 0 and not follows[before - 2 * first]
        was = zeros[before] if before >= 0 else 1.0
        for side in range(2):
            child, edge = children[node, side], 2 * node + side
            factor = 1.0 if child >= 0 else values[~child]
            to = child - first if child >= 0 else last - first + ~child - leaf
            zero = zeros[edge]
            if gone:
                factor *= shares[edge]
                for q in range(count):
                    carried[to, q] = carried[at, q] * factor
            elif follows[edge - 2 * first]:
                for q in range(count):
                    carried[to, q] = carried[at, q] * factor * (zero + rule[0, q] * (1 - zero))
            else:
                for q in range(count):
                    carried[to, q] = carried[at, q] * factor * zero * rule[1, q]
            if before >= 0 and not gone:  # what stood for the feature before goes out
                for q in range(count):
                    carried[to, q] /= was + rule[0, q] * (1 - was)


@_kernel
def _come_up(  # noqa: PLR0913
    first: int,
    last: int,
    leaf: int,
    count: int,
    children: Ints,
    split_features: Ints,
    zeros: Floats,
    above: Ints,
    follows: NDArray[np.bool_],
    rule: Floats,
    carried: Floats,
    row: int,
    found: Floats,
) -> None:
    """Add what each node's feature does for all leaves below, instead of what was said above it.

    A feature that joins changes a chance by the factor (1 - z) / (z + t(1 - z)) where the row goes
    that way, -1 / (1 - t) where it does not; the one asked before, of share y, by (1 - y) / (y +
    t(1 - y)). What stands here is the difference. Where the row has left before, there is none.
    """
    for node in range(last - 1, first - 1, -1):
        at, before = node - first, above[2 * node]
        left, right = children[node, 0], children[node, 1]
        low = left - first if left >= 0 else last - first + ~left - leaf
        high = right - first if right >= 0 else last - first + ~right - leaf
        if before < 0 or follows[before - 2 * first]:
            own, other, edge = (
                (low, high, 2 * node) if follows[2 * at] else (high, low, 2 * node + 1)
            )
            was = zeros[before] if before >= 0 else 1.0
            zero = zeros[edge]
            total = 0.0
            if before >= 0:
                for q in range(count):
                    t = rule[0, q]
                    joined = (was - zero) * rule[2, q] * carried[own, q] / (zero + t * (1 - zero))
                    total += (joined - rule[3, q] * carried[other, q]) / (was + t * (1 - was))
            else:
                for q in range(count):
                    joined = rule[2, q] * carried[own, q] / (zero + rule[0, q] * (1 - zero))
                    total += (1 - zero) * joined - rule[3, q] * carried[other, q]
            found[row, split_features[node]] += total
        for q in range(count):
            carried[at, q] = carried[low, q] + carried[high, q]
