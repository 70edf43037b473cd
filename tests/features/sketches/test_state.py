"""Sketches over windows cover the tiles that windows of fixed words cover, in any arrival order."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.sketches import SketchRing, SketchState

MINUTE, HOUR = 60_000, 3_600_000
START = 1_367_366_400_000  # 2013-05-01T00:00Z, the first moment of a day
FOREVER = 2**62
RINGS = (
    SketchRing(0, "distinct", 8, MINUTE),
    SketchRing(0, "quantiles", 8, MINUTE),
    SketchRing(0, "top", 8, MINUTE),
    SketchRing(1, "distinct", 1, FOREVER),
    SketchRing(1, "quantiles", 25, HOUR),
    SketchRing(1, "top", 1, FOREVER),
)
LENGTHS = {MINUTE: (MINUTE, 90_000, 7 * MINUTE), HOUR: (HOUR, 24 * HOUR), FOREVER: (FOREVER,)}
RANKS = [0.01, 0.5, 0.99]


@dataclass(frozen=True)
class Row:
    """One event of the oracle."""

    time: int
    value: float


def in_time(ring: SketchRing, rows: list[Row]) -> tuple[list[Row], int]:
    """The rows a ring takes, and how many came too late for it."""
    kept: list[Row] = []
    newest, late = -1, 0
    for row in rows:
        tile = row.time // ring.step_ms
        if newest >= 0 and tile <= newest - ring.tiles:
            late += 1
        elif not math.isnan(row.value):
            kept.append(row)
            newest = max(newest, tile)
    return kept, late


def expected_answers(ring: SketchRing, rows: list[Row], at_ms: int, window: int) -> list[float]:
    """What a window covers, by definition, summarised exactly."""
    kept, _ = in_time(ring, [row for row in rows if not math.isnan(row.value)])
    newest = max((row.time // ring.step_ms for row in kept), default=-1)
    low = max((at_ms - window) // ring.step_ms, newest - ring.tiles + 1)
    covered = [r.value for r in kept if low <= r.time // ring.step_ms <= at_ms // ring.step_ms]
    if ring.kind == "distinct":
        return [len(set(covered))]
    if ring.kind == "quantiles":
        if not covered:
            return [math.nan] * len(RANKS)
        return np.quantile(np.array(covered), RANKS, method="inverted_cdf").tolist()
    counts = Counter(covered)
    ordered = sorted(counts, key=lambda value: (-counts[value], value))[:3]
    return ordered + [math.nan] * (3 - len(ordered))


def answers(state: SketchState, ring: int, at_ms: int, window: int) -> list[float]:
    """What the state says of one window."""
    if RINGS[ring].kind == "distinct":
        return [state.distinct(ring, at_ms, window)]
    if RINGS[ring].kind == "quantiles":
        return state.quantiles(ring, at_ms, window, RANKS)
    return state.top(ring, at_ms, window, 3)


def fold(state: SketchState, rows: list[Row]) -> int:
    """Give all rows to every ring at once; returns how many came too late."""
    times = np.array([row.time for row in rows], dtype=np.int64)
    values = np.array([row.value for row in rows], dtype=np.float32)
    return sum(state.update(ring, times, values) for ring in range(len(RINGS)))


offsets = st.one_of(
    st.integers(0, 12).map(lambda minutes: minutes * MINUTE),
    st.integers(0, 12).map(lambda minutes: minutes * MINUTE - 1),
    st.integers(0, 3 * MINUTE),
    st.integers(0, 30 * HOUR),
    st.just(FOREVER // 2**10),
)
event_rows = st.builds(
    Row,
    time=offsets.map(lambda ms: START + ms),
    value=st.integers(-5, 10).map(float) | st.just(math.nan),
)


@given(rows=st.lists(event_rows, max_size=60), asked=st.lists(offsets, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_windows_equal_brute_force(rows: list[Row], asked: list[int]) -> None:
    """Every kind over every window covers what its definition says, and late values are counted."""
    state = SketchState(RINGS)
    known = [row for row in rows if not math.isnan(row.value)]
    assert sum(in_time(ring, known)[1] for ring in RINGS) == fold(state, rows)
    for number, ring in enumerate(RINGS):
        for window in LENGTHS[ring.step_ms]:
            for at_ms in (START + offset for offset in asked):
                np.testing.assert_array_equal(
                    expected_answers(ring, rows, at_ms, window),
                    answers(state, number, at_ms, window),
                )


@given(
    rows=st.lists(event_rows, max_size=30),
    spread=st.sampled_from([1, 1000]),
    read=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_storing_after_every_value_changes_no_byte(
    rows: list[Row], spread: int, read: bool
) -> None:
    """Stored, restored and read between any two values, or never: the bytes are equal."""
    rows = [Row(r.time, r.value + place % spread) for place, r in enumerate(rows * 8)]
    kept, stored = SketchState(RINGS), SketchState(RINGS)
    fold(kept, rows)
    for row in rows:
        fold(stored, [row])
        if read:
            answers(stored, 1, row.time, MINUTE)
        stored = SketchState.decode(RINGS, stored.encode())
    assert kept.encode() == stored.encode()


def test_an_empty_state_is_no_bytes() -> None:
    """Without a value there is nothing to store, and no bytes are an empty state."""
    state = SketchState.decode(RINGS, b"")
    assert 0 == state.update(0, np.array([START]), np.array([np.nan], dtype=np.float32))
    assert b"" == state.encode()
    assert 0.0 == state.distinct(0, START, MINUTE)


def test_tiles_that_fell_out_are_not_stored() -> None:
    """A value long after all others leaves a state as small as a new one's."""
    old, new = SketchState(RINGS[:3]), SketchState(RINGS[:3])
    times = np.arange(START, START + 500 * 100, 100)
    values = np.arange(500, dtype=np.float32)
    for state, first in ((old, 0), (new, 500)):
        for ring in range(3):
            state.update(ring, times[first:], values[first:])
            state.update(ring, np.array([START + HOUR]), np.array([1.0], dtype=np.float32))
    assert new.encode() == old.encode()
    assert len(new.encode()) < 80


@pytest.mark.parametrize(("tiles_back", "late"), [(7, 0), (8, 1)])
def test_the_oldest_tile_is_taken_and_the_one_before_is_not(tiles_back: int, late: int) -> None:
    """A ring of eight tiles takes values seven tiles back."""
    state = SketchState(RINGS)
    times = np.array([START + HOUR, START + HOUR - tiles_back * MINUTE])
    assert late == state.update(0, times, np.array([1.0, 2.0], dtype=np.float32))
    assert 2.0 - late == state.distinct(0, START + HOUR, 7 * MINUTE)


def test_a_cleared_ring_is_as_new_and_the_others_stay() -> None:
    """A ring that begins anew has the bytes of one that never took a value."""
    rows = [Row(START + HOUR, 1.0), Row(START + HOUR + MINUTE, 2.0)]
    cleared, expected = SketchState(RINGS[:2]), SketchState(RINGS[:2])
    times, values = np.array([r.time for r in rows]), np.array([1.0, 2.0], dtype=np.float32)
    cleared.update(0, times, values)
    for state in (cleared, expected):
        state.update(1, times, values)
    cleared.clear(0)
    assert expected.encode() == cleared.encode()
