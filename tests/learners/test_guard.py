"""The guard trips on what its limits name, at the same example however the stream is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from learners.guard import Guard, Trip
from tidemill.breaker import Breaker
from tidemill.errors import ArtifactError
from tidemill.tasks import BINARY, REGRESSION, Task

WINDOW = 400


def traffic(windows: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Calibrated scores and their labels."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(2, 6, windows * WINDOW)
    return (rng.random(len(scores)) < scores).astype(float), scores


@dataclass(frozen=True)
class Stream:
    """What a guard is shown: labels, scores, who sent each label, the norm after each window."""

    labels: NDArray[np.float64]
    scores: NDArray[np.float64]
    producers: Sequence[str] = ()
    norms: Sequence[float] = ()

    def run(
        self, limits: Breaker | None = None, task: Task = BINARY, cut: int = 97
    ) -> tuple[int, Trip] | None:
        """Feed a guard in calls of `cut` examples; the window that trips it and why."""
        guard = Guard(limits or Breaker(window=WINDOW), task)
        labels, scores = self.labels, self.scores
        producers = self.producers or [""] * len(labels)
        at = 0
        while at < len(labels):
            end = min(at + min(cut, guard.room), len(labels))
            guard.add(labels[at:end], scores[at:end], scores[at:end], producers[at:end])
            at, window = end, end // WINDOW
            if at % WINDOW == 0:
                trip = guard.judge(self.norms[window - 1] if self.norms else window * 0.01)
                if trip is not None:
                    return window, trip
            guard.restore(guard.encode())
        return None


def test_ordinary_traffic_passes() -> None:
    """A hundred windows of calibrated scores from three producers trip nothing."""
    labels, scores = traffic(100)
    assert Stream(labels, scores, [f"p{n % 3}" for n in range(len(labels))]).run() is None


@pytest.mark.parametrize("cut", [1, 7, 400, 10_000])
def test_a_producer_that_flips_its_labels_is_named(cut: int) -> None:
    """Thirty per cent of the traffic turns its labels round after ten windows."""
    labels, scores = traffic(20)
    producers = ["bad" if n % 10 < 3 else "good" for n in range(len(labels))]
    bad = np.array([who == "bad" for who in producers]) & (np.arange(len(labels)) >= 10 * WINDOW)
    found = Stream(np.where(bad, 1 - labels, labels), scores, producers).run(cut=cut)
    assert found is not None
    assert (11, "producer_loss", "bad") == (found[0], found[1].reason, found[1].producer)


def test_a_learner_alone_is_judged_by_what_it_does() -> None:
    """Not by labels and producers, however bad; a norm that leaps trips it."""
    labels, scores = traffic(20)
    limits = Breaker(window=WINDOW, producer_share=0.1).of_learner()
    assert Stream(1 - labels, scores, ["bad"] * len(labels)).run(limits) is None
    norms = [*(0.01 * window for window in range(1, 20)), 50.0]
    found = Stream(labels, scores, norms=norms).run(limits)
    assert found is not None
    assert (20, "update_norm") == (found[0], found[1].reason)


def test_an_unnamed_producer_is_nobody() -> None:
    """Labels without a producer are compared with nobody's and have no share."""
    labels, scores = traffic(10)
    limits = Breaker(window=WINDOW, producer_share=0.5)
    assert Stream(labels, scores).run(limits) is None


def test_a_producer_with_too_large_a_share_trips() -> None:
    """More of a window than is allowed comes from one producer."""
    labels, scores = traffic(10)
    producers = ["big" if n % 10 < 6 or n < 4 * WINDOW and n % 2 else "x" for n in range(4000)]
    found = Stream(labels, scores, producers).run(Breaker(window=WINDOW, producer_share=0.65))
    assert found is not None
    assert (1, "producer_share", "big") == (found[0], found[1].reason, found[1].producer)


def test_labels_far_from_usual_trip() -> None:
    """When nearly every label is 1 where a quarter used to be."""
    labels, scores = traffic(20)
    labels[10 * WINDOW :] = 1
    found = Stream(labels, np.where(np.arange(len(labels)) < 10 * WINDOW, scores, 0.9)).run()
    assert found is not None
    assert (11, "label_shift") == (found[0], found[1].reason)


def test_scores_far_from_their_labels_trip() -> None:
    """When what was answered has nothing to do with the labels any more."""
    labels, scores = traffic(20)
    scores[10 * WINDOW :] = 0.95
    found = Stream(labels, scores).run()
    assert found is not None
    assert (11, "calibration") == (found[0], found[1].reason)


def test_weights_that_jump_trip() -> None:
    """Twenty times the usual way in one window is too much."""
    labels, scores = traffic(10)
    norms = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 5.0, 5.1, 5.2]
    found = Stream(labels, scores, norms=norms).run()
    assert found is not None
    assert (8, "update_norm") == (found[0], found[1].reason)


def test_weights_that_are_no_number_trip_at_once() -> None:
    """Nothing has to be usual for that."""
    labels, scores = traffic(3)
    found = Stream(labels, scores, norms=[0.1, float("nan"), 0.1]).run()
    assert found is not None
    assert (2, "not_finite") == (found[0], found[1].reason)


def test_values_are_measured_in_their_own_spread() -> None:
    """A regression's labels may be thousands: a shift counts in standard deviations."""
    rng = np.random.default_rng(1)
    scores = rng.normal(5_000, 300, 20 * WINDOW)
    labels = scores + rng.normal(0, 100, len(scores))
    assert Stream(labels, scores).run(task=REGRESSION) is None
    labels[10 * WINDOW :] += 400
    found = Stream(labels, scores).run(task=REGRESSION)
    assert found is not None
    assert (11, "label_shift") == (found[0], found[1].reason)


def test_a_trip_says_what_was_found_and_allowed() -> None:
    """Its text is what an operator reads at night."""
    trip = Trip("producer_share", "300 of 400 examples", "at most 50%", "big")
    expected = "producer_share (producer big): found 300 of 400 examples; allowed: at most 50%"
    assert expected == str(trip)


def test_a_damaged_state_is_refused() -> None:
    """Bytes that are no state are an ArtifactError."""
    with pytest.raises(ArtifactError, match="guard state"):
        Guard(Breaker(), BINARY).restore(b"?")
