"""The batch trainer of linear releases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from batch.trainers.linear import LinearTrainer, minimised
from batch.trainers.trainer import TrainingRows
from learners.linear.frozen import FrozenLinear
from tidemill.errors import TrainingFailed
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, REGRESSION, Task
from tidemill.trainer_kinds import LinearModel

SCHEMA = FeatureSchema(("a", "b", "c"), (), "")
CLASSES = Task("multiclass", 3)


def data(rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal numbers, and a sum of them with noise."""
    random = np.random.default_rng(1)
    vectors = random.normal(size=(rows, 3)).astype(np.float32)
    return vectors, vectors @ [1.0, -2.0, 0.5] + random.normal(size=rows)


def trained(task: Task, labels: np.ndarray) -> FrozenLinear:
    """A release of the numbers."""
    trainer = LinearTrainer(LinearModel(ridge=1.0, passes=200), SCHEMA, task)
    return FrozenLinear.parse(trainer.train(TrainingRows.of(data()[0], labels)).data)


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
    rows = TrainingRows.of(data()[0], labels)
    made = [LinearTrainer(LinearModel(), SCHEMA, BINARY).train(rows) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize("task", [BINARY, REGRESSION, CLASSES], ids=lambda task: task.kind)
def test_a_weight_is_so_many_equal_rows(task: Task) -> None:
    """Rows of weight 3 and 0 are those rows three times and not at all."""
    vectors, values = data(300)
    labels = {"binary": values > 0, "multiclass": np.digitize(values, [-1, 1])}.get(
        task.kind, values
    )
    counts = np.random.default_rng(2).choice([0, 1, 3], 300)
    weighted = TrainingRows(vectors, labels.astype(float), counts.astype(float))
    often = TrainingRows.of(vectors, labels).take(np.repeat(np.arange(300), counts))
    # Means and spreads count each row once: with none to learn, both encode alike.
    schema = FeatureSchema(("a", "b", "c"), ("a", "b", "c"), "")
    made = [
        FrozenLinear.parse(LinearTrainer(LinearModel(passes=500), schema, task).train(rows).data)
        for rows in (weighted, often)
    ]
    raws = [frozen.raw_many(vectors) for frozen in made]
    np.testing.assert_allclose(*raws, atol=1e-2)
    np.testing.assert_allclose(*[frozen.evidence.sum(axis=0) for frozen in made], rtol=1e-3)


class Watched:
    """Rows that are watched, with all that was seen; ends after `last` steps."""

    def __init__(self, vectors: np.ndarray, last: int = 10**9) -> None:
        self.vectors, self.last = vectors, last
        self.scores: list[np.ndarray] = []

    def seen(self, step: int, scores: np.ndarray) -> bool:
        """Keep them."""
        self.scores.append(scores)
        assert step == len(self.scores)
        return step == self.last


@pytest.mark.parametrize("task", [BINARY, CLASSES], ids=lambda task: task.kind)
def test_a_watch_sees_what_the_release_predicts(task: Task) -> None:
    """After the last pass, and after the one it ends the training with."""
    vectors, values = data()
    schema = FeatureSchema(("a", "b", "c"), ("c",), "")  # most of whose categories are new
    vectors[:, 2] = np.arange(len(vectors)) % 1500
    labels = np.digitize(values, [0] if task == BINARY else [-1, 1])
    rows = TrainingRows.of(vectors[:1000], labels[:1000])
    for last in (10**9, 3):
        watch = Watched(vectors[1000:], last)
        made = LinearTrainer(LinearModel(hash_bits=None), schema, task).train(rows, watch=watch)
        expected = FrozenLinear.parse(made.data).predict_many(watch.vectors)
        np.testing.assert_allclose(watch.scores[-1], expected, atol=1e-12)
    assert len(watch.scores) == 3


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_no_number_is_refused() -> None:
    """Values whose squares leave float64 cannot be learned."""
    rows = TrainingRows.of(data(4)[0], np.array([1e200, -1e200, 3e200, 0]))
    with pytest.raises(TrainingFailed, match="loss of inf"):
        LinearTrainer(LinearModel(), SCHEMA, REGRESSION).train(rows)


def test_labels_of_another_task_are_refused() -> None:
    """A classifier does not train on values."""
    with pytest.raises(ValueError, match="labels: found"):
        LinearTrainer(LinearModel(), SCHEMA, BINARY).train(TrainingRows.of(*data()))


def test_minimised_finds_the_bottom_of_a_narrow_valley() -> None:
    """Rosenbrock's function, from its usual start."""

    def valley(at: np.ndarray) -> tuple[float, np.ndarray]:
        x, y = at
        slope = [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)]
        return float((1 - x) ** 2 + 100 * (y - x * x) ** 2), np.array(slope)

    found = minimised(valley, np.array([-1.2, 1.0]), passes=200)
    np.testing.assert_allclose(found, [1, 1], atol=1e-2)
