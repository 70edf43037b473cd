"""The most frequent values: Misra and Gries' counters."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np

COUNTERS = 64
MOST = 2**32 - 1  # a counter that reached it stays there


class MisraGries:
    """One tile's frequent values.

    Misra and Gries, "Finding repeated elements" (1982), with 64 counters: exact while there are no
    more than 64 different values; else a value's count is too low by at most N / 65 after N values,
    so every value seen more often than that is kept. A sketch takes 8 bytes for each value kept.
    """

    def __init__(self, payload: bytes = b"", seed: int = 0) -> None:
        self._counts = dict(_counters(payload))

    def add(self, value: float) -> None:
        """Take one value, which is not NaN; 0.0 and -0.0 are the same."""
        counts = self._counts
        if value in counts:
            counts[value] = min(counts[value] + 1, MOST)
        elif len(counts) < COUNTERS:
            counts[value + 0.0] = 1
        else:  # each of 65 different values loses one, the new one its only one
            self._counts = {kept: count - 1 for kept, count in counts.items() if count > 1}

    def encode(self) -> bytes:
        """The counters in the order of their values: a function of the sequence of values alone."""
        values = sorted(self._counts)
        counts = [self._counts[value] for value in values]
        return struct.pack(f"<{len(values)}f{len(values)}I", *values, *counts)


def top(payloads: Iterable[bytes], k: int) -> list[float]:
    """The k values with the highest counts over all tiles, ties by value; NaN where there are less.

    A count is too low by at most N / 65, N being the number of values in all tiles.
    """
    parts = [payload for payload in payloads if payload]
    if not parts:
        return [float("nan")] * k
    halves = [(payload, len(payload) // 8) for payload in parts]
    seen = np.concatenate([np.frombuffer(p, "<f4", kept) for p, kept in halves])
    counts = np.concatenate([np.frombuffer(p, "<u4", kept, 4 * kept) for p, kept in halves])
    values, places = np.unique(seen, return_inverse=True)
    totals = np.bincount(places, counts)
    order = np.lexsort((values, -totals))[:k]
    ordered: list[float] = values[order].tolist()
    return ordered + [float("nan")] * (k - len(ordered))


def _counters(payload: bytes) -> Iterable[tuple[float, int]]:
    kept = len(payload) // 8
    numbers = struct.unpack(f"<{kept}f{kept}I", payload)
    return zip(numbers[:kept], numbers[kept:], strict=True)
