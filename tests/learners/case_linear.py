"""The linear learner as cases of the checks: on trees, and from linear releases of each task."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
from checks import Case
from numpy.typing import NDArray
from releases import Release, regression_release, release, synthetic
from slow_linear import SlowLinear, primed_by

from batch.trainers.linear import LinearTrainer
from batch.trainers.trainer import TrainingRows
from learners.linear.frozen import FrozenLinear
from learners.linear.learner import FLOOR, PRIME_ROWS, PRIME_SHARE, LinearLearner
from learners.trees import FrozenTrees
from tidemill.learner_kinds import Linear
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, REGRESSION, Task
from tidemill.trainer_kinds import LinearModel

CLASSES = Task("multiclass", 3)
NAMES = tuple(f"Column_{number}" for number in range(8))
SCHEMA = FeatureSchema(NAMES, ("Column_0",), "")


def labels_of(task: Task, rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Synthetic vectors with labels of a task."""
    vectors, labels = synthetic(rows, seed)
    noise = np.random.default_rng(seed).normal(size=rows)
    effects = np.nan_to_num(vectors[:, 1]) + vectors[:, 0] % 3 + noise
    if task.kind == "regression":
        return vectors, 100 + 20 * effects
    if task.kind == "multiclass":
        return vectors, np.digitize(effects, [0, 1.5])
    return vectors, labels


def linear_of(  # noqa: PLR0913  what a release is made of
    vectors: NDArray[np.float32],
    labels: NDArray[Any],
    schema: FeatureSchema,
    task: Task,
    settings: Linear,
) -> FrozenLinear:
    """A linear release of rows, in the slots of a learner's settings."""
    model = LinearModel(ridge=max(1.0, settings.l2), hash_bits=settings.hash_bits)
    rows = TrainingRows.of(vectors, labels)
    return FrozenLinear.parse(LinearTrainer(model, schema, task).train(rows).data)


@cache
def linear_release(task: Task, settings: Linear) -> FrozenLinear:
    """A linear release of a task, of data that no case learns."""
    vectors, labels = labels_of(task, 3000, 1)
    return linear_of(vectors, labels, SCHEMA, task, settings)


def slow_on_trees(
    made: Release, settings: Linear, vectors: NDArray[np.float32], labels: NDArray[Any]
) -> list[float]:
    """The plain reference beside LightGBM's own raw scores."""
    trees = FrozenTrees.parse(made.text)
    prior = PRIME_ROWS / 4 * trees.unit**2
    slow = SlowLinear(settings, trees.task, {0}, 8, lambda key, k: (prior, 0.0), trees.unit)
    raws = made.booster.predict(vectors, raw_score=True)
    rows = zip(vectors, labels.tolist(), raws.tolist(), strict=True)
    return [slow.learn(vector, label, [raw])[0] for vector, label, raw in rows]


def slow_from_linear(
    made: FrozenLinear, settings: Linear, vectors: NDArray[np.float32], labels: NDArray[Any]
) -> NDArray[np.float64]:
    """The plain reference from a linear release."""
    primed = primed_by(made, PRIME_SHARE, FLOOR)
    moments = np.frombuffer(made.encoder().moments.tobytes()).reshape(-1, 3)
    slow = SlowLinear(settings, made.task, {0}, 8, primed, made.unit, moments)
    nothing = [0.0] * 3
    rows = zip(vectors, labels.tolist(), strict=True)
    scores = np.array([slow.learn(vector, label, nothing) for vector, label in rows])
    return scores if made.task.kind == "multiclass" else scores[:, 0]


def _on_trees(name: str, made: Release, settings: Linear, move: float) -> Case:
    trees = FrozenTrees.parse(made.text)
    return Case(
        name=name,
        start=lambda: LinearLearner.warm_start(trees, settings, SCHEMA),
        restore=lambda state: LinearLearner.restore(trees, settings, SCHEMA, state),
        vectors=made.vectors,
        labels=made.labels,
        release=made.booster.predict,
        slow_learn=partial(slow_on_trees, made, settings),
        task=trees.task,
        largest_move=move,
        slow_exact=1e-12 if trees.task == BINARY else 1e-9,
    )


def _from_linear(name: str, task: Task, settings: Linear, move: float) -> Case:
    made = linear_release(task, settings)
    vectors, labels = labels_of(task, 500, 2)
    return Case(
        name=name,
        start=lambda: LinearLearner.warm_start(made, settings, SCHEMA),
        restore=lambda state: LinearLearner.restore(made, settings, SCHEMA, state),
        vectors=vectors,
        labels=labels,
        release=made.predict_many,
        slow_learn=partial(slow_from_linear, made, settings),
        task=task,
        largest_move=move,
        slow_exact=1e-12 if task != REGRESSION else 1e-9,
    )


def linear_on_trees() -> Case:
    """FTRL beside a classifier's trees; a hundred categories do not meet in 2^18 slots."""
    return _on_trees("linear_on_trees", release(), Linear(), 0.02)


def linear_adagrad_on_trees() -> Case:
    """AdaGrad with penalties, and a slot for each category."""
    settings = Linear(optimizer="adagrad", hash_bits=None, l1=0.01, l2=0.1, max_step=0.1)
    return _on_trees("linear_adagrad_on_trees", release(), settings, 0.02)


def linear_on_trees_of_values() -> Case:
    """FTRL beside the trees of a regression."""
    return _on_trees("linear_on_trees_of_values", regression_release(), Linear(), 3.0)


def linear_from_linear() -> Case:
    """FTRL from a linear classifier's weights, with penalties that hold some at 0."""
    return _from_linear("linear_from_linear", BINARY, Linear(hash_bits=None, l1=0.1, l2=0.1), 0.02)


def linear_adagrad_from_linear() -> Case:
    """AdaGrad from a linear classifier's weights."""
    settings = Linear(optimizer="adagrad", hash_bits=None)
    return _from_linear("linear_adagrad_from_linear", BINARY, settings, 0.02)


def linear_of_values() -> Case:
    """FTRL from a linear regression."""
    return _from_linear("linear_of_values", REGRESSION, Linear(hash_bits=None), 3.0)


def linear_of_classes() -> Case:
    """FTRL from a softmax of three classes."""
    return _from_linear("linear_of_classes", CLASSES, Linear(hash_bits=None), 0.02)


CASES = (
    linear_on_trees,
    linear_adagrad_on_trees,
    linear_on_trees_of_values,
    linear_from_linear,
    linear_adagrad_from_linear,
    linear_of_values,
    linear_of_classes,
)
