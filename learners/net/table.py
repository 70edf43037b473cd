"""Embeddings of ids that come and go: who gets a row, who loses it, and what changed since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numba
import numpy as np
from numpy.typing import NDArray

from learners.net.id_map import EMPTY, IdMap, mix, slot_of

RARE = -2
"""The key of a column's own row, which stands for all ids of the column that have none."""

FIRST_SUM = 0.1  # of squared slopes in a new row; TensorFlow's AdaGrad starts there as well
_SWEEPS = 8  # in the life of an untouched row: it is freed at most an eighth late
FIRST_SPREAD = 0.1  # embeddings start between minus and plus this
_SMALLEST = 64
_LINE = 16  # float32 in 64 bytes
_ARRAYS = ("rows", "keys", "touched", "marks", "changed")
_kernel = numba.njit(cache=True, nogil=True, error_model="numpy")

Keys = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Turnover:
    """Who gets a row: ids seen `admit_after` times, `max_rows` of them, not idle too long.

    `expires_after` counts learned examples; None keeps rows for ever. What a row starts with
    depends on `seed` and its key alone.
    """

    admit_after: int
    expires_after: int | None
    max_rows: int
    seed: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a table: numbers in ascending order, keys, last use, embeddings with sums.

    A row with the key EMPTY is free.
    """

    numbers: NDArray[np.int64]
    keys: Keys
    touched: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Ids without a row and how often each was seen; `whole`: there are no others."""

    keys: Keys
    counts: NDArray[np.int64]
    whole: bool


class EmbeddingTable:
    """One row of `width` weights and as many AdaGrad sums for each id that earned it.

    Liu et al., "Monolith" (2022, arXiv:2209.07663), section 2.1: a hash map without collisions, ids
    admitted once they were seen often enough, rows idle too long freed and used again. Rows 0 to
    `columns` - 1 stand for the ids of a column that have no row of their own.
    """

    def __init__(self, columns: int, width: int, turnover: Turnover) -> None:
        self.columns, self.width, self.turnover = columns, width, turnover
        self.index, self.candidates = IdMap(), IdMap()
        self.used = columns
        self._free: NDArray[np.int64] = np.empty(0, np.int64)  # below `used`; the lowest last
        self._counted: list[Keys] = []
        self._counted_length = 0
        self._counted_all = False
        self._allocate(max(_SMALLEST, columns))
        self.keys[:columns] = RARE
        self.rows[:columns, width:] = FIRST_SUM

    def _allocate(self, capacity: int) -> None:
        self.rows = _aligned(capacity, 2 * self.width)
        self.keys = np.full(capacity, EMPTY, np.int64)
        self.touched = np.zeros(capacity, np.int64)
        self.marks = np.full(capacity, -1, np.int32)
        self.changed = np.zeros(capacity, np.bool_)

    def __len__(self) -> int:
        """How many ids have a row."""
        return self.index.count

    def copy(self) -> Self:
        """A table of its own with the same state."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.index, made.candidates = self.index.copy(), self.candidates.copy()
        made._counted = list(self._counted)
        made._allocate(len(self.keys))
        for name in _ARRAYS:
            getattr(made, name)[:] = getattr(self, name)
        return made

    def learned(self, touched: NDArray[np.int64], unknown: Keys, before: int, now: int) -> None:
        """After examples `before` to `now`: rows `touched` by them, and ids that had no row."""
        self.touched[touched] = now
        self.changed[touched] = True
        self._expire(before, now)
        if len(unknown):
            self._count(unknown, now)

    def _expire(self, before: int, now: int) -> None:
        after = self.turnover.expires_after
        if after is None or before // max(1, after // _SWEEPS) == now // max(1, after // _SWEEPS):
            return
        keys = self.keys[: self.used]
        gone = np.flatnonzero((keys >= 0) & (self.touched[: self.used] < now - after))
        if len(gone):
            self.index.drop(keys[gone])
            self._empty(gone)
            self.changed[gone] = True
            self._find_free()

    def _empty(self, numbers: NDArray[np.int64]) -> None:
        self.keys[numbers], self.touched[numbers], self.rows[numbers] = EMPTY, 0, 0

    def _find_free(self) -> None:
        # Always the lowest free row is taken next: then which one it is follows from the keys.
        self._free = np.flatnonzero(self.keys[: self.used] == EMPTY)[::-1].astype(np.int64)

    def _count(self, unknown: Keys, now: int) -> None:
        if self.candidates.count + len(unknown) > max(self.turnover.max_rows, len(unknown)):
            # Counting starts again: the ids worth a row come back soon, and memory has an end.
            self.candidates = IdMap()
            self._counted_all = True
        self.candidates.reserve(len(unknown))
        ready, new = _count_up(self.candidates.slots, unknown, self.turnover.admit_after)
        self.candidates.count += new
        self._remember(unknown)
        if len(ready):
            self._admit(ready, now)

    def _remember(self, counted: Keys) -> None:
        self._counted.append(counted)
        self._counted_length += len(counted)
        if self._counted_all or self._counted_length > 2 * self.turnover.max_rows:
            self._counted, self._counted_length, self._counted_all = [], 0, True

    def _admit(self, ready: Keys, now: int) -> None:
        places = self._take(len(ready))
        admitted, refused = ready[: len(places)], ready[len(places) :]
        self.candidates.drop(ready)
        if self.turnover.admit_after > 1:  # the next time it is seen it asks again
            self.candidates.put(refused, np.full(len(refused), self.turnover.admit_after - 1))
        self.index.put(admitted, places)
        self.keys[places], self.touched[places], self.changed[places] = admitted, now, True
        self.rows[places, : self.width] = self.first_values(admitted)
        self.rows[places, self.width :] = FIRST_SUM

    def _take(self, count: int) -> NDArray[np.int64]:
        split = max(len(self._free) - count, 0)
        reused, self._free = self._free[split:][::-1], self._free[:split]
        limit = max(self.turnover.max_rows + self.columns, self.used)
        end = min(self.used + count - len(reused), limit)
        fresh = np.arange(self.used, end, dtype=np.int64)
        self._grow(end)
        self.used = end
        return np.concatenate([reused, fresh])

    def _grow(self, needed: int) -> None:
        capacity = len(self.keys)
        if needed <= capacity:
            return
        old = {name: getattr(self, name) for name in _ARRAYS}
        while capacity < needed:
            capacity *= 2
        self._allocate(capacity)
        for name, array in old.items():
            getattr(self, name)[: len(array)] = array

    def first_values(self, keys: Keys) -> NDArray[np.float32]:
        """What the embeddings of ids start with (ids, width)."""
        return _first_values(keys, self.width, self.turnover.seed)

    def all_rows(self) -> Rows:
        """Every row that is not free."""
        return self._rows(np.flatnonzero(self.keys[: self.used] != EMPTY))

    def changed_rows(self) -> Rows:
        """Those that were used, given or freed since `settle`."""
        return self._rows(np.flatnonzero(self.changed[: self.used]))

    def _rows(self, numbers: NDArray[np.int64]) -> Rows:
        return Rows(numbers, self.keys[numbers], self.touched[numbers], self.rows[numbers])

    def all_candidates(self) -> Candidates:
        """Every id that waits for a row."""
        return Candidates(*self.candidates.items(), whole=True)

    def changed_candidates(self) -> Candidates:
        """Ids counted since `settle`; a count of 0 stands for one that waits no longer."""
        if self._counted_all:
            return self.all_candidates()
        keys = np.unique(np.concatenate([np.empty(0, np.int64), *self._counted]))
        return Candidates(keys, _counts_of(self.candidates.slots, keys), whole=False)

    def settle(self) -> None:
        """From here on changes are counted anew."""
        self.changed[:] = False
        self._counted, self._counted_length, self._counted_all = [], 0, False

    def put(self, rows: Rows, candidates: Candidates) -> None:
        """Set some rows and candidates, as `all_…` or `changed_…` of another table gave them."""
        if len(rows.numbers):
            end = int(rows.numbers[-1]) + 1
            self._grow(end)
            self.used = max(self.used, end)
        old = self.keys[rows.numbers]
        self.index.drop(old[old >= 0])
        new = rows.keys >= 0
        self.index.put(rows.keys[new], rows.numbers[new])
        self.keys[rows.numbers], self.touched[rows.numbers] = rows.keys, rows.touched
        self.rows[rows.numbers] = rows.values
        self._find_free()
        if candidates.whole:
            self.candidates = IdMap()
        waiting = candidates.counts > 0
        self.candidates.drop(candidates.keys[~waiting])
        self.candidates.put(candidates.keys[waiting], candidates.counts[waiting])

    def squared_distance(self, start: Self | None) -> float:
        """Summed squares of how far embeddings are from `start`'s, else from their first values."""
        rows = self.all_rows()
        first = np.zeros((len(rows.keys), self.width), np.float32)
        ids = rows.keys >= 0
        first[ids] = self.first_values(rows.keys[ids])
        if start is not None:
            numbers = rows.numbers[rows.numbers < start.used]  # the first ones: they are in order
            shared = np.flatnonzero(start.keys[numbers] == rows.keys[: len(numbers)])
            first[shared] = start.rows[numbers[shared], : self.width]
        return float(((rows.values[:, : self.width] - first).astype(np.float64) ** 2).sum())


def _aligned(rows: int, width: int) -> NDArray[np.float32]:
    """Zeros that begin at a cache line: a row of 8 weights and 8 sums is then one line, not two."""
    room = np.zeros(rows * width + _LINE, np.float32)
    start = -(room.ctypes.data // room.itemsize) % _LINE
    return room[start : start + rows * width].reshape(rows, width)


@_kernel
def unknown_keys(found: NDArray[np.int64], keys: Keys, columns: int) -> Keys:
    """The keys that were found in a column's own row, in their order."""
    unknown = np.empty(keys.size, np.int64)
    count = 0
    for row in range(len(found)):
        for column in range(columns):
            if found[row, column] < columns:
                unknown[count] = keys[row, column]
                count += 1
    return unknown[:count].copy()


@_kernel
def _count_up(slots: Keys, keys: Keys, admit_after: int) -> tuple[Keys, int]:
    """Count every key once more; those that were now seen often enough, and how many are new."""
    ready = np.empty(len(keys), np.int64)
    count = new = 0
    for key in keys:
        at = slot_of(slots, key)
        if slots[at, 0] == EMPTY:
            slots[at, 0], slots[at, 1] = key, 0
            new += 1
        slots[at, 1] += 1
        if slots[at, 1] == admit_after:
            ready[count] = key
            count += 1
    return ready[:count].copy(), new


@_kernel
def _counts_of(slots: Keys, keys: Keys) -> NDArray[np.int64]:
    counts = np.zeros(len(keys), np.int64)
    for number in range(len(keys)):
        at = slot_of(slots, keys[number])
        if slots[at, 0] != EMPTY:
            counts[number] = slots[at, 1]
    return counts


@_kernel
def _first_values(keys: Keys, width: int, seed: int) -> NDArray[np.float32]:
    values = np.empty((len(keys), width), np.float32)
    for number in range(len(keys)):
        bits = mix(np.int64(mix(keys[number])) ^ np.int64(seed))
        for j in range(width):
            bits = mix(np.int64(bits))
            unit = np.float64(bits >> np.uint64(11)) * 2.0**-52 - 1
            values[number, j] = FIRST_SPREAD * unit
    return values
