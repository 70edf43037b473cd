"""What is said of probabilities is right where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from batch.gate.calibration import calibration_of, contributions
from learners.quality import calibration_error

RNG = np.random.default_rng(5)
TRUE = 1 / (1 + np.exp(-RNG.normal(0, 1.5, 20_000)))
LABELS = (RNG.random(20_000) < TRUE).astype(np.float64)
ONES = np.ones(20_000)


def moved(slope: float, shift: float) -> np.ndarray:
    """The true probabilities with their log-odds stretched and moved."""
    return 1 / (1 + np.exp(-(slope * np.log(TRUE / (1 - TRUE)) + shift)))


def test_a_calibrated_model() -> None:
    """Slope 1, intercept 0, an error as large as noise makes it."""
    found = calibration_of(LABELS, TRUE, ONES)
    assert found.error == pytest.approx(found.by_noise, abs=0.004)
    assert (1.0, 0.0) == (
        pytest.approx(found.slope, abs=0.05), pytest.approx(found.intercept, abs=0.05)
    )  # fmt: skip
    assert abs(found.z) < 3


def test_one_that_is_too_sure() -> None:
    """Its log-odds want to be halved."""
    found = calibration_of(LABELS, moved(2, 0), ONES)
    assert 0.5 == pytest.approx(found.slope, abs=0.03)
    assert found.error > 0.05 > 5 * found.by_noise
    assert abs(found.z) > 10


def test_one_that_says_too_much() -> None:
    """It is the mean that is off, not the spread."""
    found = calibration_of(LABELS, moved(1, 0.7), ONES)
    assert found.in_the_large > 0.08
    assert (1.0, -0.7) == (
        pytest.approx(found.slope, abs=0.05), pytest.approx(found.intercept, abs=0.06)
    )  # fmt: skip


def test_it_is_the_error_that_quality_shows() -> None:
    """Apart from where groups begin: rows of all but equal scores stay together here."""
    scores = moved(2, 0.2)
    expected = calibration_error(LABELS, scores)
    assert calibration_of(LABELS, scores, ONES).error == pytest.approx(expected, abs=0.005)
    assert contributions(LABELS, scores, ONES).mean() == pytest.approx(expected, abs=0.005)


def test_the_same_score_for_all() -> None:
    """One group, however the rows lie; there is no slope to fit."""
    scores = np.full(20_000, 0.3)
    found = calibration_of(LABELS, scores, ONES)
    assert found.error == pytest.approx(abs(0.3 - LABELS.mean()))
    assert (None, None) == (found.slope, found.intercept)


def test_scores_that_are_certain() -> None:
    """Zeros and ones are probabilities too."""
    found = calibration_of(LABELS, LABELS, ONES)
    assert (0.0, 0.0, None) == (found.error, found.by_noise, found.z)
