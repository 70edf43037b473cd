"""Any River estimator can be an expert: its state is exact, and what cannot serve is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from river import base, compose, datasets, dummy, forest, linear_model, neighbors, preprocessing
from river_estimators import classifiers, linear, logistic, regressions, softmax, trees

from learners.river_adapter.model import EDGE, RiverModel, _Traits
from tidemill.errors import ArtifactError, DeclarationError
from tidemill.learner_kinds import River
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, REGRESSION, Task

SCHEMA = FeatureSchema(("a", "b", "c", "d", "kind"), ("kind",), "")
ROWS, HALF = 400, 250
KINDS = [(BINARY, name, make) for name, make in classifiers().items()]
KINDS += [(REGRESSION, name, make) for name, make in regressions().items()]


def examples(task: Task) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Vectors whose relation to the labels turns over half-way, labels and weights of 1."""
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(ROWS, 5)).astype(np.float32)
    vectors[rng.random(vectors.shape) < 0.03] = np.nan
    vectors[:, 4] = rng.integers(0, 4, ROWS)
    values = np.nan_to_num(vectors[:, 0] + vectors[:, 1] * vectors[:, 2]).astype(np.float64)
    values[HALF:] *= -1
    labels = values if task == REGRESSION else (values > 0).astype(np.float64)
    return vectors, labels, np.ones(ROWS)


def model(make: Callable[[], Any], task: Task = BINARY, **settings: Any) -> RiverModel:
    """A model of this estimator."""
    return RiverModel.start(River("river", make, **settings), task, SCHEMA)


@pytest.mark.parametrize(
    ("task", "make"),
    [(task, make) for task, _, make in KINDS],
    ids=[f"{task.kind}-{name}" for task, name, _ in KINDS],
)
def test_a_restored_estimator_goes_on_exactly(task: Task, make: Callable[[], Any]) -> None:
    """Restored and cloned, it predicts, learns and is saved as if it had never stopped."""
    vectors, labels, ones = examples(task)
    first = model(make, task)
    first.learn_many(vectors[:HALF], labels[:HALF], ones[:HALF])
    state = first.snapshot()
    second = RiverModel.restore(River("river", make), task, SCHEMA, state)
    third = first.clone()
    assert state == second.snapshot() == third.snapshot()
    ends = [
        (other.learn_many(vectors[HALF:], labels[HALF:], ones[HALF:]).tolist(), other.snapshot())
        for other in (first, second, third)
    ]
    assert ends[0] == ends[1] == ends[2]
    assert state != model(make, task).snapshot()


def test_the_forest_is_as_good_as_river_s_own() -> None:
    """Through the adapter a forest's hits on Phishing are those of River called directly."""
    rows = list(datasets.Phishing())[:400]
    names = tuple(sorted(rows[0][0]))
    vectors = np.array([[x[name] for name in names] for x, _ in rows], np.float32)
    labels = np.array([float(y) for _, y in rows])
    make = lambda: forest.ARFClassifier(n_models=3, seed=1)  # noqa: E731
    schema = FeatureSchema(names, (), "")
    wrapped = RiverModel.start(River("forest", make), BINARY, schema)
    scores = wrapped.learn_many(vectors, labels, np.ones(len(labels)))
    plain, hits = make(), []
    for x, y in rows:
        hits.append((plain.predict_proba_one(x).get(True, 0.0) > 0.5) == y)
        plain.learn_one({name: float(np.float32(x[name])) for name in names}, y)
    assert abs(np.mean((scores > 0.5) == labels) - np.mean(hits)) < 0.01


def test_probabilities_stay_off_the_edge() -> None:
    """An estimator that says 0 or 1 is understood as "almost"; without any word it is one half."""
    vectors, labels, ones = examples(BINARY)
    scores = model(dummy.NoChangeClassifier).learn_many(vectors, labels, ones)
    assert scores[0] == 0.5
    assert {EDGE / 2, 1 - EDGE / 2} == set(scores[1:].round(12).tolist())


def test_several_classes_have_a_probability_each() -> None:
    """Rows of class probabilities sum to 1, also for classes that were never seen."""
    vectors, labels, ones = examples(BINARY)
    scores = model(softmax, Task("multiclass", 3), missing=0.0).learn_many(vectors, labels, ones)
    assert scores.shape == (ROWS, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-12)
    assert (scores > 0).all()


@pytest.mark.parametrize("make", [logistic, softmax], ids=["with weights", "without"])
def test_weights_count(make: Callable[[], Any]) -> None:
    """Weight 0 learns nothing, whole weights repeat, and halves count every other time."""
    vectors, labels, ones = examples(BINARY)
    states = {}
    for weight in (0.0, 0.5, 1.0, 2.0):
        learner = model(make)
        before = learner.snapshot()
        learner.learn_many(vectors, labels, weight * ones)
        states[weight] = learner.snapshot()
        assert (before == learner.snapshot()) == (weight == 0)
    assert len(set(states.values())) == 4


def test_rows_become_dicts_as_declared() -> None:
    """Missing values are left out or filled; codes are numbers or words; nonsense is missing."""
    seen: list[dict[str, Any]] = []

    class Watching(base.Classifier):
        def learn_one(self, x: dict[str, Any], y: Any) -> None:
            seen.append(x)

        def predict_proba_one(self, x: dict[str, Any], **_: Any) -> dict[Any, float]:
            return {}

    vectors = np.array([[1, np.nan, np.inf, -3e38, 7]], np.float32)
    for settings in ({}, {"missing": -1.0, "strings": True}):
        declared = River("river", Watching, **settings)
        traits = _Traits(probable=True, pure=True)
        watching = RiverModel(declared, BINARY, SCHEMA, Watching(), traits)
        watching.learn_many(vectors, np.ones(1), np.ones(1))
    assert [{"a": 1.0, "kind": 7.0}, {"a": 1.0, "b": -1.0, "kind": "7"}] == seen


@pytest.mark.parametrize(
    ("make", "task", "message"),
    [
        (linear, BINARY, "allowed: an estimator for binary labels"),
        (logistic, REGRESSION, "allowed: an estimator for regression labels"),
        (logistic, Task("multiclass", 3), "allowed: an estimator that knows several classes"),
        (lambda: 3, BINARY, "found 3; allowed: an estimator"),
        (preprocessing.StandardScaler, BINARY, "allowed: an estimator for binary labels"),
        (lambda: neighbors.KNNClassifier(), BINARY, "river.neighbors.ann.swinn.SWINN"),
        (
            lambda: compose.FuncTransformer(lambda x: x) | linear_model.Perceptron(),
            BINARY,
            "<lambda>.*allowed: estimators of River's own",
        ),
    ],
)
def test_what_cannot_serve_is_refused_at_once(
    make: Callable[[], Any], task: Task, message: str
) -> None:
    """The wrong kind of estimator, and one whose state has no bytes, is a DeclarationError."""
    with pytest.raises(DeclarationError, match=message):
        model(make, task)


@pytest.mark.parametrize("wrong", [{"make": 3}, {"make": trees, "missing": "none"}])
def test_a_mistake_in_the_declaration_is_named(wrong: dict[str, Any]) -> None:
    """What is declared is checked before River is imported."""
    with pytest.raises(DeclarationError, match="River river"):
        River("river", **wrong)


def test_the_state_of_another_estimator_is_refused() -> None:
    """A state says what it is of."""
    state = model(logistic).snapshot()
    with pytest.raises(ArtifactError, match="found Pipeline.*allowed: HoeffdingTree"):
        RiverModel.restore(River("river", trees), BINARY, SCHEMA, state)
