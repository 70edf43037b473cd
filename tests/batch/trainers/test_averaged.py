"""Several models become one that says their mean."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from batch.trainers.averaged import averaged
from batch.trainers.binned import Binned
from batch.trainers.trainer import TrainingRows
from batch.trainers.trees import TreesTrainer
from learners.trees import FrozenTrees
from tidemill.schema import FeatureSchema
from tidemill.trainer_kinds import LightGBM

SCHEMA = FeatureSchema(("kind", "x"), ("kind",), "test")
SETTINGS = LightGBM(leaves=5, rounds=6, min_rows_per_leaf=5, feature_share=0.5)


@pytest.fixture
def rows() -> TrainingRows:
    """A number and a category that decide together; some values are missing."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(600, 2)).astype(np.float32)
    vectors[:, 0] = rng.integers(0, 12, 600)
    labels = (vectors[:, 1] + vectors[:, 0] % 2 + rng.normal(size=600) > 0.5).astype(float)
    vectors[::17, 1] = np.nan
    return TrainingRows.of(vectors, labels)


def test_copies_say_their_mean(rows: TrainingRows) -> None:
    """The raw score is the mean of the models of each seed, for LightGBM and for us."""
    ones = [
        TreesTrainer(LightGBM(**_with(seed=7 + copy)), SCHEMA, threads=1).train(rows).data
        for copy in range(3)
    ]
    text = TreesTrainer(LightGBM(**_with(copies=3)), SCHEMA, threads=1).train(rows).data
    expected = np.mean([FrozenTrees.parse(one).raw_many(rows.vectors) for one in ones], axis=0)
    frozen = FrozenTrees.parse(text)
    np.testing.assert_allclose(frozen.raw_many(rows.vectors), expected, atol=1e-12)
    booster = lightgbm.Booster(model_str=text.decode())
    found = booster.predict(rows.vectors, raw_score=True)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert 18 == len(frozen.leaf_counts)
    importances = [lightgbm.Booster(model_str=o.decode()).feature_importance() for o in ones]
    np.testing.assert_array_equal(np.sum(importances, axis=0), booster.feature_importance())


def test_one_copy_is_the_model_itself(rows: TrainingRows) -> None:
    """Nothing is rewritten where there is nothing to average."""
    text = TreesTrainer(SETTINGS, SCHEMA, threads=1).train(rows).data.decode()
    assert text is averaged([text])


def test_copies_repeat_themselves(rows: TrainingRows) -> None:
    """The same seed gives the same bytes, whatever the cores."""
    settings = LightGBM(**_with(copies=2))
    texts = {TreesTrainer(settings, SCHEMA, threads=n).train(rows).data for n in (1, 2)}
    assert 1 == len(texts)


def test_rows_that_are_kept_binned_give_the_same_trees(rows: TrainingRows) -> None:
    """Binning once changes nothing, and other bins are binned anew."""
    kept = Binned()
    for settings in (SETTINGS, LightGBM(**_with(leaves=3)), LightGBM(**_with(bins=15))):
        plain = TreesTrainer(settings, SCHEMA, threads=1)
        binned = TreesTrainer(settings, SCHEMA, threads=1)
        binned.binned = kept
        models = [FrozenTrees.parse(each.train(rows).data) for each in (plain, binned)]
        np.testing.assert_array_equal(
            models[0].raw_many(rows.vectors), models[1].raw_many(rows.vectors)
        )


def _with(**changes: int) -> dict[str, float]:
    settings = {"leaves": 5, "rounds": 6, "min_rows_per_leaf": 5, "feature_share": 0.5}
    return settings | changes
