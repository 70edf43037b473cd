"""The list of checks every learner passes, generated for each; run by test_learners.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """A kind of learner: how to start and restore it, its data, release and slow twin."""

    name: str
    start: Callable[[], Any]
    restore: Callable[[bytes], Any]
    vectors: NDArray[np.float32]
    labels: NDArray[np.int8]
    release_scores: NDArray[np.float64]
    slow_learn: Callable[[NDArray[np.float32], NDArray[np.int8]], list[float]]


def predicts_before_it_learns(case: Case) -> None:
    """A learner that has learned nothing gives one probability per row."""
    scores = case.start().predict_many(case.vectors)
    assert (len(case.vectors),) == scores.shape
    assert ((scores > 0) & (scores < 1)).all()


def starts_as_its_release(case: Case) -> None:
    """The first prediction is the release's own, to 1e-9."""
    learner = case.start()
    np.testing.assert_allclose(learner.predict_many(case.vectors), case.release_scores, atol=1e-9)
    np.testing.assert_allclose(learner.baseline_many(case.vectors), case.release_scores, atol=1e-9)


def moves_little_at_first(case: Case) -> None:
    """One example moves its own prediction by less than .02, towards its label."""
    for row in range(20):
        learner = case.start()
        vector, label = case.vectors[row : row + 1], case.labels[row : row + 1]
        before = learner.learn_many(vector, label)[0]
        move = learner.predict_many(vector)[0] - before
        assert 0 < move * (2 * label[0] - 1) < 0.02


def keeps_its_baseline(case: Case) -> None:
    """Learning changes what is predicted, not what the frozen release says."""
    learner = case.start()
    learner.learn_many(case.vectors, case.labels)
    scores, baselines = learner.predict_both(case.vectors)
    np.testing.assert_array_equal(learner.predict_many(case.vectors), scores)
    np.testing.assert_allclose(baselines, case.release_scores, atol=1e-9)
    assert np.abs(scores - baselines).max() > 1e-4


def predicting_changes_nothing(case: Case) -> None:
    """Predicting leaves the state as it was."""
    learner = case.start()
    before = learner.state()
    learner.predict_both(case.vectors)
    assert before == learner.state()


def leaves_inputs_alone(case: Case) -> None:
    """Neither vectors nor labels are written to, and read-only ones will do."""
    vectors, labels = case.vectors.copy(), case.labels.copy()
    vectors.flags.writeable = labels.flags.writeable = False
    case.start().learn_many(vectors, labels)
    np.testing.assert_array_equal(case.vectors, vectors)
    np.testing.assert_array_equal(case.labels, labels)


def round_trips_its_state(case: Case) -> None:
    """A restored learner has the same bytes and goes on exactly as the first would have."""
    learner = case.start()
    learner.learn_many(case.vectors[:100], case.labels[:100])
    restored = case.restore(learner.state())
    assert learner.state() == restored.state()
    learner.learn_many(case.vectors[100:], case.labels[100:])
    restored.learn_many(case.vectors[100:], case.labels[100:])
    assert learner.state() == restored.state()


def clones_apart(case: Case) -> None:
    """A clone starts equal and learns alone."""
    learner = case.start()
    learner.learn_many(case.vectors[:10], case.labels[:10])
    before, clone = learner.state(), learner.clone()
    assert before == clone.state()
    clone.learn_many(case.vectors, case.labels)
    assert before == learner.state()
    assert before != clone.state()


def batches_do_not_matter(case: Case) -> None:
    """Learning row by row, in batches or all at once ends in the same state."""
    whole, pieces = case.start(), case.start()
    scores = whole.learn_many(case.vectors, case.labels)
    cuts = [0, 1, 2, 50, 50, len(case.vectors)]
    parts = [
        pieces.learn_many(case.vectors[a:b], case.labels[a:b])
        for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    np.testing.assert_array_equal(scores, np.concatenate(parts))
    assert whole.state() == pieces.state()


def takes_missing_features(case: Case) -> None:
    """A vector in which everything is missing has a finite prediction and can be learned."""
    learner = case.start()
    vectors = np.full((3, case.vectors.shape[1]), np.nan, np.float32)
    scores = learner.learn_many(vectors, np.array([1, 0, 1]))
    assert np.isfinite(scores).all()
    assert np.isfinite(learner.predict_many(vectors)).all()


def takes_an_empty_batch(case: Case) -> None:
    """No rows give no scores and change nothing."""
    learner = case.start()
    before = learner.state()
    assert (0,) == learner.predict_many(case.vectors[:0]).shape
    assert (0,) == learner.learn_many(case.vectors[:0], case.labels[:0]).shape
    assert before == learner.state()


def refuses_other_labels(case: Case) -> None:
    """A label that is neither 0 nor 1 is refused and nothing is learned."""
    learner = case.start()
    before = learner.state()
    for labels in ([0, 2], [0.5, 1], [np.nan, 1], [1], [[0, 1]]):
        try:
            learner.learn_many(case.vectors[:2], np.array(labels))
        except ValueError as error:
            assert "allowed: 2 values of 0 or 1" in str(error)
        else:
            raise AssertionError(f"learned {labels}")
    assert before == learner.state()


def learns_like_its_slow_twin(case: Case) -> None:
    """The kernel's predict-then-learn scores equal a plain Python reference."""
    expected = case.slow_learn(case.vectors, case.labels)
    scores = case.start().learn_many(case.vectors, case.labels)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)


def gets_better(case: Case) -> None:
    """Seeing the same examples again and again lowers the log-loss on them."""
    learner = case.start()
    losses = []
    for _ in range(5):
        scores = learner.learn_many(case.vectors, case.labels)
        losses.append(-np.mean(np.log(np.where(case.labels == 1, scores, 1 - scores))))
    assert losses == sorted(losses, reverse=True)


CHECKS = (
    predicts_before_it_learns,
    starts_as_its_release,
    moves_little_at_first,
    keeps_its_baseline,
    predicting_changes_nothing,
    leaves_inputs_alone,
    round_trips_its_state,
    clones_apart,
    batches_do_not_matter,
    takes_missing_features,
    takes_an_empty_batch,
    refuses_other_labels,
    learns_like_its_slow_twin,
    gets_better,
)
