"""The table of weights: its two rules, their bounds, and rows from elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners.linear.encoding import Pairs
from learners.linear.kernels import N, Z
from learners.linear.table import Table, primed, rule_of
from tidemill.learner_kinds import Linear
from tidemill.tasks import BINARY, REGRESSION, Task

SLOTS = 50


def rows(count: int, seed: int = 1) -> tuple[Pairs, Any]:
    """Rows of 0 to 6 pairs, some with a slot twice, and their labels."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 7, count)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    slots = random.integers(0, SLOTS, starts[-1]).astype(np.int32)
    values = random.normal(size=starts[-1]).astype(np.float32)
    return (starts, slots, values), random.integers(0, 2, count)


def table(task: Task = BINARY, **settings: Any) -> Table:
    """A table that knows nothing."""
    return Table(task, rule_of(Linear(**settings), task), SLOTS)


def test_without_penalties_both_rules_are_one() -> None:
    """FTRL-proximal without l1 and l2 is AdaGrad (McMahan, 2011)."""
    both = [table(optimizer=name, learning_rate=0.1) for name in ("ftrl", "adagrad")]
    scores = [one.learn_checked(*rows(500)) for one in both]
    np.testing.assert_allclose(*scores, atol=1e-9)


@pytest.mark.parametrize("optimizer", ["ftrl", "adagrad"])
def test_l1_leaves_weights_at_zero(optimizer: str) -> None:
    """A strong l1 holds most weights at exactly 0, none holds few."""
    zeros = []
    for l1 in (0.0, 3.0):
        one = table(optimizer=optimizer, l1=l1, learning_rate=0.1)
        one.learn_checked(*rows(500))
        zeros.append(int((one.weights == 0).sum()))
    assert zeros[0] == 0 < SLOTS // 2 < zeros[1]


@pytest.mark.parametrize("optimizer", ["ftrl", "adagrad"])
@pytest.mark.parametrize("l1", [0.0, 0.5])
def test_one_example_moves_its_log_odds_by_at_most_max_step(optimizer: str, l1: float) -> None:
    """Whatever its values and weight, and less when the step would be shorter anyway."""
    one = table(optimizer=optimizer, learning_rate=10.0, max_step=0.25, l1=l1)
    for seed in range(30):
        random = np.random.default_rng(seed)
        slots = random.permutation(SLOTS)[:8].astype(np.int32)
        pairs = (np.array([0, 8]), slots, (100 * random.normal(size=8)).astype(np.float32))
        before = one.raw_many(pairs)
        one.learn_checked(pairs, np.array([seed % 2]), np.array([1000.0]))
        assert np.abs(one.raw_many(pairs) - before).max() <= 0.25 + 1e-9


@pytest.mark.parametrize("optimizer", ["ftrl", "adagrad"])
def test_weights_follow_from_the_numbers_kept(optimizer: str) -> None:
    """Setting the optimizer's numbers again gives the same bits, slots that met in a row too."""
    one = table(optimizer=optimizer, l1=0.1, l2=0.1, learning_rate=0.1)
    one.learn_checked(*rows(500))
    other = table(optimizer=optimizer, l1=0.1, l2=0.1, learning_rate=0.1)
    other.put(np.arange(SLOTS), one.rows[:, [Z, N]])
    assert one.weights.tobytes() == other.weights.tobytes()


def test_a_heavy_example_is_one_with_a_steeper_slope() -> None:
    """A regression's weight of 4 counts as an error four times as large."""
    heavy, far = table(REGRESSION, max_step=None), table(REGRESSION, max_step=None)
    pairs = (np.array([0, 1]), np.array([3], np.int32), np.array([1.0], np.float32))
    heavy.learn_checked(pairs, np.array([1.0]), np.array([4.0]))
    far.learn_checked(pairs, np.array([4.0]))
    np.testing.assert_array_equal(heavy.weights, far.weights)


@pytest.mark.parametrize("l1", [0.0, 2.0])
def test_primed_holds_its_weights(l1: float) -> None:
    """The weights a table was started with are those it predicts by, l1 or not."""
    weights = np.random.default_rng(1).normal(size=(SLOTS, 1))
    rule = rule_of(Linear(l1=l1, l2=0.5), BINARY)
    one = Table(BINARY, rule, SLOTS, weights, evidence=7.0)
    np.testing.assert_allclose(one.weights, weights, atol=1e-12)
    assert one.update_norm() == 0
    np.testing.assert_array_equal(one.rows[:, Z], primed(weights[:, 0], one.rows[:, N], rule))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda starts, slots, values: (starts, slots + SLOTS, values), "slots: found"),
        (lambda starts, slots, values: (starts, slots - SLOTS, values), "slots: found"),
        (lambda starts, slots, values: (starts + 1, slots, values), "starts that do not fit"),
        (lambda starts, slots, values: (starts[::-1], slots, values), "starts that do not fit"),
        (lambda starts, slots, values: (starts, slots[:-1], values), "starts that do not fit"),
        (lambda starts, slots, values: (starts, slots, values * np.inf), "values: found"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(change: Any, message: str) -> None:
    """A compiled loop follows them without looking, so they are looked at before."""
    (starts, slots, values), labels = rows(20)
    one = table()
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        one.learn_checked(change(starts, slots, values), labels)
    assert len(one.changed()) == 0


def test_wild_numbers_stay_finite() -> None:
    """Labels and weights near the largest float leave finite weights."""
    one = table(REGRESSION)
    pairs, _ = rows(20)
    one.learn_checked(pairs, np.full(20, 1e308), np.full(20, 1e300))
    assert np.isfinite(one.rows).all()


def test_halves_that_saw_other_slots_merge_exactly() -> None:
    """Learned apart on slots that do not meet, the merged table is that of one learner."""
    (starts, slots, values), labels = rows(400)
    first = np.where(np.arange(400) < 200, 0, SLOTS // 2)
    slots = (slots % (SLOTS // 2) + np.repeat(first, np.diff(starts))).astype(np.int32)
    cut = starts[200]
    halves = [
        ((starts[:201], slots[:cut], values[:cut]), labels[:200]),
        ((starts[200:] - cut, slots[cut:], values[cut:]), labels[200:]),
    ]
    whole, one = table(), table()
    whole.learn_checked((starts, slots, values), labels)
    other = one.clone()
    one.learn_checked(*halves[0])
    other.learn_checked(*halves[1])
    one.merge([other.rows], other.fork)
    np.testing.assert_allclose(one.weights, whole.weights, atol=1e-12)
    np.testing.assert_allclose(one.rows[:, N], whole.rows[:, N], atol=1e-12)
