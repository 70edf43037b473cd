"""What a vector's columns become: slots and standardised values."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from learners.linear.encoding import FARTHEST, Encoder

NAMES = ("kind", "size", "age")


def encoder(hash_bits: int | None = None) -> Encoder:
    """One categorical column, two numeric ones: slots 1 to 4, categories from 5 on."""
    return Encoder(NAMES, ("kind",), hash_bits)


def learned(some: Encoder, rows: list[list[float]]) -> Encoder:
    """The encoder after it has taken in these rows."""
    some.learn(np.array(rows, np.float32), np.ones(len(rows)))
    return some


def pairs(some: Encoder, row: list[float]) -> list[tuple[int, float]]:
    """Slots and values of a row, as it is now."""
    _, slots, values = some.encode(np.array([row], np.float32))
    return list(zip(slots.tolist(), values.tolist(), strict=True))


def test_categories_are_numbered_as_they_come() -> None:
    """The first category learned has the first slot; missing is one of its own."""
    some = learned(encoder(), [[7, 0, 0], [3, 0, 0], [np.nan, 0, 0], [7, 0, 0]])
    found = [pairs(some, [kind, 0, 0])[1] for kind in (7, 3, np.nan)]
    assert [(5, 1), (6, 1), (7, 1)] == found
    assert (3, 8) == (some.known, some.slots)


def test_what_was_never_learned_counts_nothing() -> None:
    """A category without a slot has the value 0, and asking does not number it."""
    some = encoder()
    assert (0, 0) == pairs(some, [9, 0, 0])[1]
    assert some.known == 0


def test_zero_has_one_category() -> None:
    """-0.0 is 0.0."""
    some = learned(encoder(), [[0.0, 0, 0]])
    assert pairs(some, [0.0, 0, 0]) == pairs(some, [-0.0, 0, 0])


def test_hashed_categories_stay_within_their_slots() -> None:
    """With hash_bits the number of slots is fixed, and columns hash apart."""
    some = Encoder(("a", "b"), ("a", "b"), 10)
    _, slots, _ = some.encode(np.stack([np.arange(500), np.arange(500)], 1).astype(np.float32))
    found = slots.reshape(-1, 3)
    assert (1025, 1025) == (some.slots, 1 + (1 << 10))
    assert (found[:, 1:].min() >= 1, found.max() < 1025) == (True, True)
    assert (found[:, 1] != found[:, 2]).mean() > 0.99


def test_numbers_are_standardised_by_those_before() -> None:
    """Mean and spread are those of the rows that were learned, a weight of 0 excepted."""
    some = encoder()
    rows = np.array([[0, 2, 5], [0, 4, 5], [0, 1e6, 5]], np.float32)
    some.learn(rows, np.array([1.0, 1.0, 0.0]))
    assert (1, pytest.approx(2)) == pairs(some, [0, 5, 5])[2]
    assert (3, 0) == pairs(some, [0, 5, 9])[3]


def test_missing_and_absurd_numbers() -> None:
    """Missing and infinite are the column's second slot; what is far off is cut."""
    some = learned(encoder(), [[0, 2, 5], [0, 4, 7]])
    assert [(2, 1), (2, 1)] == [pairs(some, [0, bad, 5])[2] for bad in (np.nan, np.inf)]
    assert (1, FARTHEST) == pairs(some, [0, 1e30, 5])[2]


def test_given_moments_stay() -> None:
    """Those of a release are not touched by what is learned."""
    moments = np.array([[10, 1, 10], [10, 1, 40], [10, 0, 0]], float)
    some = Encoder(NAMES, ("kind",), None, moments.copy())
    learned(some, [[1, 100, 100]])
    np.testing.assert_array_equal(moments, some.moments)


def test_the_index_grows() -> None:
    """Thousands of categories are found again, also by a clone and from their keys."""
    rows = [[float(kind), 0, 0] for kind in range(5000)]
    some = learned(encoder(), rows)
    again = Encoder(NAMES, ("kind",), None, some.moments.copy(), some.keys)
    for other in (some.clone(), again):
        expected, found = some.encode(vectors(rows)), other.encode(vectors(rows))
        np.testing.assert_array_equal(expected[1], found[1])
    assert 5000 == some.known == len(np.unique(some.keys))


def vectors(rows: list[list[float]]) -> NDArray[np.float32]:
    """Rows as a learner gets them."""
    return np.array(rows, np.float32)


def test_merged_moments_are_those_of_all_rows() -> None:
    """Two that went on from a clone know what one would that had seen all."""
    random = np.random.default_rng(1)
    data = random.normal(3, 2, (300, 3)).tolist()
    start = learned(encoder(10), data[:100])
    other = start.clone()
    learned(start, data[100:200])
    learned(other, data[200:])
    start.merge([other])
    np.testing.assert_allclose(start.moments, learned(encoder(10), data).moments, rtol=1e-9)


def test_another_width_is_refused() -> None:
    """Vectors of another schema are an error, not a read outside."""
    with pytest.raises(ValueError, match=r"found shape \(1, 2\); allowed: \(rows, 3\)"):
        encoder().encode(np.zeros((1, 2), np.float32))
