"""Net releases: trained with torch, read without it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from batch.trainers.net.trainer import NetTrainer
from batch.trainers.trainer import TrainingRows
from learners.net.embedding_net import EmbeddingNet as Learner
from learners.net.frozen_net import FrozenNet
from learners.quality import log_loss
from tidemill.learner_kinds import EmbeddingNet
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, REGRESSION, Task
from tidemill.trainer_kinds import NetModel

torch = pytest.importorskip("torch")

from batch.trainers.net.inputs import Inputs  # noqa: E402  after torch is known to be there
from batch.trainers.net.model import TorchNet  # noqa: E402

CLASSES = Task("multiclass", 3)
SCHEMA = FeatureSchema(("a", "b", "id"), ("id",), "")
SETTINGS = NetModel(embedding=4, hidden=(12, 8))


def data(task: Task, seed: int, rows: int = 4000) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Vectors of two numbers and an id, and labels that depend on a product and the id."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(rows, 3)).astype(np.float32)
    vectors[:, 2] = random.integers(0, 50, rows)
    effects = vectors[:, 0] * vectors[:, 1] + vectors[:, 2] % 3 - 1
    vectors[random.random(rows) < 0.05, 0] = np.nan
    if task.kind == "regression":
        return vectors, 300 + 50 * effects + random.normal(size=rows)
    if task.kind == "multiclass":
        return vectors, np.digitize(effects, [-0.8, 0.8])
    return vectors, (random.random(rows) < 1 / (1 + np.exp(-2 * effects))).astype(float)


@cache
def release(task: Task) -> bytes:
    """A trained release of the task."""
    return NetTrainer(SETTINGS, SCHEMA, task).train(TrainingRows.of(*data(task, 1))).data


@pytest.mark.parametrize("task", [BINARY, REGRESSION, CLASSES], ids=lambda task: task.kind)
def test_predicts_what_the_torch_model_predicts(task: Task) -> None:
    """A frozen net's raw scores are those of the torch modules, to 1e-5 of a unit."""
    frozen, (vectors, _) = FrozenNet.parse(release(task)), data(task, 2, 300)
    network = frozen.network
    with torch.no_grad():
        inputs = Inputs(network, vectors, np.zeros(300, np.float32), np.ones(300))
        every = inputs.all()
        net = TorchNet(network, inputs.kept, sparse=False)
        made = net(every.numbers, every.ids).numpy().astype(float)
    expected = network.center + network.scale * made
    found = frozen.raw_many(vectors).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5 * network.scale)


def test_learns_something() -> None:
    """A net is better than the base rate on rows it has not seen."""
    vectors, labels = data(BINARY, 2)
    found = log_loss(labels, FrozenNet.parse(release(BINARY)).predict_many(vectors))
    assert found is not None
    assert found < 0.9 * log_loss(labels, np.full(len(labels), labels.mean()))


def test_values_come_in_their_units() -> None:
    """A regression's predictions are nearer to the values than their mean is."""
    vectors, values = data(REGRESSION, 2)
    found = FrozenNet.parse(release(REGRESSION)).predict_many(vectors)
    assert np.sqrt(np.mean((found - values) ** 2)) < 0.7 * values.std()


def test_same_data_gives_the_same_bytes() -> None:
    """Training twice gives one release."""
    rows = TrainingRows.of(*data(BINARY, 1))
    assert release(BINARY) == NetTrainer(SETTINGS, SCHEMA, BINARY).train(rows).data


def test_weights_count() -> None:
    """Weights count."""
    vectors, labels = data(BINARY, 1, 600)
    trainer = NetTrainer(replace(SETTINGS, epochs=1), SCHEMA, BINARY)
    plain = TrainingRows.of(vectors, labels)
    weighted = replace(plain, weights=np.linspace(0, 2, 600))
    assert trainer.train(plain) != trainer.train(weighted)


def test_a_learner_goes_on_where_the_trainer_ended() -> None:
    """The optimizer's sums come along: one example moves a prediction by less than one unprimed."""
    frozen, (vectors, labels) = FrozenNet.parse(release(BINARY)), data(BINARY, 2, 50)
    settings = EmbeddingNet(embedding=4, hidden=(12, 8), block=1, learning_rate=0.02)
    moves = []
    for shrink in (1.0, 1e-6):
        learner = Learner.warm_start(frozen, settings, SCHEMA)
        np.testing.assert_array_equal(frozen.predict_many(vectors), learner.predict_many(vectors))
        learner.network.sums *= np.float32(shrink)
        learner.network.table.rows[:, 4:] *= np.float32(shrink)
        before = learner.learn_many(vectors[:1], labels[:1])
        moves.append(abs(learner.predict_many(vectors[:1]) - before)[0])
    assert 0 < moves[0] < 0.02
    assert moves[0] < moves[1] / 5


def test_refuses_labels_of_another_task() -> None:
    """Training checks labels as learning does."""
    vectors, _ = data(BINARY, 1, 5)
    with pytest.raises(ValueError, match="allowed: 5 values of 0 or 1"):
        NetTrainer(SETTINGS, SCHEMA, BINARY).train(TrainingRows.of(vectors, np.arange(5)))
