"""Prunes a forest by its weakest links, and fits the leaves that remain to what it answered."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
from numpy.typing import NDArray

from batch.compression.forest import Floats, Forest, Tree, node_bytes
from learners.trees import FrozenTrees

_PASSES = 5
_RIDGE = 1e-3  # of the mean weight of a row: what a leaf with hardly a row is held by

Numbers = NDArray[np.int32]


def costs(forest: Forest) -> list[Floats]:
    """Per tree and node: the price of a byte (added distortion) at which its subtree goes.

    Minimal cost-complexity pruning (Breiman et al., "Classification and Regression Trees", 1984,
    sections 3.2-3.3). What is counted is not the labels' loss but how much the release's own answer
    changes: the squared change of the raw score weighted with p(1-p), which is twice the log-loss's
    second-order change about the answers of the release; a leaf's weight is its sum of p(1-p). And
    a node is as large as its text, which for a set of categories is that of ten numbers. No node
    costs more than the one above it.
    """
    return [
        _costs(tree.children, node_bytes(tree), tree.values, _positive(tree.weights))
        for tree in forest.trees
    ]


def _positive(weights: Floats) -> Floats:
    return np.maximum(weights, 1e-12)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _costs(
    children: NDArray[np.int32],
    sizes: NDArray[np.float64],
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    nodes = len(children)
    parents = np.full(nodes, -1, np.int32)
    sums = np.zeros((nodes, 3))  # weight, weight times value, weight times squared value
    totals = sizes.copy()
    for node in range(nodes - 1, -1, -1):  # children have higher numbers
        for child in children[node]:
            if child >= 0:
                parents[child] = node
                sums[node] += sums[child]
                totals[node] += totals[child]
            else:
                weight, value = weights[~child], values[~child]
                sums[node, 0] += weight
                sums[node, 1] += weight * value
                sums[node, 2] += weight * value * value
    own = np.maximum(sums[:, 2] - sums[:, 1] ** 2 / sums[:, 0], 0.0)
    below, found = np.zeros(nodes), np.full(nodes, -1.0)
    reached = 0.0
    for _ in range(nodes):
        weakest, least = -1, np.inf
        for node in range(nodes):
            if found[node] < 0:
                price = (own[node] - below[node]) / totals[node]
                if price < least:
                    weakest, least = node, price
        if weakest < 0:
            break
        reached = max(reached, least)
        added, gone = own[weakest] - below[weakest], totals[weakest]
        above = weakest
        while above >= 0:
            below[above] += added
            totals[above] -= gone
            above = parents[above]
        found[weakest] = reached
        for node in range(weakest + 1, nodes):
            if found[node] < 0 and found[parents[node]] >= 0:
                found[node] = reached
    return found


def pruned(forest: Forest, prices: list[Floats], keep: float) -> Forest:
    """The forest with about this share of its bytes, the cheapest subtrees made leaves.

    Trees of which nothing remains become part of the first one that is left.
    """
    every = np.concatenate([np.empty(0), *prices])
    sizes = np.concatenate([np.empty(0), *map(node_bytes, forest.trees)])
    order = np.argsort(-every, kind="stable")
    within = np.flatnonzero(np.cumsum(sizes[order]) <= keep * sizes.sum())
    limit = every[order[within[-1]]] if len(within) else np.inf
    pairs = zip(forest.trees, prices, strict=True)
    trees = [_cut(tree, price >= limit) for tree, price in pairs]
    constant = sum(float(tree.values[0]) for tree in trees if len(tree.values) == 1)
    left = [tree for tree in trees if len(tree.values) > 1] or [
        replace(trees[0], values=np.zeros(1))
    ]
    left[0] = replace(left[0], values=left[0].values + constant)
    return replace(forest, trees=tuple(left))


def _cut(tree: Tree, keep: NDArray[np.bool_]) -> Tree:
    """The tree with only these nodes; above each of them all are kept."""
    values, weights = node_means(tree)
    nodes = np.flatnonzero(keep)
    renumbered = np.cumsum(keep) - 1
    leaves: list[int] = []  # a node that became a leaf by its number, an old leaf by its complement
    children = np.empty((len(nodes), 2), np.int32)
    for at, node in enumerate(nodes.tolist()):
        for side, child in enumerate(tree.children[node].tolist()):
            if child >= 0 and keep[child]:
                children[at, side] = renumbered[child]
            else:
                children[at, side] = ~len(leaves)
                leaves.append(child)
    leaves = leaves or [0 if len(keep) else ~0]
    numbers = np.array([leaf if leaf >= 0 else len(keep) + ~leaf for leaf in leaves])
    return Tree(
        tree.split_features[nodes], tree.thresholds[nodes], tree.missing_right[nodes],
        [tree.words[node] for node in nodes.tolist()], children, values[numbers], weights[numbers],
    )  # fmt: skip


def node_means(tree: Tree) -> tuple[Floats, Floats]:
    """Value and weight of every node as a leaf, then of every leaf."""
    count = len(tree.children)
    weights = np.concatenate([np.zeros(count), tree.weights])
    light = np.concatenate([np.zeros(count), _positive(tree.weights)])
    totals = np.concatenate([np.zeros(count), light[count:] * tree.values])
    for node in range(count - 1, -1, -1):
        for child in tree.children[node].tolist():
            place = child if child >= 0 else count + ~child
            weights[node] += weights[place]
            light[node] += light[place]
            totals[node] += totals[place]
    return np.concatenate([totals[:count] / light[:count], tree.values]), weights


def refitted(trees: FrozenTrees, leaves: Numbers, targets: Floats, weights: Floats) -> Floats:
    """Leaf values whose sums come closest to `targets` (rows,) where rows fall into `leaves`.

    Weighted least squares over all leaves of all trees together, a few passes of backfitting tree
    by tree; after Ren et al., "Global Refinement of Random Forest" (CVPR 2015), section 3, with the
    release's raw scores as targets instead of labels.
    """
    found = trees.leaf_values.copy()
    ridge = _RIDGE * float(weights.mean()) if len(weights) else 1.0
    _refit(found, trees.offsets, trees.leaf_counts, leaves, targets, weights, ridge)
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _refit(  # noqa: PLR0913  a kernel takes arrays, not objects
    values: NDArray[np.float64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int32],
    leaves: NDArray[np.int32],
    targets: NDArray[np.float64],
    weights: NDArray[np.float64],
    ridge: float,
) -> None:
    rows, trees = leaves.shape
    missing = targets.copy()
    for row in range(rows):
        for tree in range(trees):
            missing[row] -= values[leaves[row, tree]]
    for _ in range(_PASSES):
        for tree in range(trees):
            first = starts[tree]
            sums, total = np.zeros(counts[tree]), np.full(counts[tree], ridge)
            for row in range(rows):
                leaf = leaves[row, tree] - first
                sums[leaf] += weights[row] * missing[row]
                total[leaf] += weights[row]
            for leaf in range(counts[tree]):
                sums[leaf] = sums[leaf] / total[leaf] if total[leaf] > 0 else 0.0
                values[first + leaf] += sums[leaf]
            for row in range(rows):
                missing[row] -= sums[leaves[row, tree] - first]
