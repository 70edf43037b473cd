"""Weakest-link pruning against a search of all subtrees, and the fit of what is left."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from small_models import model_of, rows_of

from batch.compression.forest import Forest, Tree, node_bytes
from batch.compression.pruning import costs, pruned, refitted
from learners.lightgbm_text import parse_model
from learners.trees import FrozenTrees
from tidemill.tasks import BINARY


def tree_of(children: list[tuple[int, int]], values: list[float], weights: list[float]) -> Tree:
    """A tree of numerical splits."""
    nodes = len(children)
    return Tree(
        np.arange(nodes, dtype=np.int32), np.zeros(nodes), np.zeros(nodes, np.bool_),
        [np.empty(0, np.uint32)] * nodes, np.array(children, np.int32).reshape(nodes, 2),
        np.array(values), np.array(weights),
    )  # fmt: skip


# Root 0 splits into node 1 and leaf 2; node 1 into leaf 0 and leaf 1.
SMALL = tree_of([(1, ~2), (~0, ~1)], [1.0, 1.2, 3.0], [1.0, 1.0, 2.0])


def forest_of(*trees: Tree) -> Forest:
    """A forest of them."""
    return Forest(BINARY, ("a", "b"), trees)


def test_a_nodes_price_is_what_its_leaf_would_change() -> None:
    """The squared change weighted by the leaves, for each byte saved."""
    (found,) = costs(forest_of(SMALL))
    size = node_bytes(SMALL)
    inner = (1 * 0.1**2 + 1 * 0.1**2) / size[1]
    mean = (1 + 1.2 + 6) / 4
    own = (1 - mean) ** 2 + (1.2 - mean) ** 2 + 2 * (3 - mean) ** 2
    np.testing.assert_allclose(found, [(own - 0.02) / size[0], inner])


def test_no_node_is_cheaper_than_one_below() -> None:
    """What is pruned at a price is a subtree, whatever the forest."""
    forest = Forest.of(parse_model(model_of("trees", BINARY).data))
    for tree, prices in zip(forest.trees, costs(forest), strict=True):
        for node, children in enumerate(tree.children.tolist()):
            assert all(prices[node] >= prices[child] for child in children if child >= 0)


def test_a_pruned_leaf_has_the_mean_and_the_weight_of_its_own() -> None:
    """Value by weight; the other leaf stays."""
    sizes = node_bytes(SMALL)
    (tree,) = pruned(forest_of(SMALL), costs(forest_of(SMALL)), sizes[0] / sizes.sum() + 0.01).trees
    np.testing.assert_allclose(tree.values, [1.1, 3.0])
    np.testing.assert_allclose(tree.weights, [2.0, 2.0])
    assert [[~0, ~1]] == tree.children.tolist()


def test_a_tree_that_is_gone_is_added_to_another() -> None:
    """Its mean moves every answer of the first tree that is left."""
    flat = tree_of([(~0, ~1)], [0.5, 0.5], [1.0, 1.0])
    both = forest_of(flat, SMALL)
    (left,) = pruned(both, costs(both), 0.7).trees
    np.testing.assert_allclose(np.sort(left.values), np.sort(SMALL.values + 0.5))


def test_of_nothing_a_constant_is_left() -> None:
    """Pruned to no split at all, a forest is one leaf with its mean."""
    both = forest_of(SMALL, SMALL)
    (left,) = pruned(both, costs(both), 0.0).trees
    np.testing.assert_allclose(left.values, [2 * (1 + 1.2 + 6) / 4])
    trees = FrozenTrees.parse(forest_of(left).text(6))
    np.testing.assert_allclose(trees.raw_many(np.zeros((3, 2), np.float32)), 4.1)


def test_the_less_is_kept_the_more_answers_change() -> None:
    """And nothing changes while everything is kept."""
    model, vectors = model_of("trees", BINARY), rows_of(BINARY).vectors
    forest = Forest.of(parse_model(model.data))
    expected = FrozenTrees.parse(model.data).raw_many(vectors)
    prices, off = costs(forest), []
    for keep in (1.0, 0.7, 0.4, 0.1):
        found = FrozenTrees.parse(pruned(forest, prices, keep).text(12)).raw_many(vectors)
        off.append(float(np.mean((found - expected) ** 2)))
    assert off[0] < 1e-12
    assert all(before < after for before, after in pairwise(off))


def test_refitted_leaves_come_closer() -> None:
    """Backfitting lowers the distance from what the whole forest says."""
    model, vectors = model_of("trees", BINARY), rows_of(BINARY).vectors
    forest = Forest.of(parse_model(model.data))
    targets = FrozenTrees.parse(model.data).raw_many(vectors)
    trees = FrozenTrees.parse(pruned(forest, costs(forest), 0.2).text(9))
    leaves = trees.leaves(vectors)
    values = refitted(trees, leaves, targets, np.ones(len(vectors)))
    before, after = (
        np.mean((trees.raw_of(leaves, each) - targets) ** 2) for each in (trees.leaf_values, values)
    )
    assert after < 0.7 * before
