"""Durations that are cheap to record on the hot path and summarised off it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BOUNDS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_FOLD_AT = 4096
_RECENT = 8192


def percentiles_ms(seconds: NDArray[np.float64]) -> dict[str, float | None]:
    """The median and the 99th percentile in milliseconds; None without values."""
    if len(seconds) == 0:
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


class LatencyRecorder:
    """A cumulative histogram and the newest durations, filled from a list that `add` appends to."""

    def __init__(self) -> None:
        self._new: list[float] = []
        self._recent: NDArray[np.float64] = np.empty(0)
        self._counts: NDArray[np.int64] = np.zeros(len(BOUNDS_SECONDS) + 1, dtype=np.int64)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Record one duration; the arithmetic is left to `fold`."""
        self._new.append(seconds)
        if len(self._new) >= _FOLD_AT:
            self.fold()

    def fold(self) -> None:
        """Move what `add` collected into the histogram and the newest durations."""
        if not self._new:
            return
        values = np.array(self._new)
        self._new.clear()
        places = np.searchsorted(BOUNDS_SECONDS, values)
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum += float(values.sum())
        self._recent = np.concatenate((self._recent, values))[-_RECENT:]

    def percentiles_ms(self, newest: int = _RECENT) -> dict[str, float | None]:
        """p50 and p99 in milliseconds over the newest durations (at most 8 192)."""
        self.fold()
        return percentiles_ms(self._recent[-newest:] if newest else self._recent[:0])

    def count(self) -> int:
        """Durations recorded so far."""
        return int(self._counts.sum()) + len(self._new)

    def histogram(self) -> tuple[list[tuple[str, float]], float]:
        """Prometheus' cumulative buckets (upper bound, count) and the sum in seconds."""
        self.fold()
        bounds = [str(bound) for bound in BOUNDS_SECONDS] + ["+Inf"]
        totals = np.cumsum(self._counts).tolist()
        return list(zip(bounds, map(float, totals), strict=True)), self._sum
