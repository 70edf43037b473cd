"""Small models of every family on one stream of rows, for tests of what is made of models."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from batch.trainers.families import new_trainer
from batch.trainers.trainer import TrainingRows
from learners.release import ModelFile
from tidemill import LightGBM, LinearModel, NetModel
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, REGRESSION, Task
from tidemill.trainer_kinds import TrainerKind

CLASSES = Task("multiclass", 3)
SCHEMA = FeatureSchema(("kind", "x1", "x2", "x3", "shop"), ("kind", "shop"), "")
TREES = LightGBM(leaves=15, rounds=40, learning_rate=0.15, min_rows_per_leaf=10)
HASHED = LinearModel(hash_bits=10)
NUMBERED = LinearModel(hash_bits=None)
NET = NetModel(embedding=4, hidden=(16, 8), epochs=2, learning_rate=0.1)
FAMILIES = {"trees": TREES, "hashed": HASHED, "numbered": NUMBERED, "net": NET}
TASKS = {
    "trees": (BINARY, REGRESSION),
    "hashed": (BINARY, REGRESSION, CLASSES),
    "numbered": (BINARY, REGRESSION, CLASSES),
    "net": (BINARY, REGRESSION, CLASSES),
}
CASES = [(family, task) for family, tasks in TASKS.items() for task in tasks]
NAMES = [f"{family}-{task.kind}" for family, task in CASES]


def project_of(task: Task, *trainers: TrainerKind) -> SimpleNamespace:
    """As much of a project as reading a model takes."""
    return SimpleNamespace(task=task, trainers=trainers)


@cache
def rows_of(task: Task, seed: int = 1, count: int = 4000) -> TrainingRows:
    """Numbers and categories, some missing, and labels that depend on them and on products."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, len(SCHEMA.names))).astype(np.float32)
    vectors[:, 0] = random.integers(0, 80, count)
    vectors[:, 4] = random.integers(0, 5, count) * 700
    effects = vectors[:, 1] * vectors[:, 2] + vectors[:, 0] % 3 - 1 + (vectors[:, 4] == 1400)
    vectors[random.random(vectors.shape) < 0.05] = np.nan
    effects = np.nan_to_num(effects)
    if task.kind == "regression":
        return TrainingRows.of(vectors, 300 + 50 * effects + 10 * random.normal(size=count))
    if task.kind == "multiclass":
        return TrainingRows.of(vectors, np.digitize(effects, [-0.8, 0.8]))
    return TrainingRows.of(vectors, random.random(count) < 1 / (1 + np.exp(-2 * effects)))


@cache
def model_of(family: str, task: Task) -> ModelFile:
    """A trained model."""
    if family == "net":
        pytest.importorskip("torch")
    return new_trainer(FAMILIES[family], SCHEMA, task, threads=1).train(rows_of(task))
