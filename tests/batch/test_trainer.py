"""Training follows the declaration and gives the same text for the same data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch.dataset import Dataset, extract
from batch.trainer import Trainer, columns_of, score_model
from batch.training_set import TrainingSet
from features.plan import compile_plan
from learners.quality import auc
from learners.trees import FrozenTrees
from tidemill.declaration import LightGBM, Project
from tidemill.schema import FeatureSchema, schema_of

SETTINGS = LightGBM(leaves=7, rounds=10, learning_rate=0.2)


class Counting:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []
        self.steps = 0

    def start(self, stage: str, steps: int) -> None:
        """Remember the stage."""
        self.stages.append((stage, steps))

    def advance(self, steps: int = 1) -> None:
        """Remember the steps."""
        self.steps += steps


@pytest.fixture
def schema(project: Project) -> FeatureSchema:
    """The schema of the small project."""
    return schema_of(project)


@pytest.fixture
def data(backfilled: Path, project: Project) -> Dataset:
    """Twenty days of examples."""
    return extract(TrainingSet(backfilled, compile_plan(project))).data


def test_the_model_is_as_declared(schema: FeatureSchema, data: Dataset) -> None:
    """Leaves, rounds, names and categories of the declaration are in the model."""
    text = Trainer(SETTINGS, schema, threads=1).train(data.vectors, data.labels)
    trees = FrozenTrees.parse(text)
    assert schema.names == trees.features
    assert 10 == len(trees.leaf_counts)
    assert 7 == trees.leaf_counts.max()
    assert b"\n[categorical_feature: 0]\n" in text
    assert 0.85 < auc(data.labels, score_model(text, data.vectors))


def test_the_same_data_gives_the_same_text(schema: FeatureSchema, data: Dataset) -> None:
    """Nothing but data and settings decides, not even a share of features drawn by chance."""
    trainer = Trainer(LightGBM(leaves=7, rounds=5, feature_share=0.5), schema, threads=2)
    texts = [trainer.train(data.vectors, data.labels) for _ in range(2)]
    assert texts[0] == texts[1]


def test_progress_is_told_of_every_round(schema: FeatureSchema, data: Dataset) -> None:
    """One stage with as many steps as rounds."""
    progress = Counting()
    Trainer(SETTINGS, schema, 1, progress).train(data.vectors, data.labels, "release")
    assert ([("release", 10)], 10) == (progress.stages, progress.steps)


def test_scores_do_not_depend_on_chunks(schema: FeatureSchema, data: Dataset) -> None:
    """Many rows, one row and no rows are scored alike."""
    text = Trainer(SETTINGS, schema, threads=1).train(data.vectors, data.labels)
    many = np.tile(data.vectors, (5, 1))
    scores = score_model(text, many)
    assert len(many) == len(scores)
    np.testing.assert_array_equal(scores[:100], score_model(text, many[-len(data) :][:100]))
    assert (0,) == score_model(text, many[:0]).shape


def test_some_columns_have_a_schema_of_their_own(schema: FeatureSchema) -> None:
    """Names, places and categories of the columns asked for, under another hash."""
    found, places = columns_of(schema, ["x2", "kind"])
    assert (("x2", "kind"), ("kind",), [2, 0]) == (found.names, found.categorical, places)
    assert found.hash != schema.hash
    assert () == columns_of(schema, ["x2"])[0].categorical


def test_a_weight_is_so_many_rows(schema: FeatureSchema, data: Dataset) -> None:
    """Few negatives that weigh more train as if all were there; weights of 1 change nothing."""
    trainer = Trainer(SETTINGS, schema, threads=1)
    plain = trainer.train(data.vectors, data.labels)
    assert plain == trainer.train(data.vectors, data.labels, weights=np.ones(len(data)))
    kept = (data.labels == 1) | (np.arange(len(data)) % 4 == 0)
    some, weights = data.take(kept), np.where(data.labels[kept] == 1, 1.0, 4.0)
    means = [
        score_model(text, data.vectors).mean()
        for text in (
            plain,
            trainer.train(some.vectors, some.labels, weights=weights),
            trainer.train(some.vectors, some.labels),
        )
    ]
    assert abs(means[1] - means[0]) < 0.02 < 0.1 < means[2] - means[0]
