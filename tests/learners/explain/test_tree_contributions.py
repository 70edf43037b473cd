"""Contributions of trees are Shapley values: LightGBM's own, and those of the definition."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray
from releases import CATEGORIES, FEATURES, Release, regression_release, release, synthetic
from subsets import known_only, shapley

from batch.compression.forest import Forest
from learners.explain.contributions import contributions
from learners.explain.trees import tree_contributions
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from tidemill.learner_kinds import TreeHead as Settings


def odd_vectors() -> NDArray[np.float32]:
    """Missing and infinite values, zeros of both signs, categories never seen."""
    rng = np.random.default_rng(5)
    vectors = release().vectors[:200].copy()
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-38, 3e38], np.float32)
    places = rng.random(vectors.shape) < 0.3
    vectors[places] = rng.choice(odd, int(places.sum()))
    codes = np.array([-1, -0.5, 0.9, 31, 32, CATEGORIES, 4096, 1e30, np.nan, np.inf], np.float32)
    vectors[::2, 0] = rng.choice(codes, len(vectors[::2]))
    return vectors


def learned_head(made: Release) -> TreeHead:
    """A head whose leaf weights have moved away from the release's values."""
    head = TreeHead.warm_start(FrozenTrees.parse(made.text), Settings(learning_rate=0.1))
    head.learn_many(made.vectors, made.labels)
    return head


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"rounds": 3, "leaves": 2},
        {"rounds": 5, "use_missing": False},
        {"rounds": 5, "min_data_in_leaf": 100_000},
        {"rounds": 40, "leaves": 63, "feature_fraction": 0.5, "max_cat_to_onehot": 1000},
        {"rounds": 10, "leaves": 255, "min_data_in_leaf": 1},
        {"rounds": 20, "bagging_fraction": 0.5, "bagging_freq": 1},
    ],
    ids=str,
)
def test_contributions_equal_lightgbm(parameters: dict[str, float]) -> None:
    """Every feature's share of every score, and the average, are those LightGBM computes."""
    made = release(**parameters)
    vectors = odd_vectors()
    expected = made.booster.predict(vectors, pred_contrib=True)
    found = contributions(FrozenTrees.parse(made.text), vectors)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_a_head_is_explained_by_its_own_weights() -> None:
    """Leaves that have learned since the release give what LightGBM gives with those leaves."""
    made = release()
    head = learned_head(made)
    booster = lightgbm.Booster(model_str=made.text.decode())
    starts = head.trees.offsets.tolist()
    for tree, (start, leaves) in enumerate(zip(starts, head.trees.leaf_counts, strict=True)):
        for leaf in range(leaves):
            booster.set_leaf_output(tree, leaf, head.weights[start + leaf])
    vectors = odd_vectors()
    expected = booster.predict(vectors, pred_contrib=True)
    found = contributions(head, vectors)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    raw = head.trees.raw_of(head.trees.leaves(vectors), head.weights)
    np.testing.assert_allclose(found.sum(axis=1), raw, rtol=0, atol=1e-9)
    assert np.abs(head.weights - head.trees.leaf_values).max() > 0.01


def test_values_are_explained_in_their_own_unit() -> None:
    """A regression's contributions are LightGBM's too, and sum to its value."""
    made = regression_release()
    trees = FrozenTrees.parse(made.text)
    found = contributions(trees, made.vectors)
    expected = made.booster.predict(made.vectors, pred_contrib=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), trees.raw_many(made.vectors), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("rounds", "leaves"), [(1, 4), (2, 8), (3, 16), (1, 40)])
def test_contributions_are_shapley_values(rounds: int, leaves: int) -> None:
    """By the definition, over every subset of features, with categories and missing values."""
    made = release(rounds=rounds, leaves=leaves)
    trees = FrozenTrees.parse(made.text)
    rng = np.random.default_rng(rounds)
    values = trees.leaf_values + rng.normal(size=len(trees.leaf_values))
    vectors = odd_vectors()[:6]
    found = tree_contributions(trees, values, vectors)
    for row, vector in zip(found, vectors, strict=True):
        expected = shapley(
            FEATURES, lambda known, vector=vector: known_only(trees, values, vector, known)
        )
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-12)


def test_a_way_that_meets_a_feature_again_and_again() -> None:
    """One feature that is split at every node, on ways longer than the features are many."""
    vectors, labels = synthetic(3000, seed=1)
    narrow = np.ascontiguousarray(vectors[:, 1:3])
    data = lightgbm.Dataset(narrow, labels)
    settings = {"objective": "binary", "num_leaves": 200, "min_data_in_leaf": 2, "verbose": -1}
    booster = lightgbm.train(settings | {"num_threads": 1}, data, 5)
    trees = FrozenTrees.parse(booster.model_to_string().encode())
    assert trees.paths.points.max() == 4
    found = contributions(trees, narrow[:300])
    expected = booster.predict(narrow[:300], pred_contrib=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_a_chain_of_many_features_is_exact() -> None:
    """Ways over dozens of different features take a rule of as many points as they need."""
    rng = np.random.default_rng(9)
    vectors = rng.normal(size=(4000, 40)).astype(np.float32)
    values = (vectors > 0.5).sum(axis=1) ** 2 + (vectors[:, 0] > 0) * vectors[:, 1:].sum(axis=1)
    data = lightgbm.Dataset(vectors, values)
    settings = {"objective": "regression", "num_leaves": 500, "min_data_in_leaf": 1}
    booster = lightgbm.train(settings | {"verbose": -1, "num_threads": 1}, data, 3)
    trees = FrozenTrees.parse(booster.model_to_string().encode())
    assert trees.paths.points.max() > 4
    found = contributions(trees, vectors[:100])
    expected = booster.predict(vectors[:100], pred_contrib=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_rows_do_not_touch_each_other() -> None:
    """A row's contributions are the same alone and among others."""
    trees = FrozenTrees.parse(release().text)
    vectors = odd_vectors()
    together = contributions(trees, vectors)
    alone = [contributions(trees, vectors[row : row + 1])[0] for row in range(20)]
    np.testing.assert_array_equal(together[:20], alone)
    assert (0, FEATURES + 1) == contributions(trees, vectors[:0]).shape


def test_trees_without_counts_take_the_weight_of_their_leaves() -> None:
    """A compressed text has no counts: covers are the leaves' weights, and rows sum as before."""
    whole = FrozenTrees.parse(release().text)
    slim = FrozenTrees.parse(Forest.of(whole.arrays).text(17))
    np.testing.assert_array_equal(slim.leaf_weights, slim.arrays.leaf_covers)
    vectors = odd_vectors()
    found = contributions(slim, vectors)
    np.testing.assert_allclose(found.sum(axis=1), slim.raw_many(vectors), rtol=0, atol=1e-9)
    assert np.abs(found - contributions(whole, vectors)).max() > 1e-6


def test_a_node_that_no_row_has_seen_goes_either_way() -> None:
    """Counts of 0 below a node leave nothing undefined."""
    text = release(rounds=2).text
    lines = [
        b"leaf_count=" + b" ".join(b"0" for _ in line.split(b" "))
        if line.startswith(b"leaf_count=")
        else line
        for line in text.split(b"\n")
    ]
    trees = FrozenTrees.parse(b"\n".join(lines))
    vectors = odd_vectors()
    found = contributions(trees, vectors)
    np.testing.assert_array_equal(0.5, trees.paths.shares)
    np.testing.assert_allclose(found.sum(axis=1), trees.raw_many(vectors), rtol=0, atol=1e-9)


def test_another_width_is_refused_by_name() -> None:
    """Vectors of another schema raise, naming both shapes."""
    trees = FrozenTrees.parse(release().text)
    with pytest.raises(ValueError, match=rf"found shape \(2, 3\); allowed: \(rows, {FEATURES}\)"):
        contributions(trees, np.zeros((2, 3), np.float32))
