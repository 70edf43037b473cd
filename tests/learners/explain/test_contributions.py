"""What can be explained and what is refused, and by which method."""

from __future__ import annotations

import numpy as np
import pytest
from case_linear import CLASSES, SCHEMA, linear_release
from case_net import trained
from releases import release

from learners.explain.contributions import contributions, methods
from learners.linear.learner import LinearLearner
from learners.own_model import FrozenOwn, OwnRelease
from learners.prior import Prior
from learners.trees import FrozenTrees
from tidemill.errors import InputError
from tidemill.learner_kinds import Linear
from tidemill.tasks import BINARY


def own_model() -> FrozenOwn:
    """A model of a user's trainer, which says nothing but its score."""
    made = OwnRelease(trainer="own", settings=[], features=SCHEMA.names, unit=1.0, model=b"")
    return FrozenOwn(made, lambda vectors: np.zeros(len(vectors)), BINARY, "")


def test_own_models_are_refused() -> None:
    """A model that cannot say why is named, with those that can."""
    with pytest.raises(InputError) as refused:
        contributions(own_model(), release().vectors)
    assert ("not_explained", "explain") == (refused.value.cause, refused.value.field)
    allowed = "trees, linear models, nets and mixtures of them"
    assert f"explain: found a model of FrozenOwn; allowed: {allowed}" == str(refused.value)


def test_what_corrects_an_own_model_is_refused_too() -> None:
    """Half an explanation would be none."""
    learner = LinearLearner.warm_start(own_model(), Linear(), SCHEMA)
    with pytest.raises(InputError, match="FrozenOwn"):
        methods(learner)


def test_several_classes_are_refused() -> None:
    """There is one raw score to explain, or none."""
    frozen = linear_release(CLASSES, Linear())
    with pytest.raises(InputError, match="found a model of 3 classes; allowed: a probability"):
        contributions(frozen, release().vectors)


def test_the_prior_knows_no_feature() -> None:
    """Before the first release nothing contributes, and even odds are a sum of 0."""
    np.testing.assert_array_equal(np.zeros((2, 9)), contributions(Prior(), release().vectors[:2]))
    assert ("prior",) == methods(Prior())


@pytest.mark.parametrize("model", [trained, lambda: FrozenTrees.parse(release().text)])
def test_explaining_changes_nothing(model) -> None:
    """Inputs and predictions are what they were; a read-only array will do."""
    explained, vectors = model(), release().vectors.copy()
    before = explained.predict_many(vectors)
    vectors.flags.writeable = False
    first = contributions(explained, vectors)
    np.testing.assert_array_equal(first, contributions(explained, vectors))
    np.testing.assert_array_equal(before, explained.predict_many(vectors))
    np.testing.assert_array_equal(release().vectors, vectors)
