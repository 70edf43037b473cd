"""What `bench swap` makes of what it has seen."""

from __future__ import annotations

import numpy as np
import pytest

from bench._load import Load
from bench._pace import Pace
from bench.swap import MEGABYTE, Found, Memory, _told


def load(*latencies_ms: float, failed: int = 0) -> Load:
    """What a loop found."""
    return Load(1.0, np.array(latencies_ms), np.zeros(len(latencies_ms)), failed, b"")


def test_the_slope_is_the_trend_of_the_last_half() -> None:
    """In megabytes an hour, whatever came before, and not that of a moment."""
    seen = [(36.0 * place, 900 * MEGABYTE) for place in range(50)]
    seen += [(36.0 * place, int((100 + 0.02 * place) * MEGABYTE)) for place in range(50, 100)]
    seen[70] = (seen[70][0], 150 * MEGABYTE)
    assert 2.0 == pytest.approx(Memory(1, seen).slope(), abs=0.05)


def test_requests_with_swaps_are_compared_with_those_without() -> None:
    """All of one kind with all of the other; failures are those with swaps."""
    found = Found(rate=100.0, text=2 * MEGABYTE, before=100 * MEGABYTE, swaps=9)
    found.loads[True] += [load(*[3.0] * 100, failed=2), load(*[5.0] * 100)]
    found.loads[False] += [load(*[2.0] * 100, failed=7), load(*[2.0] * 100)]
    memory = Memory(1, [(0.0, 101 * MEGABYTE), (1.0, 103 * MEGABYTE), (2.0, 102 * MEGABYTE)])
    found.times[True], found.times[False] = [(0.0, 1.0), (3.0, 4.0)], [(1.5, 2.0), (5.0, 6.0)]
    pace = Pace([(0.2, 100), (0.4, 300), (1.7, 150), (2.5, 900), (3.0, 180), (5.5, 170)])
    told = _told(found, memory, pace, [10 * MEGABYTE, 14 * MEGABYTE, 16 * MEGABYTE], {})
    values = {name: each["value"] for name, each in told["measures"].items()}
    expected = {
        "swaps": 9, "refused": 0, "failed": 2, "failed_without": 7, "p99_ratio": 2.5,
        "p99_ratio_parts": 2.0, "p99_ratio_pairs": 2.0, "p99_ratio_alike": 1.0,
        "memory_more": 3, "model": 2, "model_loading": 4, "model_text": 2,
        "pace_with": 190, "pace_without": 160,
    }  # fmt: skip
    assert expected == {name: values[name] for name in expected}
    assert told["answers_equal"] is True


def test_an_api_that_refused_models_has_no_result() -> None:
    """Then its swaps were none."""
    found = Found(rate=100.0, before=0, refused=1)
    for swapped, each in found.loads.items():
        each.append(load(1.0))
        found.times[swapped].append((0.0, 1.0))
    told = _told(found, Memory(1, [(0.0, 0)]), Pace([(0.5, 200)]), [0, 0, 0], {})
    assert told["answers_equal"] is False


def test_what_the_machine_does_alone_is_told() -> None:
    """One stalled part without swaps is drawn more often into one side than into the other."""
    found = Found(rate=100.0)
    for swapped, each in found.loads.items():
        each += [load(*[2.0] * 100)] * 19 + [load(*[80.0] * 100)]
        found.times[swapped] += [(0.0, 1.0)] * 20
    told = _told(found, Memory(1, [(0.0, 0)]), Pace([(0.5, 200)]), [0, 0, 0], {})
    measures = told["measures"]
    assert (1.0, 1.0) == (measures["p99_ratio"]["value"], measures["p99_ratio_parts"]["value"])
    assert {0.025, 1.0, 40.0} == set(measures["p99_ratio_alike"]["samples"])
