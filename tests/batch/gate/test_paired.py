"""Intervals cover as often as they say, for rows that hold together by the day."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.gate.paired import STRETCHES, Blocks, Interval, chances

DAY_MS = 86_400_000
WORLDS = 400


def world(seed: int, days: int, rows: int, day_noise: float) -> tuple[Blocks, np.ndarray]:
    """Differences of losses with mean 0, skewed, that share what each day brought."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, days * DAY_MS, rows))
    shared = rng.normal(0, day_noise, days)[times // DAY_MS]
    return Blocks(times, np.ones(rows)), shared + (rng.gamma(0.25, size=rows) - 0.25) * 0.2


@pytest.mark.parametrize(
    ("days", "rows", "day_noise"), [(8, 1000, 0.0), (8, 5000, 0.01), (30, 5000, 0.01)]
)
def test_each_end_is_wrong_as_rarely_as_asked(days: int, rows: int, day_noise: float) -> None:
    """The true mean lies under the lower end, or over the upper one, in one world of twenty."""
    low = high = 0
    for seed in range(WORLDS):
        blocks, values = world(seed, days, rows, day_noise)
        found = blocks.interval(values, 0.05, 0.05)
        low += found.above(0)
        high += not found.may_be_above(0)
    assert max(low, high) <= 0.085 * WORLDS
    assert min(low, high) >= 0.01 * WORLDS


def test_independent_rows_would_be_taken_for_more_than_they_are() -> None:
    """What a test without blocks calls shown one time in twenty, it calls shown one in three."""
    naive = 0
    for seed in range(WORLDS):
        _, values = world(seed, 9, 5000, 0.01)
        naive += values.mean() > 1.645 * values.std() / np.sqrt(len(values))
    assert naive > 0.2 * WORLDS


def test_a_difference_is_shown() -> None:
    """A mean well beyond the noise lies outside; the smaller the chance, the wider the interval."""
    blocks, values = world(1, 9, 5000, 0.01)
    narrow, wide = (blocks.interval(values + 0.03, chance, chance) for chance in (0.05, 0.005))
    assert 0 < wide.low <= narrow.low < narrow.mean < narrow.high <= wide.high


def test_too_few_blocks_say_nothing() -> None:
    """Rows of one moment have no end of an interval: nothing is shown, everything is possible."""
    found = Blocks(np.zeros(50, np.int64), np.ones(50)).interval(np.ones(50), 0.05, 0.05)
    assert Interval(1.0, None, None) == found
    assert not found.above(0) and found.may_be_above(1e9)


@given(
    st.lists(st.integers(0, 200 * DAY_MS), min_size=1, max_size=60),
    st.integers(0, 2**32 - 1),
    st.floats(-5, 5),
)
@settings(max_examples=60, deadline=None)
def test_an_interval_moves_with_its_values(times: list[int], seed: int, shift: float) -> None:
    """Order of rows, scale of weights and a shift of all values change it as they should."""
    rng = np.random.default_rng(seed)
    at, weights = np.array(times, np.int64), rng.uniform(0.5, 2, len(times))
    values, order = rng.normal(size=len(times)), rng.permutation(len(times))
    found = Blocks(at, weights).interval(values, 0.05, 0.05)
    other = Blocks(at[order], 3 * weights[order]).interval(values[order] + shift, 0.05, 0.05)
    assert found.mean == pytest.approx(np.average(values, weights=weights), abs=1e-9)
    for ours, theirs in (
        (found.mean, other.mean),
        (found.low, other.low),
        (found.high, other.high),
    ):
        assert (ours is None) == (theirs is None)
        assert ours is None or theirs == pytest.approx(ours + shift, abs=1e-6)


def test_weighing_a_row_is_having_it_twice() -> None:
    """A row that stands for two is two rows."""
    blocks, values = world(3, 9, 300, 0.01)
    times = np.sort(np.random.default_rng(3).integers(0, 9 * DAY_MS, 300))
    weights = np.where(np.arange(300) % 3 == 0, 2.0, 1.0)
    repeated = np.repeat(np.arange(300), weights.astype(int))
    once = Blocks(times, weights).interval(values, 0.05, 0.05)
    twice = Blocks(times[repeated], np.ones(len(repeated))).interval(values[repeated], 0.05, 0.05)
    assert (once.low, once.mean, once.high) == pytest.approx((twice.low, twice.mean, twice.high))


@pytest.mark.parametrize(
    ("days", "expected"), [(2, STRETCHES), (20, 20), (7, 7), (128, 64), (500, 63)]
)
def test_blocks_are_days_where_there_are_enough(days: int, expected: int) -> None:
    """Never fewer than can show something, never more than can be drawn from."""
    times = np.arange(0, days * DAY_MS, DAY_MS // 24)
    sums, weights = Blocks(times, np.ones(len(times))).sums(np.ones(len(times)))
    assert expected == len(sums) == len(weights)
    assert weights.sum() == len(times)


def test_of_many_equal_groups_hardly_ever_is_one_called_worse() -> None:
    """Fifty slices, one family: in one world of twenty the smallest chance is below .05."""
    wrong = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sums = rng.normal(size=(50, 8)) + rng.normal(size=8)
        wrong += chances(sums, np.ones((50, 8))).min() <= 0.05
    assert wrong <= 0.09 * 200


def test_a_worse_group_among_many_is_found() -> None:
    """It has a small chance, the others have not."""
    rng = np.random.default_rng(1)
    sums = rng.normal(size=(20, 8))
    sums[7] += 8
    found = chances(sums, np.ones((20, 8)))
    assert [7] == np.flatnonzero(found <= 0.05).tolist()


def test_a_group_that_is_always_worse_by_the_same_is_found() -> None:
    """No spread at all is no reason to see nothing; no difference at all is none to see one."""
    found = chances(np.array([np.ones(8), np.zeros(8)]), np.ones((2, 8)))
    assert found[0] < 0.05 < found[1]
