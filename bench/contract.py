"""What a warm start is worth: loss on the first events and the first step, cold, naive and primed.

A release is trained on 20 000 examples; then the first 1000 of another part of the same stream are
predicted and learned one after the other. `cold` knows nothing of the release; `naive` has its
weights, but an optimizer that has seen nothing (what Alink, Flink ML and River do); `primed` has
the weights and the optimizer's state that belongs to them, which is what Tidemill does. Measured
are the mean loss (log-loss, or squared error) and how far the first event (of a net: the first
block) moves the weights. Each round is another stream. A learner's row is added to ROWS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from batch.trainers.linear import LinearTrainer
from batch.trainers.net.trainer import NetTrainer
from batch.trainers.trainer import TrainingRows
from bench._result import Part, joined, median, own_versions
from learners.families import warm_start
from learners.learner import Frozen, Learner, Scores, Vectors
from learners.linear.frozen import FrozenLinear
from learners.linear.kernels import N, Z
from learners.linear.learner import LinearLearner
from learners.net.embedding_net import EmbeddingNet
from learners.net.frozen_net import FrozenNet
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from tidemill import learner_kinds
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, Task
from tidemill.trainer_kinds import LinearModel, NetModel

TRAINING_ROWS, FIRST, COLUMNS, CATEGORIES = 20_000, 1_000, 20, 200
NAMES = tuple(f"Column_{number}" for number in range(COLUMNS))
SCHEMA = FeatureSchema(NAMES, NAMES[:2], "")
STARTS = ("cold", "naive", "primed")
LEAST = 1e-6  # AdaGrad divides by the root of its sums


@dataclass(frozen=True)
class Stream:
    """What batch has seen, and the first events after it."""

    vectors: Vectors
    labels: NDArray[Any]
    first_vectors: Vectors
    first_labels: NDArray[Any]


@dataclass(frozen=True)
class Row:
    """A learner on a release: how it is started in each way of STARTS that it has.

    `step` is how many events it takes at once: a net learns a block.
    """

    release: Frozen
    starts: Mapping[str, Callable[[], Learner]]
    step: int = 1


def make_stream(rows: int, seed: int) -> Stream:
    """Two categorical columns, 18 numbers, a tenth of them missing; labels of 0 and 1."""
    random = np.random.default_rng(seed)
    total = rows + FIRST
    vectors = random.normal(size=(total, COLUMNS)).astype(np.float32)
    vectors[random.random(vectors.shape) < 0.1] = np.nan
    vectors[:, :2] = random.integers(0, CATEGORIES, (total, 2))
    effects = random.normal(size=(2, CATEGORIES))
    odds = np.nan_to_num(vectors[:, 2:12]).sum(axis=1) * 0.4 - 1
    odds += effects[0][vectors[:, 0].astype(int)] + effects[1][vectors[:, 1].astype(int)]
    odds += np.nan_to_num(vectors[:, 2] * vectors[:, 3])
    labels = (random.random(total) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    return Stream(vectors[:rows], labels[:rows], vectors[rows:], labels[rows:])


def grown(stream: Stream) -> FrozenTrees:
    """A LightGBM release."""
    data = lightgbm.Dataset(stream.vectors, stream.labels, categorical_feature=[0, 1])
    settings = {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 1, "seed": 7}
    booster = lightgbm.train(settings, data, 100)
    return FrozenTrees.parse(booster.model_to_string().encode())


def linear_release(stream: Stream) -> FrozenLinear:
    """A linear release."""
    rows = TrainingRows.of(stream.vectors, stream.labels)
    return FrozenLinear.parse(LinearTrainer(LinearModel(), SCHEMA, BINARY).train(rows).data)


def net_release(stream: Stream) -> FrozenNet:
    """A net that torch trained."""
    rows = TrainingRows.of(stream.vectors, stream.labels)
    return FrozenNet.parse(NetTrainer(NetModel(), SCHEMA, BINARY).train(rows).data)


def tree_head_lightgbm(stream: Stream) -> Row:
    """The head on the leaves."""
    trees, settings = grown(stream), learner_kinds.TreeHead()
    least = np.full(len(trees.leaf_values), 1e-12)  # AdaGrad divides by what is here
    return Row(
        trees,
        {
            "cold": lambda: TreeHead(trees, settings, np.zeros_like(least), least.copy()),
            "naive": lambda: TreeHead(trees, settings, trees.leaf_values.copy(), least.copy()),
            "primed": lambda: TreeHead.warm_start(trees, settings),
        },
    )


def linear_lightgbm(stream: Stream) -> Row:
    """The linear learner beside the trees."""
    return _linear(grown(stream))


def linear_linear(stream: Stream) -> Row:
    """The linear learner from a linear release."""
    return _linear(linear_release(stream))


def _linear(release: Frozen) -> Row:
    settings = learner_kinds.Linear()

    def naive() -> Learner:
        learner = LinearLearner.warm_start(release, settings, SCHEMA)
        learner.table.rows[:, [Z, N]] = 0
        return learner

    return Row(
        release,
        {
            "cold": lambda: LinearLearner.cold(settings, SCHEMA, release.task),
            "naive": naive,
            "primed": lambda: LinearLearner.warm_start(release, settings, SCHEMA),
        },
    )


class Nothing:
    """A release that knows nothing: what a learner starts from when it starts cold."""

    task, digest, features = BINARY, "", NAMES

    def raw_many(self, vectors: Vectors) -> Scores:
        """Even odds."""
        return np.zeros(len(vectors))

    def predict_many(self, vectors: Vectors) -> Scores:
        """Even chances."""
        return np.full(len(vectors), 0.5)


def net_net(stream: Stream) -> Row:
    """The net from a net that torch trained."""
    settings = learner_kinds.EmbeddingNet()
    release = net_release(stream)

    def naive() -> Learner:
        learner = EmbeddingNet.warm_start(release, settings, SCHEMA)
        learner.network.sums[:] = LEAST
        learner.network.table.rows[:, settings.embedding :] = LEAST
        return learner

    return _beside(settings, release, {"naive": naive})


def net_lightgbm(stream: Stream) -> Row:
    """The net beside the trees."""
    return _beside(learner_kinds.EmbeddingNet(), grown(stream))


def linear_net(stream: Stream) -> Row:
    """The linear learner beside a net."""
    return _beside(learner_kinds.Linear(), net_release(stream))


def net_linear(stream: Stream) -> Row:
    """The net beside a linear release."""
    return _beside(learner_kinds.EmbeddingNet(), linear_release(stream))


def river_lightgbm(stream: Stream) -> Row:
    """A River estimator beside the trees."""
    return _beside(learner_kinds.River("logistic", river_logistic), grown(stream))


def mixture_lightgbm(stream: Stream) -> Row:
    """A mixture of all of them on the trees."""
    experts = (
        learner_kinds.TreeHead(), learner_kinds.Linear(), learner_kinds.EmbeddingNet(),
        learner_kinds.River("logistic", river_logistic),
    )  # fmt: skip
    release, settings = grown(stream), learner_kinds.Mixture("mixture", experts)
    return Row(release, {"primed": lambda: warm_start(settings, release, SCHEMA)})


def river_logistic() -> object:
    """River's logistic regression on standardised numbers."""
    from river import linear_model, preprocessing

    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def _beside(
    settings: learner_kinds.LearnerKind,
    release: Frozen,
    others: Mapping[str, Callable[[], Learner]] | None = None,
) -> Row:
    starts = {
        "cold": lambda: warm_start(settings, Nothing(), SCHEMA),
        "primed": lambda: warm_start(settings, release, SCHEMA),
    }
    return Row(release, {**starts, **(others or {})}, getattr(settings, "block", 1))


ROWS: dict[str, Callable[[Stream], Row]] = {
    "tree_head_lightgbm": tree_head_lightgbm,
    "linear_linear": linear_linear,
    "linear_lightgbm": linear_lightgbm,
    "linear_net": linear_net,
    "net_net": net_net,
    "net_lightgbm": net_lightgbm,
    "net_linear": net_linear,
    "river_lightgbm": river_lightgbm,
    "mixture_lightgbm": mixture_lightgbm,
}
"""Learner and trainer."""


def mean_loss(task: Task, scores: Scores, labels: NDArray[Any]) -> float:
    """Log-loss in nats, or the mean squared error."""
    if task.kind == "regression":
        return float(np.mean((scores - labels) ** 2))
    if task.kind == "binary":
        scores = np.stack([1 - scores, scores], axis=1)
    right = scores[np.arange(len(scores)), labels.astype(int)]
    return float(-np.mean(np.log(np.maximum(right, np.finfo(float).eps))))


def first_loss(learner: Learner, stream: Stream) -> float:
    """The mean loss on the first events, each predicted before it is learned."""
    scores = learner.learn_many(stream.first_vectors, stream.first_labels)
    return mean_loss(learner.task, scores, stream.first_labels)


def first_step(learner: Learner, stream: Stream, events: int) -> float:
    """How far the first step moves the weights."""
    learner.learn_many(stream.first_vectors[:events], stream.first_labels[:events])
    return learner.update_norm()


def measured(name: str, streams: list[Stream]) -> Part:
    """A learner's row of the table over all streams."""
    found: dict[str, tuple[str, list[float]]] = {}
    equal = True
    for stream in streams:
        row = ROWS[name](stream)
        release = row.release.predict_many(stream.first_vectors)
        loss = mean_loss(row.release.task, release, stream.first_labels)
        found.setdefault(f"{name}_release_loss", ("nats", []))[1].append(loss)
        for start, make in row.starts.items():
            loss = first_loss(make(), stream)
            found.setdefault(f"{name}_{start}_loss", ("nats", []))[1].append(loss)
            found.setdefault(f"{name}_{start}_step", ("norm", []))[1].append(
                first_step(make(), stream, row.step)
            )
        first = row.starts["primed"]().predict_many(stream.first_vectors)
        equal = equal and bool(np.abs(first - release).max() < 1e-9)
    primed = median(found[f"{name}_primed_loss"][1])
    others = [start for start in STARTS[:-1] if f"{name}_{start}_loss" in found]
    return {
        "samples": found,
        "ratios": {f"{name}_{s}": median(found[f"{name}_{s}_loss"][1]) / primed for s in others},
        "skipped": {},
        "versions": own_versions("lightgbm", "numba", "numpy"),
        "equal": equal,
    }


def run(quick: bool) -> dict[str, object]:
    """Fill the table; the answers are equal when every primed learner starts as its release."""
    rows, rounds = (2_000, 1) if quick else (TRAINING_ROWS, 5)
    streams = [make_stream(rows, seed) for seed in range(rounds)]
    return joined("contract", [measured(name, streams) for name in ROWS])
