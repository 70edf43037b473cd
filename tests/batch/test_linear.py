"""The batch trainer of linear releases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from batch.linear import LinearTrainer, minimised
from learners.linear.frozen import FrozenLinear
from tidemill.learner_kinds import Linear
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, REGRESSION, Task

SCHEMA = FeatureSchema(("a", "b", "c"), (), "")
CLASSES = Task("multiclass", 3)


def data(rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal numbers, and a sum of them with noise."""
    random = np.random.default_rng(1)
    vectors = random.normal(size=(rows, 3)).astype(np.float32)
    return vectors, vectors @ [1.0, -2.0, 0.5] + random.normal(size=rows)


def trained(task: Task, labels: np.ndarray) -> FrozenLinear:
    """A release of the numbers."""
    trainer = LinearTrainer(Linear(), SCHEMA, task, ridge=1.0, passes=200)
    return FrozenLinear.parse(trainer.train(data()[0], labels))


def standardised() -> np.ndarray:
    """What the release's encoder makes of the numbers."""
    vectors = data()[0].astype(float)
    return (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)


def test_binary_is_the_penalised_optimum() -> None:
    """The probabilities are scikit-learn's."""
    labels = (data()[1] > 0).astype(int)
    expected = LogisticRegression(C=1.0, tol=1e-8).fit(standardised(), labels)
    found = trained(BINARY, labels).predict_many(data()[0])
    np.testing.assert_allclose(found, expected.predict_proba(standardised())[:, 1], atol=2e-3)


def test_several_classes_are_the_penalised_optimum() -> None:
    """The probabilities are scikit-learn's."""
    labels = np.digitize(data()[1], [-1, 1])
    expected = LogisticRegression(C=1.0, tol=1e-8).fit(standardised(), labels)
    found = trained(CLASSES, labels).predict_many(data()[0])
    np.testing.assert_allclose(found, expected.predict_proba(standardised()), atol=3e-3)


def test_regression_is_ridge() -> None:
    """The values are scikit-learn's; the unit is how far they spread."""
    expected = Ridge(alpha=1.0).fit(standardised(), data()[1]).predict(standardised())
    frozen = trained(REGRESSION, data()[1])
    np.testing.assert_allclose(frozen.predict_many(data()[0]), expected, atol=1e-3)
    assert frozen.unit == pytest.approx(expected.std(), rel=1e-2)


def test_evidence_is_the_expected_squared_gradients() -> None:
    """Of the bias the sum of p(1-p), of a standardised number that times its square."""
    labels = (data()[1] > 0).astype(int)
    frozen = trained(BINARY, labels)
    scores = frozen.predict_many(data()[0])
    expected = [(scores * (1 - scores) * x**2).sum() for x in (1, standardised()[:, 0])]
    np.testing.assert_allclose(frozen.evidence[[0, 1], 0], expected, rtol=1e-4)


def test_the_same_data_gives_the_same_bytes() -> None:
    """A release is a function of its data and settings."""
    labels = (data()[1] > 0).astype(int)
    made = [LinearTrainer(Linear(), SCHEMA, BINARY).train(data()[0], labels) for _ in range(2)]
    assert made[0] == made[1]


def test_labels_of_another_task_are_refused() -> None:
    """A classifier does not train on values."""
    with pytest.raises(ValueError, match="labels: found"):
        LinearTrainer(Linear(), SCHEMA, BINARY).train(*data())


def test_minimised_finds_the_bottom_of_a_narrow_valley() -> None:
    """Rosenbrock's function, from its usual start."""

    def valley(at: np.ndarray) -> tuple[float, np.ndarray]:
        x, y = at
        slope = [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)]
        return float((1 - x) ** 2 + 100 * (y - x * x) ** 2), np.array(slope)

    found = minimised(valley, np.array([-1.2, 1.0]), passes=200)
    np.testing.assert_allclose(found, [1, 1], atol=1e-2)
