"""Mixtures as cases of the checks: of heads, linear learners and River's, for every task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from case_linear import CLASSES, NAMES, SCHEMA, labels_of, linear_release
from checks import Case
from numpy.typing import NDArray
from releases import regression_release, release
from river_estimators import softmax, trees
from slow_mixture import SlowMixture

from learners import families
from learners.learner import Frozen
from learners.river_adapter.model import RiverModel
from learners.trees import FrozenTrees
from tidemill.learner_kinds import LearnerKind, Linear, Mixture, River, TreeHead
from tidemill.tasks import REGRESSION

assert NAMES == SCHEMA.names


def _slow(
    frozen: Frozen, settings: Mixture, vectors: NDArray[np.float32], labels: NDArray[Any]
) -> NDArray[np.float64]:
    """The experts learn one after the other; a plain reference blends what they said."""
    outcomes, ones = np.asarray(labels, np.float64), np.ones(len(labels))
    said = [frozen.predict_many(vectors)]
    for declared in settings.experts:
        said.append(_expert(declared, frozen).learn_many(vectors, outcomes, ones))
    warm = [True, *(not isinstance(expert, River) for expert in settings.experts)]
    slow = SlowMixture(frozen.task, settings, warm)
    advice = np.stack(said, axis=1)
    return np.array([slow.learn(row, label) for row, label in zip(advice, outcomes, strict=True)])


def _expert(declared: LearnerKind, frozen: Frozen) -> Any:
    if isinstance(declared, River):
        return RiverModel.start(declared, frozen.task, SCHEMA)
    return families.warm_start(declared, frozen, SCHEMA)


def mixture_case(
    settings: Mixture, frozen: Frozen, vectors: NDArray[np.float32], labels: NDArray[Any]
) -> Case:
    """A mixture over a release of any kind."""
    return Case(
        name=settings.name,
        start=lambda: families.warm_start(settings, frozen, SCHEMA),
        restore=lambda state: families.restore(settings, frozen, SCHEMA, state),
        vectors=vectors,
        labels=labels,
        release=frozen.predict_many,
        slow_learn=lambda vectors, labels: _slow(frozen, settings, vectors, labels),
        task=frozen.task,
        largest_move=1.0 if frozen.task == REGRESSION else 0.02,
        slow_exact=1e-6 if frozen.task == REGRESSION else 1e-9,
    )


def mixture() -> Case:
    """Probabilities: a head, a linear learner and a tree of River's, with recent labels."""
    made = release()
    experts = (TreeHead(), Linear("linear"), River("tree", trees))
    settings = Mixture("mixture", experts, recent=(2.0, 20.0))
    return mixture_case(settings, FrozenTrees.parse(made.text), made.vectors, made.labels)


def mixture_of_values() -> Case:
    """A regression, with a declared share."""
    made = regression_release()
    settings = Mixture("values", (TreeHead(), Linear("linear")), share=0.01, recent=(5.0,))
    return mixture_case(settings, FrozenTrees.parse(made.text), made.vectors, made.labels)


def mixture_of_classes() -> Case:
    """Three classes."""
    vectors, labels = labels_of(CLASSES, 500, 2)
    experts = (Linear("linear"), River("softmax", softmax, missing=0.0))
    frozen = linear_release(CLASSES, Linear("release"))
    return mixture_case(Mixture("classes", experts, memories=(50,)), frozen, vectors, labels)


CASES: tuple[Callable[[], Case], ...] = (mixture, mixture_of_values, mixture_of_classes)
