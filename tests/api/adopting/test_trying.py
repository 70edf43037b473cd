"""A model is tried out before it answers: what it says and how long it takes."""

import numpy as np
import pytest

from api.adopting.trying import check_speed, try_out
from tidemill.errors import ArtifactError
from tidemill.tasks import BINARY, REGRESSION

ROWS = np.zeros((5, 3), np.float32)


class Saying:
    """A head that says this of every row."""

    def __init__(self, score: float) -> None:
        self.score = score

    def predict_both(self, vectors):
        """The same for all."""
        scores = np.full(len(vectors), self.score)
        return scores, scores


class Short:
    """A head that leaves a row out."""

    def predict_both(self, vectors):
        """One too few."""
        return np.zeros(len(vectors) - 1), np.zeros(len(vectors) - 1)


@pytest.mark.parametrize("score", [np.nan, np.inf, -0.1, 1.1])
def test_what_is_no_probability_is_refused(score):
    """Of a yes or no; the found values are named."""
    with pytest.raises(ArtifactError, match=r"scores: found .*; allowed: from 0 to 1"):
        try_out(Saying(score), ROWS, BINARY)


def test_a_number_may_be_any_finite_one():
    """Of a label that is one."""
    try_out(Saying(-1e9), ROWS, REGRESSION)
    with pytest.raises(ArtifactError, match="finite"):
        try_out(Saying(np.nan), ROWS, REGRESSION)


def test_a_score_for_each_row_is_needed():
    """One too few is refused."""
    with pytest.raises(ArtifactError, match=r"found \(4,\); allowed: \(5,\)"):
        try_out(Short(), ROWS, BINARY)


class Timed:
    """A head whose predictions take what a list says, on a clock of their own."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds, self.now = seconds, 0.0

    def predict_both(self, vectors):
        """Takes the next time."""
        self.now += self.seconds.pop(0)
        return np.zeros(len(vectors)), np.zeros(len(vectors))


def test_the_shortest_of_several_times_counts():
    """A thread that had to wait for others does not make a model slow."""
    head = Timed([1e-3, 9e-6, 1e-3] * 5)
    check_speed(head, ROWS, 10.0, lambda: head.now)


def test_a_slow_model_is_refused_with_both_numbers():
    """The median over the recorded requests decides."""
    head = Timed([5e-6] * 6 + [20e-6] * 9)
    with pytest.raises(ArtifactError, match=r"found 20\.0 µs; allowed: at most 10"):
        check_speed(head, ROWS, 10.0, lambda: head.now)


def test_a_very_slow_model_is_not_asked_for_long():
    """After a second enough is known."""
    head = Timed([0.5] * 3)
    with pytest.raises(ArtifactError, match=r"found 500000\.0 µs"):
        check_speed(head, ROWS, 10.0, lambda: head.now)
