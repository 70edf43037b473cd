"""Contributions of linear models are their own terms: they sum to the raw score exactly."""

from __future__ import annotations

import numpy as np
import pytest
from case_linear import SCHEMA, labels_of, linear_release
from releases import FEATURES, release

from learners.explain.contributions import contributions, methods
from learners.linear.learner import LinearLearner
from learners.trees import FrozenTrees
from tidemill.learner_kinds import Linear
from tidemill.tasks import BINARY, REGRESSION, Task

SETTINGS = (Linear(), Linear(hash_bits=None))


@pytest.mark.parametrize("task", [BINARY, REGRESSION], ids=lambda task: task.kind)
@pytest.mark.parametrize("settings", SETTINGS, ids=("hashed", "numbered"))
def test_a_release_sums_to_its_raw_score(task: Task, settings: Linear) -> None:
    """Hashed or numbered categories, missing values and categories never seen."""
    frozen = linear_release(task, settings)
    vectors, _ = labels_of(task, 300, 2)
    vectors[::7, 0], vectors[::5, 0] = 4096, np.nan
    found = contributions(frozen, vectors)
    assert (300, FEATURES + 1) == found.shape
    np.testing.assert_allclose(found.sum(axis=1), frozen.raw_many(vectors), rtol=1e-12)
    assert 1 == len(np.unique(found[:, -1]))


@pytest.mark.parametrize("settings", SETTINGS, ids=("hashed", "numbered"))
def test_a_feature_adds_what_leaves_with_it(settings: Linear) -> None:
    """Changing one feature moves the score by what that feature's contribution changes by."""
    frozen = linear_release(BINARY, settings)
    vectors, _ = labels_of(BINARY, 50, 2)
    before = contributions(frozen, vectors)
    for feature in range(FEATURES):
        other = vectors.copy()
        other[:, feature] = vectors[::-1, feature]
        after = contributions(frozen, other)
        same = np.arange(FEATURES + 1) != feature
        np.testing.assert_array_equal(before[:, same], after[:, same])
        moved = frozen.raw_many(other) - frozen.raw_many(vectors)
        np.testing.assert_allclose(after[:, feature] - before[:, feature], moved, atol=1e-12)


def test_a_learner_is_explained_by_its_own_weights() -> None:
    """What it has learned since the release is in them."""
    frozen = linear_release(BINARY, Linear(hash_bits=None))
    learner = LinearLearner.warm_start(frozen, Linear(hash_bits=None), SCHEMA)
    vectors, labels = labels_of(BINARY, 400, 2)
    vectors[200:, 0] += 1000  # categories the release has never seen
    learner.learn_many(vectors, labels)
    found, scores = contributions(learner, vectors), learner.predict_many(vectors)
    np.testing.assert_allclose(found.sum(axis=1), np.log(scores / (1 - scores)), atol=1e-9)
    assert np.abs(found - contributions(frozen, vectors)).max() > 1e-3


def test_beside_trees_both_are_added() -> None:
    """A learner that corrects trees adds its terms to their contributions."""
    made = release()
    trees = FrozenTrees.parse(made.text)
    learner = LinearLearner.warm_start(trees, Linear(), SCHEMA)
    np.testing.assert_array_equal(
        contributions(trees, made.vectors), contributions(learner, made.vectors)
    )
    learner.learn_many(made.vectors, made.labels)
    found, scores = contributions(learner, made.vectors), learner.predict_many(made.vectors)
    np.testing.assert_allclose(found.sum(axis=1), np.log(scores / (1 - scores)), atol=1e-9)
    assert ("linear", "tree_shap") == methods(learner)
