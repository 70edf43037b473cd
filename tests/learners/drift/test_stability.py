"""The index is small for one distribution and large for another."""

from __future__ import annotations

import numpy as np
import pytest

from learners.drift.stability import Reference


def made(rng: np.random.Generator, rows: int, shift: float = 0.0) -> np.ndarray:
    """A number, a code, a constant and a number that is often missing."""
    number = rng.normal(shift, 1, rows)
    code = rng.choice([1, 2, 3], rows, p=[0.5, 0.3, 0.2])
    sparse = np.where(rng.random(rows) < 0.3 + shift / 2, np.nan, rng.random(rows))
    return np.column_stack([number, code, np.full(rows, 4), sparse]).astype(np.float32)


def test_one_distribution_stays_far_below_any_limit() -> None:
    """The index of unmoved columns is about (groups - 1)(1/N + 1/M)."""
    rng = np.random.default_rng(1)
    reference = Reference(made(rng, 10_000))
    moved = np.array([reference.moved(made(rng, 2_000)) for _ in range(200)])
    assert moved.max() < 0.03
    assert 9 * (1 / 10_000 + 1 / 2_000) == pytest.approx(moved[:, 0].mean(), rel=0.3)


def test_a_shift_of_a_deviation_is_large() -> None:
    """What moved is named by its column, also when it moved by going missing."""
    rng = np.random.default_rng(2)
    reference = Reference(made(rng, 10_000))
    moved = reference.moved(made(rng, 2_000, shift=1.0))
    assert moved[0] > 0.8
    assert moved[1] < 0.03
    assert moved[3] > 0.8


@pytest.mark.parametrize("value", [3.0, 5.0, np.nan])
def test_a_constant_that_changes_is_seen(value: float) -> None:
    """Downwards, upwards, and away."""
    rng = np.random.default_rng(3)
    rows = made(rng, 1_000)
    reference = Reference(rows)
    rows[:, 2] = value
    assert reference.moved(rows)[2] > 1


def test_a_column_without_values_is_none_that_moves() -> None:
    """A feature that has never been there yet."""
    rows = np.full((500, 1), np.nan, np.float32)
    assert 0 == pytest.approx(Reference(rows).moved(rows)[0])
    assert Reference(rows).moved(np.ones((500, 1), np.float32))[0] > 1
