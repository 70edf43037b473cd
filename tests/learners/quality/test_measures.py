"""The measures equal scikit-learn's, with and without weights."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from learners.quality import accuracy, auc, calibration_error, log_loss, mae, rmse


@pytest.mark.parametrize("decimals", [1, 2, 15])
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_scikit_learn(decimals: int, weighted: bool) -> None:
    """With many ties, few or none."""
    rng = np.random.default_rng(5)
    labels, scores = rng.integers(0, 2, 1000), rng.random(1000).round(decimals)
    weights = rng.exponential(size=1000) if weighted else None
    given = {"sample_weight": weights}
    expected = metrics.roc_auc_score(labels, scores, **given)
    assert expected == pytest.approx(auc(labels, scores, weights), abs=1e-12)
    expected = metrics.log_loss(labels, scores, **given)
    assert expected == pytest.approx(log_loss(labels, scores, weights), abs=1e-9)
    expected = metrics.accuracy_score(labels, scores > 0.5, **given)
    assert expected == pytest.approx(accuracy(labels, scores, weights))


@pytest.mark.parametrize("weighted", [False, True])
def test_errors_of_numbers_equal_scikit_learns(weighted: bool) -> None:
    """Mean absolute error and root mean squared error."""
    rng = np.random.default_rng(6)
    labels, scores = rng.normal(size=(2, 500))
    weights = rng.exponential(size=500) if weighted else None
    given = {"sample_weight": weights}
    expected = metrics.mean_absolute_error(labels, scores, **given)
    assert expected == pytest.approx(mae(labels, scores, weights))
    expected = metrics.root_mean_squared_error(labels, scores, **given)
    assert expected == pytest.approx(rmse(labels, scores, weights))


@pytest.mark.parametrize("labels", [[], [0, 0], [1]])
def test_auc_needs_both_classes(labels: list[int]) -> None:
    """One class alone has no AUC."""
    assert auc(labels, [0.5] * len(labels)) is None


def test_measures_of_nothing() -> None:
    """No rows have no quality, nor have rows that weigh nothing."""
    for measure in (log_loss, calibration_error, accuracy, mae, rmse):
        assert measure([], []) is None
        assert measure([1], [0.5], [0.0]) is None


def test_certain_and_wrong_is_finite() -> None:
    """A score of 0 for a positive costs much but not infinitely much."""
    assert 36.04 == pytest.approx(log_loss([1], [0.0]), abs=0.01)


def test_what_is_said_comes_about_as_often() -> None:
    """Calibrated scores have hardly any calibration error, shifted ones about their shift."""
    rng = np.random.default_rng(7)
    scores = rng.random(100_000) * 0.8
    labels = rng.random(100_000) < scores
    assert calibration_error(labels, scores) < 0.01
    assert 0.1 == pytest.approx(calibration_error(labels, scores + 0.1), abs=0.01)


def test_calibration_groups_are_of_equal_weight() -> None:
    """Fifteen rows are a group each, so every row's distance counts."""
    rng = np.random.default_rng(8)
    labels, scores = rng.integers(0, 2, 15), rng.random(15)
    assert np.abs(labels - scores).mean() == pytest.approx(calibration_error(labels, scores))
