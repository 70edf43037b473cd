"""River estimators, each a mixture with its release, as cases of the checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from case_linear import CLASSES, labels_of, linear_release
from case_mixture import mixture_case
from checks import Case
from releases import regression_release, release
from river_estimators import linear, logistic, softmax, trees

from learners.trees import FrozenTrees
from tidemill.learner_kinds import Linear, Mixture, River


def _case(name: str, make: Callable[[], Any], made: Any) -> Case:
    settings = Mixture(name, (River(name, make),))
    return mixture_case(settings, FrozenTrees.parse(made.text), made.vectors, made.labels)


def river_tree() -> Case:
    """A Hoeffding tree."""
    return _case("river_tree", trees, release())


def river_logistic() -> Case:
    """A logistic regression behind a scaler."""
    return _case("river_logistic", logistic, release())


def river_values() -> Case:
    """A linear regression behind a scaler."""
    return _case("river_values", linear, regression_release())


def river_classes() -> Case:
    """A softmax regression, which takes no weights."""
    vectors, labels = labels_of(CLASSES, 500, 2)
    settings = Mixture("river_classes", (River("river_classes", softmax),))
    return mixture_case(settings, linear_release(CLASSES, Linear("release")), vectors, labels)


CASES = (river_tree, river_logistic, river_values, river_classes)
