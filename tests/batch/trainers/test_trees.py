"""Training follows the declaration and gives the same text for the same data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset, extract
from batch.scoring import predict_all
from batch.trainers.trainer import TrainingRows
from batch.trainers.trees import TreesTrainer, columns_of
from batch.training_set import TrainingSet
from features.plan import compile_plan
from learners.quality import auc, log_loss
from learners.trees import FrozenTrees
from tidemill.declaration import Project
from tidemill.schema import FeatureSchema, schema_of
from tidemill.tasks import BINARY
from tidemill.trainer_kinds import LightGBM

SETTINGS = LightGBM(leaves=7, rounds=10, learning_rate=0.2)


def rows_of(data: Dataset) -> TrainingRows:
    """What a trainer takes of a dataset."""
    return TrainingRows(data.vectors, data.labels, data.weights)


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
    text = TreesTrainer(SETTINGS, schema, threads=1).train(rows_of(data)).data
    trees = FrozenTrees.parse(text)
    assert schema.names == trees.features
    assert 10 == len(trees.leaf_counts)
    assert 7 == trees.leaf_counts.max()
    assert b"\n[categorical_feature: 0]\n" in text
    assert 0.85 < auc(data.labels, predict_all(FrozenTrees.parse(text), data.vectors))


def test_the_same_data_gives_the_same_text(schema: FeatureSchema, data: Dataset) -> None:
    """Nothing but data and settings decides, not a share drawn by chance, nor the cores."""
    settings = LightGBM(leaves=7, rounds=5, feature_share=0.5, row_share=0.5)
    trainers = [TreesTrainer(settings, schema, threads=count) for count in (1, 2)]
    texts = [trainer.train(rows_of(data)).data for trainer in trainers]
    assert texts[0] == texts[1]


def test_progress_is_told_of_every_round(schema: FeatureSchema, data: Dataset) -> None:
    """One stage with as many steps as rounds."""
    progress = Counting()
    TreesTrainer(SETTINGS, schema, BINARY, 1, progress).train(rows_of(data), "release")
    assert ([("release", 10)], 10) == (progress.stages, progress.steps)


def test_scores_do_not_depend_on_chunks(schema: FeatureSchema, data: Dataset) -> None:
    """Many rows, one row and no rows are scored alike."""
    text = TreesTrainer(SETTINGS, schema, threads=1).train(rows_of(data)).data
    many = np.tile(data.vectors, (5, 1))
    scores = predict_all(FrozenTrees.parse(text), many)
    assert len(many) == len(scores)
    np.testing.assert_array_equal(
        scores[:100], predict_all(FrozenTrees.parse(text), many[-len(data) :][:100])
    )
    assert (0,) == predict_all(FrozenTrees.parse(text), many[:0]).shape


def test_some_columns_have_a_schema_of_their_own(schema: FeatureSchema) -> None:
    """Names, places and categories of the columns asked for, under another hash."""
    found, places = columns_of(schema, ["x2", "kind"])
    assert (("x2", "kind"), ("kind",), [2, 0]) == (found.names, found.categorical, places)
    assert found.hash != schema.hash
    assert () == columns_of(schema, ["x2"])[0].categorical


def test_a_weight_is_so_many_rows(schema: FeatureSchema, data: Dataset) -> None:
    """Few negatives that weigh more train as if all were there; weights of 1 change nothing."""
    trainer = TreesTrainer(SETTINGS, schema, threads=1)
    plain = trainer.train(rows_of(data)).data
    assert plain == trainer.train(TrainingRows.of(data.vectors, data.labels)).data
    kept = (data.labels == 1) | (np.arange(len(data)) % 4 == 0)
    some, weights = data.take(kept), np.where(data.labels[kept] == 1, 1.0, 4.0)
    means = [
        predict_all(FrozenTrees.parse(text), data.vectors).mean()
        for text in (
            plain,
            trainer.train(TrainingRows(some.vectors, some.labels, weights)).data,
            trainer.train(rows_of(some)).data,
        )
    ]
    assert abs(means[1] - means[0]) < 0.02 < 0.1 < means[2] - means[0]


class Halfway:
    """Watches some rows, and ends the training after some steps."""

    def __init__(self, vectors: NDArray[np.float32], last: int) -> None:
        self.vectors, self.last = vectors, last
        self.scores: list[NDArray[np.float64]] = []

    def seen(self, step: int, scores: NDArray[np.float64]) -> bool:
        """Remember what was predicted."""
        self.scores.append(scores)
        return step == self.last


def test_a_watch_sees_every_round_and_may_end_it(schema: FeatureSchema, data: Dataset) -> None:
    """It is shown what the model of so many rounds predicts."""
    watch = Halfway(data.vectors[:50], 4)
    found = TreesTrainer(SETTINGS, schema, threads=1).train(rows_of(data), watch=watch).data
    shorter = replace(SETTINGS, rounds=4)
    expected = TreesTrainer(shorter, schema, threads=1).train(rows_of(data)).data
    assert 4 == len(watch.scores) == len(FrozenTrees.parse(found).leaf_counts)
    scores = predict_all(FrozenTrees.parse(expected), data.vectors[:50])
    np.testing.assert_allclose(watch.scores[-1], scores, rtol=1e-9)


def test_a_watched_training_keeps_to_its_cores(
    schema: FeatureSchema, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LightGBM trains on as many as it last predicted on, so a watch's scores say how many."""
    said: list[int] = []
    predict = lightgbm.Booster.predict

    def heard(booster: lightgbm.Booster, *rows: Any, **options: Any) -> Any:
        said.append(options["num_threads"])
        return predict(booster, *rows, **options)

    monkeypatch.setattr(lightgbm.Booster, "predict", heard)
    watch = Halfway(data.vectors[:50], 99)
    TreesTrainer(SETTINGS, schema, threads=1).train(rows_of(data), watch=watch)
    assert {1} == set(said)


def test_after_twenty_rounds_a_watch_sees_every_fifth(schema: FeatureSchema, data: Dataset) -> None:
    """And the last one; what it is shown is still the whole model's."""
    watch = Halfway(data.vectors[:50], 99)
    longer = replace(SETTINGS, rounds=32)
    found = TreesTrainer(longer, schema, threads=1).train(rows_of(data), watch=watch).data
    assert 20 + 3 == len(watch.scores)  # rounds 25, 30 and 32
    scores = predict_all(FrozenTrees.parse(found), data.vectors[:50])
    np.testing.assert_allclose(watch.scores[-1], scores, rtol=1e-9)


def test_trees_are_gone_on_from(schema: FeatureSchema, data: Dataset) -> None:
    """The champion's trees come first, and the new ones mend what they left."""
    half = data.take(np.arange(len(data)) < len(data) // 2)
    champion = TreesTrainer(SETTINGS, schema, threads=1).train(rows_of(half))
    goes_on = replace(SETTINGS, continued=True, rounds=5)
    trainer = TreesTrainer(goes_on, schema, BINARY, 1, champion=champion)
    trees = FrozenTrees.parse(trainer.train(rows_of(data)).data)
    assert 15 == len(trees.leaf_counts)
    before = FrozenTrees.parse(champion.data)
    np.testing.assert_array_equal(before.leaf_counts, trees.leaf_counts[:10])
    losses = [log_loss(data.labels, predict_all(each, data.vectors)) for each in (before, trees)]
    assert losses[1] < losses[0]
