"""The most frequent values are found within the stated error of their counts."""

from __future__ import annotations

import math
import struct
from collections import Counter

import numpy as np
import pytest
from datasketches import frequent_items_error_type, frequent_items_sketch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.sketches.misra_gries import COUNTERS, MisraGries, top

floats = st.floats(width=32, allow_nan=False)


def sketch_of(values: list[float]) -> MisraGries:
    """A sketch after values."""
    sketch = MisraGries()
    for value in values:
        sketch.add(value)
    return sketch


def counts_of(payload: bytes) -> dict[float, int]:
    """The counters of an encoded sketch."""
    kept = len(payload) // 8
    values = np.frombuffer(payload, "<f4", kept).tolist()
    return dict(zip(values, np.frombuffer(payload, "<u4", kept, 4 * kept).tolist(), strict=True))


def zipf(seed: int, many: int) -> list[float]:
    """Numbers of which a few are frequent and most are rare."""
    return (np.random.default_rng(seed).zipf(1.3, many) % 5000).astype(float).tolist()


@given(
    tiles=st.lists(st.lists(floats | st.sampled_from([1.0, 2.0, -0.0]), max_size=30), max_size=4),
    k=st.integers(1, 20),
)
@settings(max_examples=100, deadline=None)
def test_few_values_are_ranked_exactly(tiles: list[list[float]], k: int) -> None:
    """Most frequent first over all tiles, ties by value, missing where there are less than k."""
    counts = Counter(value for tile in tiles for value in tile)
    expected = sorted(counts, key=lambda value: (-counts[value], value))[:k]
    expected += [math.nan] * (k - len(expected))
    np.testing.assert_array_equal(expected, top([sketch_of(tile).encode() for tile in tiles], k))


@given(seed=st.integers(0, 1000), many=st.integers(0, 3000))
@settings(max_examples=30, deadline=None)
def test_a_count_is_too_low_by_at_most_the_stated_share(seed: int, many: int) -> None:
    """No count is above the true one or more than N / 65 below it, kept or not."""
    values = zipf(seed, many)
    found = counts_of(sketch_of(values).encode())
    for value, count in Counter(values).items():
        assert count - many / (COUNTERS + 1) <= found.get(value, 0) <= count


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_what_the_library_is_sure_of(seed: int) -> None:
    """The values that DataSketches' frequent items guarantees, in its order, lead here too."""
    values = zipf(seed, 5000)
    peer = frequent_items_sketch(7)
    for value in values:
        peer.update(value)
    sure = peer.get_frequent_items(frequent_items_error_type.NO_FALSE_POSITIVES, 5000 // 20)
    expected = [item for item, *_ in sorted(sure, key=lambda row: (-row[1], row[0]))]
    assert len(expected) >= 3
    parts = [sketch_of(values[start::4]).encode() for start in range(4)]
    assert expected == top([sketch_of(values).encode()], len(expected)) == top(parts, len(expected))


@given(seed=st.integers(0, 1000), restored=st.sets(st.integers(0, 600)))
@settings(max_examples=30, deadline=None)
def test_a_stored_sketch_goes_on_as_one_never_stored(seed: int, restored: set[int]) -> None:
    """Stored and restored at any points, a sketch has the bytes of one that never was."""
    kept, stored = MisraGries(), MisraGries()
    for place, value in enumerate(zipf(seed, 600)):
        kept.add(value)
        stored.add(value)
        if place in restored:
            stored = MisraGries(stored.encode())
    assert kept.encode() == stored.encode()


def test_a_full_counter_stays() -> None:
    """A counter holds at most 2^32 - 1 and does not overflow."""
    sketch = MisraGries(struct.pack("<fI", 1.0, 2**32 - 2))
    for _ in range(3):
        sketch.add(1.0)
    assert struct.pack("<fI", 1.0, 2**32 - 1) == sketch.encode()


@pytest.mark.parametrize(("values", "size"), [(0, 0), (1, 8), (64, 512), (65, 0), (66, 8)])
def test_a_sketch_takes_eight_bytes_a_value(values: int, size: int) -> None:
    """Eight bytes for each value kept; the 65th different one cancels one of each."""
    assert size == len(sketch_of([float(value) for value in range(values)]).encode())
