"""Starting warm, going on under other settings, sharing and merging what was learned."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from case_linear import CLASSES, SCHEMA, labels_of, linear_of, linear_release
from releases import release, synthetic

from learners.linear.kernels import N, Z
from learners.linear.learner import LinearLearner
from learners.quality import log_loss
from learners.trees import FrozenTrees
from tidemill.errors import ArtifactError
from tidemill.learner_kinds import Linear
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY

NUMBERED, HASHED = Linear(hash_bits=None), Linear(hash_bits=6)  # 100 categories meet in 64 slots


def started(settings: Linear = NUMBERED) -> LinearLearner:
    """A learner from a linear release."""
    return LinearLearner.warm_start(linear_release(BINARY, settings), settings, SCHEMA)


def naive() -> LinearLearner:
    """The release's weights, and an optimizer that has seen nothing."""
    learner = started()
    learner.table.rows[:, [Z, N]] = 0
    return learner


def cold() -> LinearLearner:
    """No release."""
    return LinearLearner.cold(NUMBERED, SCHEMA, BINARY)


def first_loss(make: Callable[[], LinearLearner], events: int = 500) -> float:
    """Log-loss on the first events, each predicted before it is learned."""
    vectors, labels = synthetic(events, seed=2)
    return log_loss(labels, make().learn_many(vectors, labels)) or 0.0


def first_step(make: Callable[[], LinearLearner]) -> float:
    """How far one event moves the weights."""
    learner = make()
    learner.learn_many(*synthetic(1, seed=2))
    return learner.update_norm()


def test_primed_keeps_what_naive_forgets() -> None:
    """Primed is as good as its release on the first events; naive falls back towards cold."""
    vectors, labels = synthetic(500, seed=2)
    frozen = log_loss(labels, linear_release(BINARY, NUMBERED).predict_many(vectors)) or 0.0
    assert first_loss(started) < frozen + 0.002
    assert frozen + 0.02 < first_loss(naive) < first_loss(cold)


def test_one_event_moves_primed_least() -> None:
    """Naive predicts like the release once, and loses the weights of the first row's slots."""
    vectors, _ = synthetic(10, seed=2)
    expected = started().predict_many(vectors)
    np.testing.assert_allclose(naive().predict_many(vectors), expected, atol=1e-9)
    assert first_step(started) < 0.02 < 0.5 < first_step(naive)


def test_slots_that_categories_share_survive_a_restore() -> None:
    """Hashed into too few slots, a restored learner still has the same bytes and scores."""
    learner, (vectors, labels) = started(HASHED), synthetic(500, seed=2)
    learner.learn_many(vectors[:300], labels[:300])
    frozen = linear_release(BINARY, HASHED)
    restored = LinearLearner.restore(frozen, HASHED, SCHEMA, learner.snapshot())
    scores = [one.learn_many(vectors[300:], labels[300:]) for one in (learner, restored)]
    np.testing.assert_array_equal(*scores)
    assert learner.snapshot() == restored.snapshot()


def test_a_snapshot_holds_what_was_touched() -> None:
    """A few rows learned in 2^18 slots are a few hundred bytes."""
    learner = LinearLearner.cold(Linear(), SCHEMA, BINARY)
    learner.learn_many(*synthetic(3, seed=2))
    assert len(learner.snapshot()) < 1000


@pytest.mark.parametrize(
    "other",
    [
        Linear(hash_bits=None, learning_rate=0.5),
        Linear(hash_bits=None, l1=0.01, l2=3.0),
        Linear(hash_bits=None, optimizer="adagrad", beta=0.0),
    ],
)
def test_other_settings_go_on_from_the_same_weights(other: Linear) -> None:
    """What was learned under one rate or rule is not lost when another is declared."""
    learner, (vectors, labels) = started(), synthetic(500, seed=2)
    learner.learn_many(vectors, labels)
    frozen = linear_release(BINARY, NUMBERED)
    changed = LinearLearner.restore(frozen, other, SCHEMA, learner.snapshot())
    expected = learner.predict_many(vectors)
    np.testing.assert_allclose(changed.predict_many(vectors), expected, atol=1e-9)
    assert np.isfinite(changed.learn_many(vectors, labels)).all()


def test_halves_learned_apart_make_one() -> None:
    """Merged halves are better than either, and near one learner that saw all; both name new
    categories, and each keeps its own."""
    vectors, labels = synthetic(8000, seed=3)
    settings = Linear(hash_bits=None, learning_rate=0.1)
    start = LinearLearner.cold(settings, SCHEMA, BINARY)
    halves = [start.clone(), start.clone()]
    whole = start.clone()
    whole.learn_many(vectors, labels)
    for half, part in zip(halves, (slice(0, 4000), slice(4000, 8000)), strict=True):
        half.learn_many(vectors[part][::-1], labels[part][::-1])
    start.merge(halves)
    test, truth = synthetic(4000, seed=4)
    losses = [log_loss(truth, one.predict_many(test)) or 0.0 for one in (start, *halves, whole)]
    assert losses[0] < min(losses[1:3])
    assert losses[0] < losses[3] + 0.01
    assert sorted(whole.encoder.keys) == sorted(start.encoder.keys)


def test_merging_counts_what_each_learned_once() -> None:
    """Evidence of before the clone is not added twice."""
    vectors, labels = synthetic(300, seed=3)
    learner = started()
    learner.learn_many(vectors[:100], labels[:100])
    before, others = learner.table.rows[:, N].copy(), [learner.clone(), learner.clone()]
    for other, part in zip(others, (slice(100, 200), slice(200, 300)), strict=True):
        other.learn_many(vectors[part], labels[part])
    learner.merge(others)
    slots = len(before)
    gained = sum(other.table.rows[:slots, N] - before for other in others)
    np.testing.assert_allclose(learner.table.rows[:slots, N], before + gained, rtol=1e-12)
    assert learner.snapshot() == learner.clone().snapshot()


def test_merging_nothing_changes_nothing() -> None:
    """No others, or others that learned nothing, leave the bytes as they are."""
    learner, (vectors, labels) = started(), synthetic(100, seed=2)
    learner.learn_many(vectors, labels)
    before = learner.snapshot()
    learner.merge([])
    learner.merge([learner.clone()])
    assert before == learner.snapshot()


def test_a_release_of_other_features_is_refused() -> None:
    """Its weights would be read for other columns."""
    other = FeatureSchema(("a", "b"), (), "")
    with pytest.raises(ArtifactError, match="found features .* allowed: "):
        LinearLearner.warm_start(linear_release(BINARY, NUMBERED), NUMBERED, other)


def test_a_state_of_another_release_is_refused() -> None:
    """Neither another release of the same kind nor one of trees takes it."""
    learner = started()
    learner.learn_many(*synthetic(10, seed=2))
    trees = FrozenTrees.parse(release().text)
    for other in (linear_release(BINARY, HASHED), linear_release(CLASSES, NUMBERED), trees):
        with pytest.raises(ArtifactError, match=f"found release .* allowed: {other.digest}"):
            LinearLearner.restore(other, NUMBERED, SCHEMA, learner.snapshot())


def _damage(field: int, change: Callable[[bytes], object]) -> bytes:
    learner = LinearLearner.warm_start(FrozenTrees.parse(release().text), NUMBERED, SCHEMA)
    learner.learn_many(*synthetic(10, seed=2))
    parts = msgspec.msgpack.decode(learner.snapshot())
    parts[field] = change(parts[field])
    return msgspec.msgpack.encode(parts)


NAN = np.array([np.nan]).tobytes()


@pytest.mark.parametrize(
    ("field", "change"),
    [
        (1, lambda rule: rule[:-1]),
        (2, lambda bits: 7),
        (3, lambda known: known + 1),
        (4, lambda moments: moments[8:]),
        (4, lambda moments: NAN + moments[8:]),
        (5, lambda keys: keys + keys[:8]),
        (5, lambda keys: keys[8:]),
        (6, lambda rows: rows[8:]),
        (6, lambda rows: rows[1:]),
        (6, lambda rows: rows[8:16] + rows[:8] + rows[16:]),
        (6, lambda rows: rows[:-8] + np.array([10**9]).tobytes()),
        (7, lambda numbers: numbers[:-16]),
        (7, lambda numbers: NAN + numbers[8:]),
        (7, lambda numbers: numbers[:8] + np.array([-1.0]).tobytes() + numbers[16:]),
    ],
)
def test_a_damaged_state_is_refused(field: int, change: Callable[[bytes], object]) -> None:
    """Whatever part of it is cut, not finite, or points elsewhere."""
    trees = FrozenTrees.parse(release().text)
    with pytest.raises(ArtifactError, match="linear state"):
        LinearLearner.restore(trees, NUMBERED, SCHEMA, _damage(field, change))


def test_changes_that_do_not_follow_are_refused() -> None:
    """A copy that missed some categories is not brought up by what came after."""
    learner = LinearLearner.warm_start(FrozenTrees.parse(release().text), NUMBERED, SCHEMA)
    copy, (vectors, labels) = learner.clone(), synthetic(100, seed=2)
    learner.learn_many(vectors[:50], labels[:50])
    learner.changes()
    learner.learn_many(vectors[50:], labels[50:])
    before = copy.snapshot()
    with pytest.raises(ArtifactError, match="found hash_bits and categories"):
        copy.apply(learner.changes())
    assert before == copy.snapshot()


def test_changes_are_only_what_was_touched() -> None:
    """One more example is a small message, however much was learned before."""
    learner, (vectors, labels) = started(), synthetic(500, seed=2)
    learner.learn_many(vectors[:-1], labels[:-1])
    whole = len(learner.changes())
    learner.learn_many(vectors[-1:], labels[-1:])
    assert len(learner.changes()) < whole / 3


def test_a_regressions_steps_have_its_unit() -> None:
    """Labels a thousand times as large are learned as well, a thousand times as far off."""
    vectors, labels = labels_of(CLASSES, 500, 2)
    losses = []
    for scale in (1.0, 1000.0):
        learner = started_regression(scale)
        scores = learner.learn_many(vectors, labels * scale)
        losses.append(np.mean((scores / scale - labels) ** 2))
    np.testing.assert_allclose(*losses, rtol=1e-3)


def started_regression(scale: float) -> LinearLearner:
    """A learner of the classes' numbers times a scale."""
    from tidemill.tasks import REGRESSION

    vectors, labels = labels_of(CLASSES, 2000, 1)
    made = linear_of(vectors, labels * scale, SCHEMA, REGRESSION, NUMBERED)
    return LinearLearner.warm_start(made, NUMBERED, SCHEMA)
