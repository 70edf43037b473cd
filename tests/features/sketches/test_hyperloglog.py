"""Distinct values are counted within the stated error, and stored sketches are no different."""

from __future__ import annotations

import math

import numpy as np
import pytest
from datasketches import hll_sketch, tgt_hll_type
from hypothesis import given, settings
from hypothesis import strategies as st

from features.sketches.hyperloglog import LG_K, HyperLogLog, distinct

floats = st.floats(width=32, allow_nan=False)


def sketch_of(values: list[float]) -> HyperLogLog:
    """A sketch after values."""
    sketch = HyperLogLog()
    for value in values:
        sketch.add(value)
    return sketch


def extreme_values(many: int) -> list[float]:
    """Numbers whose hash begins with so many zeros that four bits cannot hold the register."""
    found: list[float] = []
    number = 0.0
    while len(found) < many:
        number += 1.0
        sketch = hll_sketch(LG_K, tgt_hll_type.HLL_4)
        sketch.update(number)
        # A coupon is 26 bits of address below 6 bits of the number of zeros.
        if int.from_bytes(sketch.serialize_compact()[8:12], "little") >> 26 >= 18:
            found.append(number)
    return found


@given(tiles=st.lists(st.lists(floats, max_size=20), max_size=4))
@settings(max_examples=100, deadline=None)
def test_few_values_are_counted_exactly(tiles: list[list[float]]) -> None:
    """Up to 80 values in any number of tiles are counted one by one; 0.0 and -0.0 are one."""
    values = {value for tile in tiles for value in tile}
    assert len(values) == distinct([sketch_of(tile).encode() for tile in tiles])


@pytest.mark.parametrize("tiles", [1, 24])
def test_many_values_are_counted_within_the_stated_error(tiles: int) -> None:
    """Over 40 trials the root mean square of the error is near 1.04 / sqrt(2^10)."""
    errors = []
    for trial in range(40):
        values = (np.arange(4800.0) + 10_000 * trial).astype(np.float32)
        parts = [sketch_of(part.tolist()).encode() for part in np.array_split(values, tiles)]
        errors.append(distinct(parts) / 4800 - 1)
    assert np.sqrt(np.mean(np.square(errors))) < 1.3 * 1.04 / math.sqrt(2**LG_K)


@given(
    seed=st.integers(0, 1000),
    distinct_values=st.sampled_from([5, 30, 90, 150, 3000]),
    restored=st.sets(st.integers(0, 400)),
)
@settings(max_examples=60, deadline=None)
def test_a_stored_sketch_goes_on_as_one_never_stored(
    seed: int, distinct_values: int, restored: set[int]
) -> None:
    """Stored and restored at any points, a sketch has the bytes of one that never was."""
    values = np.random.default_rng(seed).integers(0, distinct_values, 400).astype(float).tolist()
    kept, stored = HyperLogLog(), HyperLogLog()
    for place, value in enumerate(values):
        kept.add(value)
        stored.add(value)
        if place in restored:
            assert kept.encode() == stored.encode()
            stored = HyperLogLog(stored.encode())
    assert kept.encode() == stored.encode()


def test_registers_beyond_four_bits_are_stored_in_a_fixed_order() -> None:
    """Extreme registers, which HLL_4 keeps apart, survive a store and keep the bytes equal."""
    rare = extreme_values(6)
    kept = stored = sketch_of([-float(value) for value in range(1, 2000)])
    for value in rare:
        kept.add(value)
        stored = HyperLogLog(stored.encode())
        stored.add(value)
        assert kept.encode() == HyperLogLog(stored.encode()).encode() == stored.encode()
    assert 552 < len(kept.encode()) <= 552 + 4 * len(rare)


@pytest.mark.parametrize(("values", "size"), [(1, 12), (8, 44), (96, 396), (97, 552), (5000, 552)])
def test_a_sketch_is_as_small_as_stated(values: int, size: int) -> None:
    """Four bytes a value and a few more while there are few, 552 for any number."""
    assert size == len(sketch_of([float(value) for value in range(values)]).encode())


def test_no_tiles_hold_no_values() -> None:
    """The count over nothing, or over an empty sketch, is 0."""
    assert (0.0, 0.0) == (distinct([]), distinct([HyperLogLog().encode()]))
