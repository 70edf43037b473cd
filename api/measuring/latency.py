"""Distributions that are cheap to record on the hot path and summarised off it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

BOUNDS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STAGE_BOUNDS_SECONDS = (0.000_001, 0.000_01, 0.000_05, 0.0001, 0.000_25, *BOUNDS_SECONDS)
AGE_BOUNDS_SECONDS = (0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0)
GROUP_BOUNDS_ROWS = (1, 2, 4, 8, 16, 32, 64)
_RECENT = 8192


def percentiles_ms(seconds: NDArray[np.float64]) -> dict[str, float | None]:
    """The median and the 99th percentile in milliseconds; None without values."""
    if len(seconds) == 0:
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


class Distribution:
    """A cumulative histogram. `add` is a list's own append: all arithmetic is left to `fold`.

    Whoever adds sees to it that somebody folds every second or so.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.asarray(bounds, dtype=np.float64)
        self._new: list[float] = []
        self.add: Callable[[float], None] = self._new.append
        """Record one value. Never blocks."""
        self._counts: NDArray[np.int64] = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0

    def add_many(self, values: NDArray[np.float64]) -> None:
        """Count values at once; not for the hot path."""
        places = np.searchsorted(self._bounds, values)
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum += float(values.sum())

    def fold(self) -> None:
        """Move what `add` collected into the histogram."""
        if self._new:
            values = np.array(self._new, dtype=np.float64)
            self._new.clear()
            self.add_many(values)

    def count(self) -> int:
        """Values recorded so far."""
        return int(self._counts.sum()) + len(self._new)

    def histogram(self) -> tuple[list[tuple[str, float]], float]:
        """Prometheus' cumulative buckets (upper bound, count) and the sum of the values."""
        self.fold()
        bounds = [str(bound) for bound in self._bounds.tolist()] + ["+Inf"]
        totals = np.cumsum(self._counts).tolist()
        return list(zip(bounds, map(float, totals), strict=True)), self._sum


class LatencyRecorder(Distribution):
    """A distribution of durations in seconds that keeps the newest of them too."""

    def __init__(self, bounds: Sequence[float] = BOUNDS_SECONDS) -> None:
        super().__init__(bounds)
        self._recent: NDArray[np.float64] = np.empty(0)

    def add_many(self, values: NDArray[np.float64]) -> None:
        """Count values at once, the newest last."""
        super().add_many(values)
        self._recent = np.concatenate((self._recent, values))[-_RECENT:]

    def percentiles_ms(self, newest: int = _RECENT) -> dict[str, float | None]:
        """p50 and p99 in milliseconds over the newest durations (at most 8 192)."""
        self.fold()
        return percentiles_ms(self._recent[-newest:] if newest else self._recent[:0])
