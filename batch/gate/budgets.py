"""What a model may cost: microseconds for an answer, bytes on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from learners.learner import Learner, Vectors

SINGLES, BATCH_ROWS, ROUNDS, WARM_UP = 200, 256, 3, 20
"""One round times so many single rows, and one batch; the best round counts: others are the
machine's doing, not the model's."""

Timer = Callable[[], float]
"""Seconds since any moment, such as `time.perf_counter`."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What predictions cost, in microseconds, and how large the model's file is."""

    single_p50_us: float
    single_p99_us: float
    batch_row_us: float
    size_bytes: int


def measure(learner: Learner, vectors: Vectors, size_bytes: int, timer: Timer) -> Costs:
    """Time predictions of real vectors, one row at a time and `BATCH_ROWS` at once."""
    rows = np.linspace(0, len(vectors) - 1, SINGLES).astype(np.int64)
    singles = [np.ascontiguousarray(vectors[row : row + 1]) for row in rows]
    batch = np.ascontiguousarray(vectors[np.arange(BATCH_ROWS) % len(vectors)])
    for single in singles[:WARM_UP]:
        learner.predict_many(single)
    rounds = [[_took(learner, each, timer) for each in singles] for _ in range(ROUNDS)]
    batches = [_took(learner, batch, timer) for _ in range(ROUNDS + 1)]
    return Costs(
        single_p50_us=min(float(np.percentile(each, 50)) for each in rounds),
        single_p99_us=min(float(np.percentile(each, 99)) for each in rounds),
        batch_row_us=min(batches) / BATCH_ROWS,
        size_bytes=size_bytes,
    )


def _took(learner: Learner, vectors: Vectors, timer: Timer) -> float:
    before = timer()
    learner.predict_many(vectors)
    return (timer() - before) * 1e6
