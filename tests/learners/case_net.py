"""The embedding net as cases of the checks: on trees, on a release without knowledge, on a net."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from checks import Case
from numpy.typing import NDArray
from releases import FEATURES, Release, regression_release, release, synthetic
from slow_net import SlowNet

from learners.learner import Frozen
from learners.net.embedding_net import EmbeddingNet
from learners.net.frozen_net import FrozenNet, net_bytes
from learners.net.loss import predictions_of
from learners.trees import FrozenTrees
from tidemill.learner_kinds import EmbeddingNet as Settings
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, Task

NAMES = tuple(f"Column_{number}" for number in range(FEATURES))
SCHEMA = FeatureSchema(NAMES, ("Column_0",), "")
SETTINGS = Settings(block=16, embedding=4, hidden=(12, 8))
CLASSES = Task("multiclass", 3)


@dataclass(frozen=True)
class Plain:
    """A release that knows next to nothing: raw scores from one column."""

    task: Task
    features: tuple[str, ...] = NAMES
    digest: str = hashlib.sha256(b"plain").hexdigest()

    def raw_many(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """A tenth of column 1 for the last class, or of the label 1."""
        raw = np.zeros((len(vectors), self.task.classes or 1))
        raw[:, -1] = 0.1 * np.clip(np.nan_to_num(vectors[:, 1].astype(float)), -9, 9)
        return raw if self.task.classes else raw[:, 0]

    def predict_many(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities."""
        return predictions_of(self.task, self.raw_many(vectors))


def slow_learn(
    frozen: Frozen, settings: Settings, vectors: NDArray[np.float32], labels: NDArray[Any]
) -> NDArray[np.float64]:
    """What the slow twin predicts before learning each row."""
    start = EmbeddingNet.warm_start(frozen, settings, SCHEMA)
    net = isinstance(frozen, FrozenNet)
    offsets = np.zeros(len(vectors)) if net else frozen.raw_many(vectors)
    return SlowNet(start, settings, [0]).learn(vectors, labels, offsets)


def _case(name: str, frozen: Frozen, data: tuple[Any, Any], **more: Any) -> Case:
    settings = more.pop("settings", SETTINGS)
    twin = lambda vectors, labels: slow_learn(frozen, settings, vectors, labels)  # noqa: E731
    return Case(
        name=name,
        start=lambda: EmbeddingNet.warm_start(frozen, settings, SCHEMA),
        restore=lambda state: EmbeddingNet.restore(frozen, settings, SCHEMA, state),
        vectors=data[0],
        labels=data[1],
        release=frozen.predict_many,
        **{"slow_learn": twin, "task": frozen.task, "slow_exact": 1e-5, **more},
    )


def net_on_trees() -> Case:
    """A net that corrects trees."""
    made = release()
    frozen = FrozenTrees.parse(made.text)
    return _case("net_on_trees", frozen, (made.vectors, made.labels), learns_at_once=False)


def net_on_trees_at_once() -> Case:
    """A net that learns each example when it comes."""
    made, settings = release(), replace(SETTINGS, block=1, admit_after=1)
    data = (made.vectors, made.labels)
    return _case("net_at_once", FrozenTrees.parse(made.text), data, settings=settings)


def net_on_trees_of_values() -> Case:
    """A net that corrects a regression."""
    made: Release = regression_release()
    data = (made.vectors, made.labels)
    more = {"learns_at_once": False, "slow_exact": 1e-3, "largest_move": 1.0}
    return _case("net_of_values", FrozenTrees.parse(made.text), data, **more)


def net_of_classes() -> Case:
    """A net for one of several classes."""
    vectors, labels = synthetic(500, seed=2)
    classes = labels + (vectors[:, 0] % 2 == 0)
    return _case("net_of_classes", Plain(CLASSES), (vectors, classes), learns_at_once=False)


@cache
def trained(task: Task = BINARY) -> FrozenNet:
    """A release that is a net, trained on other rows of the same kind."""
    learner = EmbeddingNet.warm_start(Plain(task), SETTINGS, SCHEMA)
    for _ in range(3):
        learner.learn_many(*synthetic(3000, seed=1))
    return FrozenNet.parse(net_bytes(learner.network))


def net_from_net() -> Case:
    """A net that goes on from a net."""
    return _case(
        "net_from_net",
        trained(),
        synthetic(500, seed=2),
        settings=replace(SETTINGS, block=1, learning_rate=0.02),
    )


CASES = (
    net_on_trees,
    net_on_trees_at_once,
    net_on_trees_of_values,
    net_of_classes,
    net_from_net,
)
