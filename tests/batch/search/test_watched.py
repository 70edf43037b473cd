"""A training is ended when more of it brings nothing, and its best step is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batch.search.watched import Watched
from batch.trainers.trainer import TrainingRows
from tidemill.errors import TrainingFailed
from tidemill.tasks import BINARY, REGRESSION

ROWS = TrainingRows(np.zeros((4, 1), np.float32), np.zeros(4), np.array([1.0, 1, 1, 5]))


def steps_until_ended(watch: Watched, losses: list[float]) -> int:
    """Shows scores of these squared errors; returns how many were looked at."""
    for step, loss in enumerate(losses, 1):
        if watch.seen(step, np.full(4, math.sqrt(loss))):
            return step
    return len(losses)


def test_the_best_step_is_kept() -> None:
    """Steps after it cost patience and change nothing."""
    watch = Watched(ROWS, REGRESSION)
    assert 25 == steps_until_ended(watch, [1.0 - 0.05 * step for step in range(10)] + [1.0] * 90)
    assert (10, 25) == (watch.step, watch.seen_steps)
    assert pytest.approx(0.55) == watch.loss
    assert "" == watch.ended


def test_patience_grows_with_the_best_step() -> None:
    """Two fifths of it, so that low rates get their time."""
    watch = Watched(ROWS, REGRESSION)
    assert 280 == steps_until_ended(watch, [1 / (1 + step) for step in range(200)] + [1.0] * 500)


def test_what_cannot_reach_the_best_is_given_up() -> None:
    """A loss that falls ever more slowly will not fall by more than it did."""
    falling = [0.5 + 0.4 / step for step in range(1, 500)]
    watch = Watched(ROWS, REGRESSION, to_beat=0.3)
    assert 30 == steps_until_ended(watch, falling)
    assert "cannot reach the best" == watch.ended
    assert 499 == steps_until_ended(Watched(ROWS, REGRESSION, to_beat=0.5), falling)


def test_time_ends_a_training() -> None:
    """Between two steps."""
    watch = Watched(ROWS, REGRESSION, over=lambda: True)
    assert 1 == steps_until_ended(watch, [0.5, 0.4])
    assert "out of time" == watch.ended


def test_a_loss_that_is_no_number_fails() -> None:
    """The message names the step."""
    with pytest.raises(TrainingFailed, match="loss after step 2: found nan; allowed: a number"):
        steps_until_ended(Watched(ROWS, REGRESSION), [0.5, math.nan])


def test_rows_count_by_their_weights() -> None:
    """The loss is the gate's: of probabilities the log-loss, weighted."""
    watch = Watched(ROWS, BINARY)
    watch.seen(1, np.array([0.5, 0.5, 0.5, 0.1]))
    assert pytest.approx((3 * math.log(2) - 5 * math.log(0.9)) / 8) == watch.loss
