"""The tree walk gives LightGBM's own leaves, and only models it can read exactly are read."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray
from releases import CATEGORIES, FEATURES, release

from learners.tree_walk import rounded_down
from learners.trees import FrozenTrees
from tidemill.errors import ArtifactError


def awkward_vectors() -> NDArray[np.float32]:
    """Missing and infinite values, zeros of both signs, categories never seen."""
    rng = np.random.default_rng(3)
    vectors = release().vectors.copy()
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-38, 3e38, -3e38], np.float32)
    places = rng.random(vectors.shape) < 0.3
    vectors[places] = rng.choice(odd, int(places.sum()))
    codes = [-1, -0.5, 0.9, 31, 32, CATEGORIES, 4096, 2.0**31, 1e30, -1e30, np.nan, np.inf, -np.inf]
    vectors[::2, 0] = rng.choice(np.array(codes, np.float32), len(vectors[::2]))
    return vectors


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"rounds": 3, "leaves": 2},
        {"use_missing": False},
        {"rounds": 5, "min_data_in_leaf": 100_000},
        {"rounds": 40, "leaves": 63, "feature_fraction": 0.5, "max_cat_to_onehot": 1000},
    ],
    ids=str,
)
def test_leaves_equal_lightgbm(parameters: dict[str, float]) -> None:
    """Every leaf and every raw score equals that of LightGBM's own predictor."""
    made = release(**parameters)
    trees = FrozenTrees.parse(made.text)
    vectors = awkward_vectors()
    leaves = trees.leaves(vectors)
    expected = made.booster.predict(vectors, pred_leaf=True)
    np.testing.assert_array_equal(expected, leaves - trees.offsets)
    raw = made.booster.predict(vectors, raw_score=True)
    np.testing.assert_allclose(raw, trees.leaf_values[leaves].sum(axis=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("categorical", [[], [0]], ids=["numbers", "categories"])
def test_splits_on_being_missing_equal_lightgbm(categorical: list[int]) -> None:
    """LightGBM parts missing values from all others with an infinite threshold."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(2000, FEATURES)).astype(np.float32)
    vectors[:, 0] = rng.integers(0, CATEGORIES, len(vectors))
    vectors[:, 1:][rng.random((2000, FEATURES - 1)) < 0.3] = np.nan
    labels = rng.random(2000) < np.where(np.isnan(vectors[:, 1:4]), 0.3, 0.05).sum(axis=1)
    data = lightgbm.Dataset(vectors, labels, categorical_feature=categorical)
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 21)
    trees = FrozenTrees.parse(booster.model_to_string().encode())
    assert np.isposinf(trees.arrays.thresholds).any()
    assert trees.arrays.words.any() == bool(categorical)
    odd = awkward_vectors()
    expected = booster.predict(odd, pred_leaf=True)
    np.testing.assert_array_equal(expected, trees.leaves(odd) - trees.offsets)


def test_thresholds_are_inclusive() -> None:
    """A value equal to a threshold goes where LightGBM sends it."""
    trees = FrozenTrees.parse(release().text)
    arrays = trees.arrays
    numerical = np.flatnonzero(arrays.words == 0)[:200]
    vectors = np.resize(release().vectors, (len(numerical), FEATURES)).copy()
    exact = arrays.thresholds[numerical]
    vectors[np.arange(len(numerical)), arrays.split_features[numerical]] = exact
    expected = release().booster.predict(vectors, pred_leaf=True)
    np.testing.assert_array_equal(expected, trees.leaves(vectors) - trees.offsets)


def test_trees_describe_the_model() -> None:
    """Features, leaf counts, offsets and training weights are the model's."""
    made = release()
    trees = FrozenTrees.parse(made.text)
    assert tuple(made.booster.feature_name()) == trees.features
    assert made.booster.num_trees() == len(trees.leaf_counts)
    assert trees.leaf_counts.sum() == len(trees.leaf_values) == len(trees.leaf_weights)
    assert [0, *np.cumsum(trees.leaf_counts)[:-1]] == trees.offsets.tolist()
    assert (trees.leaf_weights > 0).all()


def test_one_vector_equals_many() -> None:
    """A row's leaves do not depend on the rows beside it."""
    made = release()
    trees = FrozenTrees.parse(made.text)
    together = trees.leaves(made.vectors)
    alone = [trees.leaves(made.vectors[row : row + 1])[0] for row in range(20)]
    np.testing.assert_array_equal(together[:20], alone)


def test_another_width_is_refused() -> None:
    """Vectors of another schema raise, naming both shapes."""
    trees = FrozenTrees.parse(release().text)
    with pytest.raises(ValueError, match=rf"found shape \(2, 3\); allowed: \(rows, {FEATURES}\)"):
        trees.leaves(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("found", "put", "message"),
    [
        (b"version=v4", b"version=v9", "version: found v9; allowed: v4"),
        (b"num_class=1", b"num_class=3", "num_class: found 3; allowed: 1"),
        (b"objective=binary", b"objective=regression", "objective: found regression"),
        (b"is_linear=0", b"is_linear=1", "is_linear: found 1; allowed: 0"),
        (b"num_leaves=31", b"num_leaves=30", "leaf_value: found 31 values; allowed: 30"),
        (b"num_leaves=31", b"num_leaves=x", "num_leaves: found b'x'; allowed: a number"),
        (b"\nleaf_value=", b"\nleaf_value=nan ", "leaf_value: found 32 values; allowed: 31"),
        (b"\nleft_child=", b"\nleft_child=9999 ", "left_child: found 31 values; allowed: 30"),
        (b"\nTree=", b"\nBush=", "found no tree"),
        (b"feature_names=Column_0 ", b"feature_names=", "split_feature"),
        (b"cat_boundaries=0 ", b"cat_boundaries=1 ", "cat_boundaries|form"),
        (b"version=v4", b"version=v4\xff", "UnicodeDecodeError"),
    ],
)
def test_a_damaged_model_is_refused(found: bytes, put: bytes, message: str) -> None:
    """What cannot be read exactly raises ArtifactError with what was found."""
    text = release().text
    assert found in text
    count = -1 if found == b"\nTree=" else 1
    with pytest.raises(ArtifactError, match=message):
        FrozenTrees.parse(text.replace(found, put, count))


def test_children_in_a_circle_are_refused() -> None:
    """A node that is its own child would never end; it is refused before a kernel sees it."""
    lines = release().text.split(b"\n")
    place = next(i for i, line in enumerate(lines) if line.startswith(b"left_child="))
    first, *rest = lines[place].split(b"=")[1].split(b" ")
    lines[place] = b"left_child=" + b" ".join([b"0", *rest])
    with pytest.raises(ArtifactError, match="form no tree"):
        FrozenTrees.parse(b"\n".join(lines))


def test_thresholds_beyond_float32_send_every_value_as_before() -> None:
    """A threshold rounded down to float32 parts the same float32 values as the float64 did."""
    thresholds = np.array([1e300, -1e300, 0.1, -0.1, 1.0, 1e-45, 1e-60, 3.4028236e38])
    down = rounded_down(thresholds)
    nearest = np.array([np.inf, -np.inf, 0.1, -0.1, 1, 0, 1e-45, 3.4e38, -3.4e38], np.float32)
    values = np.concatenate([nearest, np.nextafter(nearest, 0), np.nextafter(nearest, np.inf)])
    np.testing.assert_array_equal(
        values[:, None].astype(np.float64) > thresholds, values[:, None] > down
    )
