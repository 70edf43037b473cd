"""Durations are summarised as NumPy would, however they were collected."""

import numpy as np

from api.measuring.latency import BOUNDS_SECONDS, Distribution, LatencyRecorder


def test_nothing_recorded_has_no_percentiles():
    """Unknown is None, not zero."""
    assert {"p50": None, "p99": None} == LatencyRecorder().percentiles_ms()


def test_percentiles_are_those_of_the_newest():
    """Only the newest 8 192 count, whatever came before."""
    recorder = LatencyRecorder()
    for _ in range(10_000):
        recorder.add(9.0)
    values = np.linspace(0.001, 0.1, 8192)
    for value in values.tolist():
        recorder.add(value)
    p50, p99 = (np.percentile(values, (50, 99)) * 1000).round(3).tolist()
    assert {"p50": p50, "p99": p99} == recorder.percentiles_ms()
    assert 18_192 == recorder.count()


def test_a_few_newest_can_be_asked_for():
    """The last two of three, or none at all."""
    recorder = LatencyRecorder()
    for value in (5.0, 0.010, 0.010):
        recorder.add(value)
    assert {"p50": 10.0, "p99": 10.0} == recorder.percentiles_ms(2)
    assert {"p50": None, "p99": None} == recorder.percentiles_ms(0)


def test_the_histogram_counts_up_to_each_bound():
    """A value on a bound belongs to it; the last bucket has all."""
    recorder = LatencyRecorder()
    for value in (BOUNDS_SECONDS[0], BOUNDS_SECONDS[1], 100.0):
        recorder.add(value)
    buckets, total = recorder.histogram()
    assert [1.0, 2.0] == [count for _, count in buckets[:2]]
    assert ("+Inf", 3.0) == buckets[-1]
    assert sum((BOUNDS_SECONDS[0], BOUNDS_SECONDS[1], 100.0)) == total


def test_a_distribution_has_bounds_of_its_own():
    """Whole numbers as well as times; what was only added is counted by every reader."""
    rows = Distribution((1, 4, 16))
    for value in (1, 3, 3, 64):
        rows.add(value)
    assert 4 == rows.count()
    assert ([("1.0", 1.0), ("4.0", 3.0), ("16.0", 3.0), ("+Inf", 4.0)], 71.0) == rows.histogram()
