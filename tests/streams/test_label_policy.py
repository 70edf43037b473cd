"""What labels come to: sums in bounded space, and weights that keep learning unbiased."""

from __future__ import annotations

import numpy as np
import pytest

from streams.label_policy import Gathered, LateShare, corrected, importance, keeps_negative

LAST, SUM, MAX, MEAN = "last", "sum", "max", "mean"


def one(value: float, time: int, producer: str = "") -> Gathered:
    """One label."""
    return Gathered(1, value, value, value, time, 10 * time, producer)


def test_gathered_labels_come_to_what_is_declared() -> None:
    """The newest by its own time is the last, and gives time, stamp and producer."""
    all_of_them = one(2, 5, "a").plus(one(-4, 9, "b")).plus(one(3, 7, "c"))
    found = [all_of_them.value(several) for several in (LAST, SUM, MAX, MEAN)]
    assert [-4, 1, 3, 1 / 3] == found
    assert (9, 90, "b") == (all_of_them.time, all_of_them.produced_ms, all_of_them.producer)


def test_a_correction_joins_the_labels_before_it() -> None:
    """Where the first label counts, a later one replaces it."""
    before, label = one(2, 5), one(3, 4)
    found = {s: corrected(s, before, label).value(s) for s in ("first", LAST, SUM, MAX, MEAN)}
    assert {"first": 3, LAST: 2, SUM: 5, MAX: 3, MEAN: 2.5} == found
    assert label == corrected(SUM, None, label)


def test_the_late_share_follows_the_stream() -> None:
    """It begins at nothing, finds the share, and forgets what was long ago."""
    late, draw = LateShare(), np.random.default_rng(1)
    assert 0 == late.share
    for expected in (0.3, 0.8, 0.0):
        for each in draw.random(60_000) < expected:
            late.add(late=bool(each))
        assert abs(late.share - expected) < 0.02


def test_the_late_share_is_exact_in_whole_numbers() -> None:
    """What the fence holds is all there is: going on from it changes nothing."""
    straight, resumed = LateShare(), LateShare()
    for number in range(1000):
        straight.add(late=number % 3 == 0)
        resumed = LateShare(resumed.positives, resumed.late)
        resumed.add(late=number % 3 == 0)
    assert straight == resumed


@pytest.mark.parametrize("score", [0.0, 0.1, 0.5, 0.9])
def test_where_every_positive_is_late_it_is_the_papers(score: float) -> None:
    """Ktena et al.: positives weigh 1 + p, negatives (1 - p)(1 + p)."""
    assert 1 + score == importance(score, 1.0, "label")
    assert 1 + score == importance(score, 1.0, "correction")
    assert (1 - score) * (1 + score) == pytest.approx(importance(score, 1.0, "missing"))


@pytest.mark.parametrize("score", [-1.0, 0.0, 1.0, 2.0, float("nan"), float("inf")])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["label", "missing", "correction"])
def test_weights_are_finite_for_any_score(score: float, share: float, kind: str) -> None:
    """A score that is no probability is taken for the nearest, or for none."""
    assert 0 <= importance(score, share, kind) <= 2


@pytest.mark.parametrize("late_share", [0.0, 0.2, 0.6, 1.0])
def test_fake_negatives_leave_the_gradient_as_it_is(late_share: float) -> None:
    """Over the examples of a stream, the weighted gradient is that of the true labels.

    Brute force: for each of several probabilities many predictions; a positive whose label is late
    shows as a missing label first.
    """
    draw, rows, guess = np.random.default_rng(3), 200_000, 0.4
    for probability in (0.05, 0.3, 0.7):
        positive = draw.random(rows) < probability
        late = positive & (draw.random(rows) < late_share)
        true = np.mean(guess - positive)
        weights = {k: importance(probability, late_share, k) for k in ("label", "missing")}
        positives, missing = positive.sum(), (~positive | late).sum()
        gradient = weights["label"] * positives * (guess - 1) + weights["missing"] * missing * guess
        assert true == pytest.approx(gradient / (positives + missing), abs=0.005)
        unweighted = (positives * (guess - 1) + missing * guess) / (positives + missing)
        if late_share and probability > 0.05:
            assert abs(unweighted - true) > 0.01


def test_the_same_negatives_are_always_kept() -> None:
    """A share of them, those of a smaller share among those of a larger."""
    ids = [f"{number:032x}" for number in range(20_000)]
    kept = {share: {i for i in ids if keeps_negative(i, share)} for share in (0.05, 0.1, 0.5, 1.0)}
    for share, some in kept.items():
        assert abs(len(some) / len(ids) - share) < 0.01
    assert kept[0.05] <= kept[0.1] <= kept[0.5] <= kept[1.0] == set(ids)


def test_log_odds_learned_from_few_negatives_are_those_of_all() -> None:
    """A logistic regression on one negative in ten, weighing ten, finds the same line."""
    draw, rows = np.random.default_rng(5), 60_000
    inputs = np.stack([np.ones(rows), draw.normal(size=rows)], axis=1)
    labels = (draw.random(rows) < 1 / (1 + np.exp(-(inputs @ [-2.0, 1.0])))).astype(float)
    kept = (labels == 1) | [keeps_negative(str(row), 0.1) for row in range(rows)]
    weights = np.where(labels == 1, 1.0, 10.0)
    whole = logistic(inputs, labels, np.ones(rows))
    np.testing.assert_allclose(logistic(inputs[kept], labels[kept], weights[kept]), whole, atol=0.1)
    biased = logistic(inputs[kept], labels[kept], np.ones(kept.sum()))
    assert biased[0] - whole[0] > 2  # log(10) is 2.3


def logistic(inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Newton's method."""
    found = np.zeros(inputs.shape[1])
    for _ in range(25):
        scores = 1 / (1 + np.exp(-(inputs @ found)))
        slope = inputs.T @ (weights * (scores - labels))
        curve = (inputs * (weights * scores * (1 - scores))[:, None]).T @ inputs
        found -= np.linalg.solve(curve, slope)
    return found
