"""Try a model out before it may answer: what it says, and how long it takes to say it."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np

from api.adopting.model import Head, Vectors
from tidemill.errors import ArtifactError
from tidemill.tasks import Task

_TIMES = 3  # each row; the shortest counts, for a thread also waits for others
_MOST_TIMED = 64
_PATIENCE_SECONDS = 1.0


def try_out(head: Head, vectors: Vectors, task: Task) -> None:
    """Predict for vectors; also compiles what never ran. Raises ArtifactError for no prediction."""
    most = np.inf if task.kind == "regression" else 1.0
    for scores in head.predict_both(vectors):
        if scores.shape != (len(vectors),):
            raise ArtifactError(f"scores: found {scores.shape}; allowed: ({len(vectors)},)")
        bad = scores[~(np.isfinite(scores) & (scores >= 1 - most) & (scores <= most))]
        if len(bad):
            allowed = "finite values" if most > 1 else "from 0 to 1"
            raise ArtifactError(f"scores: found {bad[:5].tolist()}; allowed: {allowed}")


def check_speed(
    head: Head,
    vectors: Vectors,
    slowest_us: float,
    timer: Callable[[], float] = perf_counter,
) -> None:
    """Raise ArtifactError for a model that takes longer for one of these vectors, by the median.

    `timer` gives seconds. The model must have been tried out.
    """
    begun, found = timer(), list[float]()
    for row in range(min(len(vectors), _MOST_TIMED)):
        found.append(min(_seconds(head, vectors[row : row + 1], timer) for _ in range(_TIMES)))
        if timer() - begun > _PATIENCE_SECONDS:
            break
    taken_us = median(found) * 1e6
    if taken_us > slowest_us:
        raise ArtifactError(
            f"time for one request: found {taken_us:.1f} µs; allowed: at most {slowest_us:g}"
        )


def _seconds(head: Head, vector: Vectors, timer: Callable[[], float]) -> float:
    started = timer()
    head.predict_both(vector)
    return timer() - started
