"""The kernel against brute force: what a window covers, event by event."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import shops
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.layout import tile_step_ms
from features.plan import compile_plan
from features.replay import Replayer
from tidemill import Label, Project, Window
from tidemill.durations import duration_ms

ALL = shops.ALL
LENGTHS = ("1min", "90s", "7min", "1h", "61min", "6h", "24h", "12d")
payment = shops.payment
PLAIN = Window("plain", payment, ALL, (shops.card,), LENGTHS, payment.amount)
LARGE = Window(
    "large", payment, ALL, (shops.card,), ("1h", "24h"), payment.amount, payment.amount > 3
)
PROJECT = Project("p", (payment,), shops.request, (PLAIN, LARGE), Label(("card",), "1h"))
PLAN = compile_plan(PROJECT)
NAMES = [*PLAIN.names, *LARGE.names]


@dataclass(frozen=True)
class Row:
    """One event of the oracle."""

    time: int
    key: str
    value: float


def longest_by_step(window: Window) -> dict[int, int]:
    """For each step, the longest window that has it: such windows share their tiles."""
    found: dict[int, int] = {}
    for over in window.over:
        length = duration_ms("over", over)
        step = tile_step_ms(length)
        found[step] = max(found.get(step, 0), length)
    return found


def taken(window: Window, rows: list[Row], step: int) -> tuple[list[Row], int, int]:
    """The events that came in time for the ring of a step, the newest tile, the too late ones."""
    tiles = math.ceil(longest_by_step(window)[step] / step) + 1
    kept: list[Row] = []
    newest, late = -1, 0
    for row in rows:
        if kept and row.time // step <= newest - tiles:
            late += 1
            continue
        kept.append(row)
        newest = max(newest, row.time // step)
    return kept, newest - tiles + 1, late


def aggregates(values: list[float]) -> dict[str, float]:
    """Plain aggregates of the covered values."""
    nothing = math.nan
    return {
        "count": len(values),
        "sum": sum(values),
        "mean": sum(values) / len(values) if values else nothing,
        "min": min(values, default=nothing),
        "max": max(values, default=nothing),
    }


def newest_of(rows: list[Row]) -> Row | None:
    """The newest event; of several at one time the one that came last."""
    newest = None
    for row in rows:
        if newest is None or row.time >= newest.time:
            newest = row
    return newest


def expected_features(window: Window, rows: list[Row], key: str, time: int) -> list[float]:
    """A window's features by definition, in the order of the vector."""
    where: Callable[[float], bool] = (lambda v: v > 3) if window is LARGE else (lambda v: True)
    mine = [r for r in rows if r.key == key and not math.isnan(r.value) and where(r.value)]
    newest = newest_of(mine)
    features = []
    for over in window.over:
        length = duration_ms("over", over)
        step = tile_step_ms(length)
        kept, oldest_tile, _ = taken(window, mine, step)
        low = max((time - length) // step, oldest_tile)
        found = aggregates([r.value for r in kept if low <= r.time // step <= time // step])
        known = newest is not None and newest.time <= time <= newest.time + length
        found["last"] = newest.value if known and newest else math.nan
        found["age"] = (time - newest.time) / 1000 if known and newest else math.nan
        features += [found[aggregate] for aggregate in window.aggregate]
    return features


def replayed(rows: list[Row], batch: int) -> tuple[Replayer, int]:
    """The kernel after the events, folded in batches of a size; with its count of late values."""
    replayer, late = Replayer(PLAN), 0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        late += replayer.apply(
            "payment",
            shops.payments(*({"time": r.time, "card": r.key, "amount": r.value} for r in part)),
        )
    return replayer, late


MINUTES = 60_000
offsets = st.one_of(
    st.integers(0, 12).map(lambda minutes: minutes * MINUTES),
    st.integers(0, 3 * MINUTES),
    st.integers(0, 26 * 60 * MINUTES),
    st.integers(0, 14 * 24 * 60 * MINUTES),
    st.integers(0, 300).map(lambda minutes: minutes * 5 * MINUTES),
)
event_rows = st.builds(
    Row,
    time=offsets.map(lambda ms: shops.START + ms),
    key=st.sampled_from("ab"),
    value=st.integers(-5, 10).map(float) | st.just(math.nan),
)


@given(
    rows=st.lists(event_rows, max_size=40),
    in_order=st.booleans(),
    batch=st.sampled_from([1, 7, 100]),
    later=offsets,
    asked=st.lists(offsets, max_size=4),
)
@example(rows=[], in_order=True, batch=1, later=0, asked=[0])
@settings(max_examples=150, deadline=None)
def test_the_kernel_equals_brute_force(
    rows: list[Row], in_order: bool, batch: int, later: int, asked: list[int]
) -> None:
    """Counts, sums, means, extremes, last values and ages are those of the definition."""
    rows = sorted(rows, key=lambda row: row.time) if in_order else rows
    replayer, late = replayed(rows, batch)
    newest = max((row.time for row in rows), default=shops.START)
    times = [newest, newest + later, *(shops.START + ms for ms in asked)]
    cases = [(time, key) for time in times for key in ("a", "b", "never seen")]
    actual = replayer.vectors(shops.requests(*({"time": t, "card": k} for t, k in cases)))
    expected = [
        expected_features(PLAIN, rows, key, time) + expected_features(LARGE, rows, key, time)
        for time, key in cases
    ]
    np.testing.assert_array_equal(np.array(expected, dtype=np.float32), actual, str(NAMES))
    assert expected_late(rows) == late


def expected_late(rows: list[Row]) -> int:
    """How many values came too late for their ring, over all rings and keys."""
    late = 0
    for window in (PLAIN, LARGE):
        for key in ("a", "b"):
            mine = [r for r in rows if r.key == key and not math.isnan(r.value)]
            mine = [r for r in mine if window is PLAIN or r.value > 3]
            late += sum(taken(window, mine, step)[2] for step in longest_by_step(window))
    return late


def sums(replayer: Replayer, time: int) -> dict[str, float]:
    """The window features of card a at a time, by name."""
    vector = replayer.vectors(shops.requests({"time": time}))[0]
    return dict(zip(NAMES, vector.tolist(), strict=True))


@given(rows=st.lists(event_rows, max_size=30), batch=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_the_size_of_micro_batches_does_not_matter(rows: list[Row], batch: int) -> None:
    """However a stream is cut, the state is the same, byte by byte."""
    assert sorted(replayed(rows, 1)[0].blobs()) == sorted(replayed(rows, batch)[0].blobs())


def test_a_window_reaches_to_the_tile_its_tail_lies_in() -> None:
    """The tail is rounded down to the step; the tile before it is out."""
    inside, outside = shops.START + 5 * MINUTES, shops.START + 5 * MINUTES - 1
    time = shops.START + 69 * MINUTES
    rows = [Row(outside, "a", 1.0), Row(inside, "a", 2.0)]
    assert 2.0 == sums(replayed(rows, 2)[0], time)["plain_sum_card_1h"]


def test_a_tile_after_the_requests_own_is_not_read() -> None:
    """A request that is scored for an earlier moment does not see later tiles."""
    rows = [Row(shops.START, "a", 1.0), Row(shops.START + 10 * MINUTES, "a", 2.0)]
    features = sums(replayed(rows, 2)[0], shops.START + MINUTES)
    actual = [features[f"plain_{kind}_card_1h"] for kind in ("sum", "max", "count", "last")]
    np.testing.assert_array_equal([1.0, 1.0, 1.0, np.nan], actual)


def test_a_value_too_late_is_counted_once_for_each_ring() -> None:
    """A value an hour late misses the minute ring, not the hour's."""
    late = shops.START + 100 * MINUTES
    rows = [Row(late, "a", 9.0), Row(late - 30 * MINUTES, "a", 1.0)]
    replayer, count = replayed(rows, 1)
    features = sums(replayer, late)
    assert (1, 9.0, 10.0) == (
        count,
        features["plain_sum_card_7min"],
        features["plain_sum_card_1h"],
    )


@pytest.mark.parametrize(("tiles_back", "late", "total"), [(7, 0, 10.0), (8, 1, 9.0)])
def test_the_oldest_tile_of_a_ring_is_taken_and_the_one_before_is_not(
    tiles_back: int, late: int, total: float
) -> None:
    """A ring of seven minutes has eight tiles; one tile more would fall on the newest."""
    newest = shops.START + 100 * MINUTES
    rows = [Row(newest, "a", 9.0), Row(newest - tiles_back * MINUTES, "a", 1.0)]
    replayer, count = replayed(rows, 2)
    assert (late, total) == (count, sums(replayer, newest)["plain_sum_card_7min"])


def test_an_old_window_is_empty_again() -> None:
    """Long after the last event nothing is left but zeros and missing values."""
    features = sums(
        replayed([Row(shops.START, "a", 5.0)], 1)[0], shops.START + 40 * 24 * 60 * MINUTES
    )
    kept = {name for name, value in features.items() if value != 0 and not math.isnan(value)}
    assert set() == kept


def test_a_ring_that_turned_over_keeps_nothing_old() -> None:
    """Tiles skipped while nothing happened are cleared when the ring comes round."""
    rows = [Row(shops.START + minute * MINUTES, "a", 1.0) for minute in (0, 1, 2, 1000)]
    features = sums(replayed(rows, 4)[0], rows[-1].time)
    assert (1.0, 1.0) == (features["plain_count_card_7min"], features["plain_min_card_7min"])


@pytest.mark.parametrize("time", [1, MINUTES, 59 * MINUTES, 24 * 60 * MINUTES])
def test_the_first_day_of_1970_is_a_day_like_any_other(time: int) -> None:
    """Tiles before the first do not count as zeros."""
    features = sums(replayed([Row(time, "a", 5.0)], 1)[0], time)
    assert [5.0] * 3 == [features[f"plain_{kind}_card_24h"] for kind in ("min", "max", "sum")]


def test_events_of_one_moment_leave_the_one_that_came_last() -> None:
    """Of several values at one time, `last` is that of the newest arrival."""
    rows = [Row(shops.START, "a", 1.0), Row(shops.START, "a", 2.0)]
    assert 2.0 == sums(replayed(rows, 1)[0], shops.START)["plain_last_card_1h"]
