"""Contributions of mixtures sum to the mixture, whatever it has learned of its experts."""

from __future__ import annotations

import numpy as np
import pytest
from case_mixture import mixture_of_values
from numpy.typing import NDArray
from releases import regression_release, release
from river_estimators import trees as river_trees

from learners import families
from learners.explain.blend import slopes_of_odds, slopes_of_values
from learners.explain.contributions import contributions, methods
from learners.mixture.mixture import MixtureLearner
from learners.trees import FrozenTrees
from tidemill.errors import InputError
from tidemill.learner_kinds import EmbeddingNet, Linear, Mixture, River, TreeHead
from tidemill.schema import FeatureSchema

NAMES = tuple(f"Column_{number}" for number in range(8))
SCHEMA = FeatureSchema(NAMES, ("Column_0",), "")
EXACT = Mixture("exact", (TreeHead(), Linear("linear")), recent=(20.0,))

Floats = NDArray[np.float64]


def learned(settings: Mixture, examples: int) -> MixtureLearner:
    """A mixture over trees that has learned so many examples."""
    made = release()
    mixture = families.warm_start(settings, FrozenTrees.parse(made.text), SCHEMA)
    assert isinstance(mixture, MixtureLearner)
    mixture.learn_many(made.vectors[:examples], made.labels[:examples])
    return mixture


@pytest.mark.parametrize("examples", [0, 10, 500])
@pytest.mark.parametrize("memories", [(), (50, 1000)], ids=("experts", "stackers"))
def test_rows_sum_to_the_log_odds(examples: int, memories: tuple[int, ...]) -> None:
    """Before the first example, while recent labels sleep, and when all have their say."""
    settings = Mixture("exact", EXACT.experts, recent=EXACT.recent, memories=memories)
    mixture, vectors = learned(settings, examples), release().vectors
    scores = mixture.predict_many(vectors)
    found = contributions(mixture, vectors)
    np.testing.assert_allclose(found.sum(axis=1), np.log(scores / (1 - scores)), atol=1e-9)
    assert ("rescale", "tree_shap", "linear") == methods(mixture)


def test_before_it_learns_a_mixture_is_its_release() -> None:
    """All experts say what the release says, and so does every feature of theirs."""
    mixture, vectors = learned(EXACT, 0), release().vectors
    expected = contributions(mixture.release, vectors)
    np.testing.assert_allclose(contributions(mixture, vectors), expected, atol=1e-6)


@pytest.mark.parametrize("examples", [0, 3, 500])
def test_values_sum_to_the_value(examples: int) -> None:
    """A regression's mixture, also where what it says is held within the labels seen."""
    made = regression_release()
    mixture = mixture_of_values().start()
    mixture.learn_many(made.vectors[:examples], made.labels[:examples])
    found = contributions(mixture, made.vectors)
    np.testing.assert_allclose(found.sum(axis=1), mixture.predict_many(made.vectors), rtol=1e-9)


def test_a_net_among_the_experts_stays_within_its_own_error() -> None:
    """What an expert's contributions lack is no more in the mixture."""
    experts = (TreeHead(), EmbeddingNet("net", hidden=(8,), embedding=4, block=16))
    mixture, vectors = learned(Mixture("mixed", experts), 500), release().vectors
    scores = mixture.predict_many(vectors)
    found = contributions(mixture, vectors)
    np.testing.assert_allclose(found.sum(axis=1), np.log(scores / (1 - scores)), atol=1e-3)


def test_slopes_of_odds_carry_any_difference() -> None:
    """Between any two rows, near, far and saturated, slopes times differences are the mixture's."""
    mixture = learned(EXACT, 500)
    rng = np.random.default_rng(1)
    start = rng.normal(size=(400, 3)) * np.repeat([1, 5, 12, 60], 100)[:, None]
    end = start + rng.normal(size=start.shape) * np.tile([0, 1e-9, 1e-4, 3], 100)[:, None]
    slopes, base = slopes_of_odds(mixture.blend, start, end)
    found = base + (slopes * (end - start)).sum(axis=1)
    chance = mixture.blend.predict(1 / (1 + np.exp(-end)))
    expected = np.log(np.clip(chance, 1e-15, 1)) - np.log(np.clip(1 - chance, 1e-15, 1))
    np.testing.assert_allclose(found[:300], expected[:300], atol=1e-5)
    assert np.isfinite(slopes).all() and (slopes[:, 0] >= -1e3).all()
    assert np.isfinite(base).all()


def test_slopes_of_values_carry_any_difference() -> None:
    """Also where the release leaves the range of the labels, and the range moves with it."""
    made = regression_release()
    mixture = mixture_of_values().start()
    mixture.learn_many(made.vectors, made.labels)
    assert isinstance(mixture, MixtureLearner)
    rng = np.random.default_rng(2)
    start = 100 + 80 * rng.normal(size=(400, 3))
    end = start + 60 * rng.normal(size=start.shape)
    end[::10] = start[::10]
    end[1::10, 0] = start[1::10, 0]
    slopes = slopes_of_values(mixture.blend, start, end)
    found = mixture.blend.predict(start) + (slopes * (end - start)).sum(axis=1)
    np.testing.assert_allclose(found, mixture.blend.predict(end), rtol=0, atol=1e-9)


def test_river_among_the_experts_is_refused() -> None:
    """An estimator that cannot say why refuses the whole mixture, before anything is computed."""
    mixture = learned(Mixture("mixed", (TreeHead(), River("tree", river_trees))), 5)
    with pytest.raises(InputError, match="explain: found a model of RiverModel; allowed: trees"):
        contributions(mixture, release().vectors)
