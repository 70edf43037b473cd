"""Sums kept as a byte."""

from __future__ import annotations

import numpy as np

from learners.coarse import from_bytes, to_bytes


def test_a_number_is_at_most_a_tenth_off() -> None:
    """Over more than eighteen orders of magnitude; zero stays zero."""
    sums = 2.0 ** np.linspace(-31, 31, 999)
    np.testing.assert_allclose(from_bytes(to_bytes(sums)), sums, rtol=0.1)
    assert 0 == from_bytes(to_bytes(np.zeros(1)))[0]


def test_what_is_out_of_reach_is_as_near_as_can_be() -> None:
    """Never zero, never infinite."""
    found = from_bytes(to_bytes(np.array([1e-300, 1e300])))
    np.testing.assert_allclose(found, [2**-31.75, 2**31.75])


def test_codes_stand_for_themselves() -> None:
    """Every byte is read and written as it was."""
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(codes, to_bytes(from_bytes(codes)))
