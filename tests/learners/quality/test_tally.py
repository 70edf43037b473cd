"""Sums say what the rows say, within the error they state, and rows can be taken out again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.quality import auc, calibration_error, log_loss, mae, rmse
from learners.quality.tally import Tally
from tidemill.quality import Measures
from tidemill.tasks import BINARY, REGRESSION


def rows(seed: int, count: int = 2000, rate: float = 0.3) -> tuple[np.ndarray, ...]:
    """Groups, labels, scores and weights."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(np.log(rate / (1 - rate)), 1.5, count)
    scores = 1 / (1 + np.exp(-odds))
    labels = (rng.random(count) < scores).astype(float)
    return rng.integers(0, 3, count), labels, scores, rng.exponential(size=count)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([0.5, 0.1, 0.004]))
def test_auc_is_within_its_stated_error(seed: int, rate: float) -> None:
    """Also where positives are rare; the other measures are those of the rows."""
    groups, labels, scores, weights = rows(seed, rate=rate)
    tally = Tally(BINARY, 3)
    tally.add(groups, labels, scores, weights)
    for group in range(3):
        of = groups == group
        found = tally.measures(group)
        exact = auc(labels[of], scores[of], weights[of])
        assert (exact is None) == (found.auc is None)
        if exact is not None:
            assert abs(exact - found.auc) <= found.auc_error + 1e-12
        assert log_loss(labels[of], scores[of], weights[of]) == pytest.approx(found.log_loss)
        expected = calibration_error(labels[of], scores[of], weights[of])
        assert expected == pytest.approx(found.calibration_error, abs=0.03)


def test_numbers_have_their_errors() -> None:
    """A regression's sums give MAE and RMSE and nothing else."""
    groups, _, labels, weights = rows(2)
    scores = labels + np.random.default_rng(1).normal(size=len(labels))
    tally = Tally(REGRESSION, 3)
    tally.add(groups, labels, scores, weights)
    of = groups == 1
    found = tally.measures(1)
    assert mae(labels[of], scores[of], weights[of]) == pytest.approx(found.mae)
    assert rmse(labels[of], scores[of], weights[of]) == pytest.approx(found.rmse)
    assert (None, None) == (found.auc, found.log_loss)


@pytest.mark.parametrize("task", [BINARY, REGRESSION])
def test_what_is_taken_out_leaves_no_trace(task) -> None:
    """Adding and taking out a second half leaves the first."""
    first, second = rows(3), rows(4)
    whole, half = Tally(task, 3), Tally(task, 3)
    half.add(*first)
    whole.add(*first)
    whole.add(*second)
    whole.add(*second, sign=-1)
    for group in range(3):
        expected, found = half.measures(group), whole.measures(group)
        for name in Measures.__struct_fields__:
            assert getattr(expected, name) == pytest.approx(getattr(found, name))
        assert half.rows[group] == whole.rows[group]


def test_a_cleared_group_has_nothing() -> None:
    """The others keep what they have; scaling changes no measure."""
    tally = Tally(BINARY, 3)
    tally.add(*rows(5))
    before = tally.measures(2)
    tally.clear(1)
    tally.scale(0.25)
    assert Measures() == tally.measures(1)
    assert before.auc == pytest.approx(tally.measures(2).auc)
    assert before.log_loss == pytest.approx(tally.measures(2).log_loss)
