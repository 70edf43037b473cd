"""How long a frozen model takes for one row and for many, measured with a clock passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from learners.learner import Frozen, Vectors

Timer = Callable[[], float]
"""Seconds that only go up."""

BATCH_ROWS = 512
_SINGLES, _BATCHES, _ROUNDS = 200, 5, 5


@dataclass(frozen=True, slots=True)
class Latency:
    """Medians in microseconds: of a call with one row, and per row of a call with `BATCH_ROWS`."""

    single: float
    batch: float


def measure(frozen: Frozen, vectors: Vectors, timer: Timer) -> Latency:
    """The latency over some of the vectors; rows are repeated where there are too few."""
    rows = np.ascontiguousarray(vectors[np.arange(BATCH_ROWS) % len(vectors)])
    singles = [rows[number : number + 1] for number in range(_SINGLES)]
    frozen.predict_many(rows)  # compiles
    frozen.predict_many(singles[0])
    one = [_seconds(frozen, singles, timer) / _SINGLES for _ in range(_ROUNDS)]
    many = [_seconds(frozen, [rows] * _BATCHES, timer) / _BATCHES for _ in range(_ROUNDS)]
    return Latency(1e6 * float(np.median(one)), 1e6 * float(np.median(many)) / BATCH_ROWS)


def _seconds(frozen: Frozen, calls: list[Vectors], timer: Timer) -> float:
    started = timer()
    for vectors in calls:
        frozen.predict_many(vectors)
    return timer() - started
