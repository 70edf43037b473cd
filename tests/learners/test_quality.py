"""AUC and log-loss equal scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from learners.quality import auc, log_loss


@pytest.mark.parametrize("decimals", [1, 2, 15])
def test_equal_to_scikit_learn(decimals: int) -> None:
    """With many ties, few or none."""
    rng = np.random.default_rng(5)
    labels, scores = rng.integers(0, 2, 1000), rng.random(1000).round(decimals)
    assert metrics.roc_auc_score(labels, scores) == pytest.approx(auc(labels, scores), abs=1e-12)
    assert metrics.log_loss(labels, scores) == pytest.approx(log_loss(labels, scores), abs=1e-9)


@pytest.mark.parametrize("labels", [[], [0, 0], [1]])
def test_auc_needs_both_classes(labels: list[int]) -> None:
    """One class alone has no AUC."""
    assert auc(labels, [0.5] * len(labels)) is None


def test_log_loss_of_nothing() -> None:
    """No rows have no log-loss."""
    assert log_loss([], []) is None


def test_certain_and_wrong_is_finite() -> None:
    """A score of 0 for a positive costs much but not infinitely much."""
    assert 36.04 == pytest.approx(log_loss([1], [0.0]), abs=0.01)
