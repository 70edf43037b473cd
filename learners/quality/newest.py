"""The newest examples as columns, so that what is known of them can be changed and cut anew."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Newest:
    """A ring of rows; each keeps its number, counted from 0 in the order in which rows came."""

    def __init__(self, size: int, roles: int, fields: int) -> None:
        self.size, self.seen = size, 0
        self.ids = np.zeros(size, np.int64)
        self.times = np.zeros(size, np.int64)
        self.labels, self.weights = np.zeros(size), np.zeros(size)
        self.scores = np.zeros((roles, size))
        self.codes = np.zeros((fields, size), np.int64)

    def add(self, rows: int, **columns: NDArray[Any]) -> Ints:
        """Take in rows, the last of each column's axes; returns their numbers."""
        numbers: Ints = self.seen + np.arange(rows)
        kept = slice(max(rows - self.size, 0), None)
        places = numbers[kept] % self.size
        for name, values in columns.items():
            getattr(self, name)[..., places] = values[..., kept]
        self.seen += rows
        return numbers

    def newest(self, count: int) -> Ints:
        """The places of the newest rows, in their order."""
        places: Ints = np.arange(max(self.seen - min(count, self.size), 0), self.seen) % self.size
        return places

    def find(self, identity: int) -> int | None:
        """The number of the newest row of this id, None when it has left or never came."""
        held = self.ids[: min(self.seen, self.size)]
        places = np.flatnonzero(held == identity)
        if len(places) == 0:
            return None
        last = self.seen - 1
        return int((last - (last - places) % self.size).max())
