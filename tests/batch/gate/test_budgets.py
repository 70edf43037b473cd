"""Costs are measured by the stopwatch that is given."""

from __future__ import annotations

import numpy as np

from batch.gate.budgets import BATCH_ROWS, SINGLES, measure


class Told:
    """A learner and its stopwatch: a row takes a microsecond, a call ten, a hiccup now and then."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, 0

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def predict_many(self, vectors: np.ndarray) -> np.ndarray:
        """Takes its time; one call in the first round takes a whole second."""
        self.calls += 1
        self.now += (10 + len(vectors)) * 1e-6 + (self.calls == 50)
        return np.zeros(len(vectors))


def test_what_an_answer_costs() -> None:
    """The median, the slow ones, a row of many; what the machine did in one round is left out."""
    told = Told()
    costs = measure(told, np.zeros((7, 3), np.float32), 1234, told)
    assert 11.0 == round(costs.single_p50_us, 6) == round(costs.single_p99_us, 6)
    assert (10 + BATCH_ROWS) / BATCH_ROWS == round(costs.batch_row_us, 9)
    assert 1234 == costs.size_bytes
    assert told.calls > SINGLES
