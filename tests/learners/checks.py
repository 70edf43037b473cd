"""The list of checks every learner passes, generated for each case; run by test_learners.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import ArtifactError
from tidemill.tasks import BINARY, Task


@dataclass(frozen=True)
class Case:
    """A kind of learner: how to start and restore it, its data, its release and its slow twin.

    `release` says what the frozen release predicts for vectors. `slow_learn` is a plain reference:
    what it predicts before learning each row. `largest_move` bounds what one example does to its
    own prediction. `exact_start` is how near the first prediction comes to the release's.
    """

    name: str
    start: Callable[[], Any]
    restore: Callable[[bytes], Any]
    vectors: NDArray[np.float32]
    labels: NDArray[Any]
    release: Callable[[NDArray[np.float32]], NDArray[np.float64]]
    slow_learn: Callable[[NDArray[np.float32], NDArray[Any]], Any]
    task: Task = BINARY
    largest_move: float = 0.02
    exact_start: float = 1e-9
    slow_exact: float = 1e-12
    learns_at_once: bool = True  # False: an example may wait for others before it is learned

    def loss(self, scores: NDArray[np.float64]) -> float:
        """The mean loss of predictions for the case's labels."""
        if self.task.kind == "regression":
            return float(np.mean((scores - self.labels) ** 2))
        if self.task.kind == "binary":
            scores = np.stack([1 - scores, scores], axis=1)
        right = scores[np.arange(len(scores)), self.labels.astype(int)]
        return float(-np.mean(np.log(np.maximum(right, 1e-15))))

    def shape(self, rows: int) -> tuple[int, ...]:
        """The shape of predictions for so many rows."""
        return (rows, self.task.classes) if self.task.kind == "multiclass" else (rows,)


def predicts_before_it_learns(case: Case) -> None:
    """A learner that has learned nothing predicts something finite for every row."""
    scores = case.start().predict_many(case.vectors)
    assert case.shape(len(case.vectors)) == scores.shape
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    if case.task.kind != "regression":
        assert ((scores > 0) & (scores < 1)).all()
    if case.task.kind == "multiclass":
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-9)


def has_the_task_of_its_release(case: Case) -> None:
    """It predicts what its release predicts."""
    assert case.task == case.start().task


def starts_as_its_release(case: Case) -> None:
    """The first prediction is the release's own."""
    learner, expected = case.start(), case.release(case.vectors)
    np.testing.assert_allclose(learner.predict_many(case.vectors), expected, atol=case.exact_start)
    scores, baselines = learner.predict_both(case.vectors)
    np.testing.assert_allclose(scores, expected, atol=case.exact_start)
    np.testing.assert_allclose(baselines, expected, atol=case.exact_start)


def moves_little_at_first(case: Case) -> None:
    """One example moves its own prediction by less than the case's bound, towards its label."""
    for row in range(20):
        learner = case.start()
        vector, label = case.vectors[row : row + 1], case.labels[row : row + 1]
        before = learner.learn_many(vector, label)[0]
        moved = learner.predict_many(vector)[0] - before
        assert np.abs(moved).max() < case.largest_move
        if case.task.kind == "multiclass":
            moved, towards = moved[int(label[0])], 1
        else:
            towards = np.sign(label[0] - before)
        assert moved * towards > 0 or not case.learns_at_once


def keeps_its_baseline(case: Case) -> None:
    """Learning changes what is predicted, not what the frozen release says."""
    learner = case.start()
    learner.learn_many(case.vectors, case.labels)
    scores, baselines = learner.predict_both(case.vectors)
    np.testing.assert_array_equal(learner.predict_many(case.vectors), scores)
    np.testing.assert_allclose(baselines, case.release(case.vectors), atol=case.exact_start)
    assert np.abs(scores - baselines).max() > 1e-4
    assert learner.update_norm() > 0 == case.start().update_norm()


def predicting_changes_nothing(case: Case) -> None:
    """Predicting leaves the state as it was, and the next prediction too."""
    learner = case.start()
    learner.learn_many(case.vectors[:30], case.labels[:30])
    before = learner.snapshot()
    first = learner.predict_many(case.vectors)
    learner.predict_both(case.vectors)
    np.testing.assert_array_equal(first, learner.predict_many(case.vectors))
    assert before == learner.snapshot()


def leaves_inputs_alone(case: Case) -> None:
    """Vectors, labels and weights are not written to, and read-only ones will do."""
    vectors, labels = case.vectors.copy(), case.labels.copy()
    weights = np.ones(len(labels))
    for array in (vectors, labels, weights):
        array.flags.writeable = False
    case.start().learn_many(vectors, labels, weights)
    np.testing.assert_array_equal(case.vectors, vectors)
    np.testing.assert_array_equal(case.labels, labels)


def round_trips_its_state(case: Case) -> None:
    """A restored learner has the same bytes and goes on exactly as the first would have."""
    learner = case.start()
    learner.learn_many(case.vectors[:100], case.labels[:100])
    restored = case.restore(learner.snapshot())
    assert learner.snapshot() == restored.snapshot()
    np.testing.assert_array_equal(
        learner.predict_many(case.vectors), restored.predict_many(case.vectors)
    )
    learner.learn_many(case.vectors[100:], case.labels[100:])
    restored.learn_many(case.vectors[100:], case.labels[100:])
    assert learner.snapshot() == restored.snapshot()
    assert learner.update_norm() == restored.update_norm()


def refuses_a_damaged_state(case: Case) -> None:
    """Bytes that are cut off, or are no state at all, are an ArtifactError."""
    learner = case.start()
    learner.learn_many(case.vectors[:100], case.labels[:100])
    state = learner.snapshot()
    for damaged in (b"", b"not a state", state[:-1], state[: len(state) // 2]):
        try:
            case.restore(damaged)
        except ArtifactError:
            continue
        raise AssertionError(f"restored {damaged[:20]!r}…")


def clones_apart(case: Case) -> None:
    """A clone starts equal and learns alone."""
    learner = case.start()
    learner.learn_many(case.vectors[:10], case.labels[:10])
    before, clone = learner.snapshot(), learner.clone()
    assert before == clone.snapshot()
    clone.learn_many(case.vectors, case.labels)
    assert before == learner.snapshot()
    assert before != clone.snapshot()


def batches_do_not_matter(case: Case) -> None:
    """Learning row by row, in batches or all at once ends in the same state."""
    whole, pieces = case.start(), case.start()
    scores = whole.learn_many(case.vectors, case.labels)
    cuts = [0, 1, 2, 50, 50, 113, 300, len(case.vectors)]
    parts = []
    for a, b in zip(cuts, cuts[1:], strict=False):
        parts.append(pieces.learn_many(case.vectors[a:b], case.labels[a:b]))
        pieces.predict_many(case.vectors[:7])
    np.testing.assert_array_equal(scores, np.concatenate(parts))
    assert whole.snapshot() == pieces.snapshot()


def takes_missing_features(case: Case) -> None:
    """A vector in which everything is missing has a finite prediction and can be learned."""
    learner = case.start()
    vectors = np.full((3, case.vectors.shape[1]), np.nan, np.float32)
    scores = learner.learn_many(vectors, case.labels[:3])
    assert np.isfinite(scores).all()
    assert np.isfinite(learner.predict_many(vectors)).all()


def takes_extreme_features(case: Case) -> None:
    """Infinite and huge values, and categories never seen, leave every prediction finite."""
    learner = case.start()
    vectors = case.vectors[:40].copy()
    vectors[::4] = np.inf
    vectors[1::4] = -3e38
    vectors[2::4] = 16_000_000
    learner.learn_many(vectors, case.labels[:40])
    assert np.isfinite(learner.predict_many(vectors)).all()
    assert np.isfinite(learner.predict_many(case.vectors)).all()


def a_feature_may_appear(case: Case) -> None:
    """A column that was missing until now is learned from when it comes."""
    learner, hidden = case.start(), case.vectors.copy()
    hidden[:, 1] = np.nan
    learner.learn_many(hidden, case.labels)
    scores = learner.learn_many(case.vectors, case.labels)
    assert np.isfinite(scores).all()


def a_feature_may_disappear(case: Case) -> None:
    """A column that is missing from now on leaves predictions finite, and learning goes on."""
    learner, hidden = case.start(), case.vectors.copy()
    hidden[:, 1] = np.nan
    learner.learn_many(case.vectors, case.labels)
    before = learner.snapshot()
    assert np.isfinite(learner.learn_many(hidden, case.labels)).all()
    assert before != learner.snapshot()


def takes_an_empty_batch(case: Case) -> None:
    """No rows give no scores and change nothing."""
    learner = case.start()
    before = learner.snapshot()
    assert case.shape(0) == learner.predict_many(case.vectors[:0]).shape
    assert case.shape(0) == learner.learn_many(case.vectors[:0], case.labels[:0]).shape
    assert before == learner.snapshot()


def refuses_other_labels(case: Case) -> None:
    """A label that the task does not have is refused and nothing is learned."""
    learner = case.start()
    before = learner.snapshot()
    bad: list[Any] = [[np.nan, 1], [np.inf, 1], [1], [[0, 1]]]
    if case.task.kind != "regression":
        bad += [[0, max(2, case.task.classes)], [0.5, 1], [-1, 0]]
    for labels in bad:
        _refused(learner, case.vectors[:2], np.array(labels), None, "labels: found .*allowed: 2 ")
    assert before == learner.snapshot()


def refuses_bad_weights(case: Case) -> None:
    """A weight below zero or without a value is refused and nothing is learned."""
    learner = case.start()
    before = learner.snapshot()
    for weights in ([-1, 1], [np.nan, 1], [np.inf, 1], [1]):
        found = np.array(weights, float)
        _refused(learner, case.vectors[:2], case.labels[:2], found, "weights: found .*allowed: 2 ")
    assert before == learner.snapshot()


def weights_count(case: Case) -> None:
    """Heavier examples move more: weights of 3 end elsewhere than weights of 1, weights 1 as none.

    With weights of 0 nothing moves.
    """
    learners = {}
    for weight in (None, 0.0, 1.0, 3.0):
        learner = case.start()
        weights = None if weight is None else np.full(len(case.labels), weight)
        learner.learn_many(case.vectors, case.labels, weights)
        learners[weight] = learner.predict_many(case.vectors)
    np.testing.assert_array_equal(learners[None], learners[1.0])
    np.testing.assert_allclose(learners[0.0], case.release(case.vectors), atol=case.exact_start)
    assert np.abs(learners[3.0] - learners[1.0]).max() > 1e-5


def learns_like_its_slow_twin(case: Case) -> None:
    """The kernel's predict-then-learn scores equal a plain reference."""
    expected = case.slow_learn(case.vectors, case.labels)
    scores = case.start().learn_many(case.vectors, case.labels)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=case.slow_exact)


def gets_better(case: Case) -> None:
    """Seeing the same examples again and again lowers the loss on them."""
    learner = case.start()
    losses = [case.loss(learner.learn_many(case.vectors, case.labels)) for _ in range(5)]
    assert losses == sorted(losses, reverse=True)


def publishes_what_it_touched(case: Case) -> None:
    """Where changes are claimed: a copy brought up by them has the state of the original."""
    learner = case.start()
    if not hasattr(learner, "changes"):
        return
    learner.learn_many(case.vectors[:100], case.labels[:100])
    learner.changes()
    copy = case.restore(learner.snapshot())
    for start in range(100, len(case.vectors), 70):
        rows = slice(start, start + 70)
        learner.learn_many(case.vectors[rows], case.labels[rows])
        copy.apply(learner.changes())
        np.testing.assert_array_equal(
            learner.predict_many(case.vectors), copy.predict_many(case.vectors)
        )
    assert learner.snapshot() == copy.snapshot()


def merges(case: Case) -> None:
    """Where merging is claimed: two halves learned apart, merged, are better than the start."""
    learner = case.start()
    if not hasattr(learner, "merge"):
        return
    other, half = learner.clone(), len(case.vectors) // 2
    before = case.loss(learner.predict_many(case.vectors))
    learner.learn_many(case.vectors[:half], case.labels[:half])
    other.learn_many(case.vectors[half:], case.labels[half:])
    learner.merge([other])
    assert case.loss(learner.predict_many(case.vectors)) < before
    learner.learn_many(case.vectors, case.labels)


def _refused(learner: Any, vectors: Any, labels: Any, weights: Any, expected: str) -> None:
    try:
        learner.learn_many(vectors, labels, weights)
    except ValueError as error:
        assert re.search(expected, str(error), re.DOTALL), str(error)
    else:
        raise AssertionError(f"learned labels {labels} with weights {weights}")


CHECKS = (
    predicts_before_it_learns,
    has_the_task_of_its_release,
    starts_as_its_release,
    moves_little_at_first,
    keeps_its_baseline,
    predicting_changes_nothing,
    leaves_inputs_alone,
    round_trips_its_state,
    refuses_a_damaged_state,
    clones_apart,
    batches_do_not_matter,
    takes_missing_features,
    takes_extreme_features,
    a_feature_may_appear,
    a_feature_may_disappear,
    takes_an_empty_batch,
    refuses_other_labels,
    refuses_bad_weights,
    weights_count,
    learns_like_its_slow_twin,
    gets_better,
    publishes_what_it_touched,
    merges,
)
