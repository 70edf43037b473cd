"""A hash map from int64 keys to int64 values in one array: open addressing, stored keys compared.

The whole key is stored and compared, so two ids never share an entry: Liu et al., "Monolith: Real
Time Recommendation System With Collisionless Embedding Table" (2022, arXiv:2209.07663), section
2.1, which uses cuckoo hashing; linear probing at a low load has the same guarantee and one cache
miss a look-up.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

EMPTY = -1
"""No key, and no value: keys and values are 0 or more."""

_SMALLEST = 64
_kernel = numba.njit(cache=True, nogil=True, error_model="numpy")


class IdMap:
    """Grows by doubling; at most half of `slots` (capacity, 2) of key and value are taken."""

    def __init__(self, slots: NDArray[np.int64] | None = None, count: int = 0) -> None:
        self.slots = _empty(_SMALLEST) if slots is None else slots
        self.count = count

    @classmethod
    def of(cls, keys: NDArray[np.int64], values: NDArray[np.int64]) -> IdMap:
        """The map of these keys, each once, to their values."""
        made = cls()
        made.reserve(len(keys))
        insert_many(made.slots, keys, values)
        made.count = len(keys)
        return made

    def reserve(self, more: int) -> None:
        """Make room for so many further keys."""
        capacity = len(self.slots)
        while capacity < 2 * (self.count + more):
            capacity *= 2
        if capacity > len(self.slots):
            keys, values = self.items()
            self.slots = _empty(capacity)
            insert_many(self.slots, keys, values)

    def items(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keys in ascending order, and their values."""
        taken = self.slots[self.slots[:, 0] != EMPTY]
        taken = taken[np.argsort(taken[:, 0])]
        return np.ascontiguousarray(taken[:, 0]), np.ascontiguousarray(taken[:, 1])

    def put(self, keys: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        """Set the values of keys, new ones or old."""
        self.reserve(len(keys))
        self.count += insert_many(self.slots, keys, values)

    def drop(self, keys: NDArray[np.int64]) -> None:
        """Forget keys; those that are not there are passed over."""
        self.count -= remove_many(self.slots, keys)

    def copy(self) -> IdMap:
        """A map of its own with the same entries."""
        return IdMap(self.slots.copy(), self.count)


def _empty(capacity: int) -> NDArray[np.int64]:
    return np.full((capacity, 2), EMPTY, np.int64)


@_kernel
def mix(key: int | np.int64) -> np.uint64:
    """Sixty-four well mixed bits of a key: the finaliser of SplitMix64 (Steele et al., 2014)."""
    bits = np.uint64(key) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@_kernel
def slot_of(slots: NDArray[np.int64], key: int | np.int64) -> np.int64:
    """The slot that has the key, or the empty one where it would go."""
    mask = len(slots) - 1
    at = np.int64(mix(key) & np.uint64(mask))
    while slots[at, 0] != key and slots[at, 0] != EMPTY:
        at = (at + 1) & mask
    return at


@_kernel
def insert_many(
    slots: NDArray[np.int64], keys: NDArray[np.int64], values: NDArray[np.int64]
) -> int:
    """Set the values of keys; how many were new. There must be room."""
    new = 0
    for number in range(len(keys)):
        at = slot_of(slots, keys[number])
        new += slots[at, 0] == EMPTY
        slots[at, 0], slots[at, 1] = keys[number], values[number]
    return new


@_kernel
def remove_many(slots: NDArray[np.int64], keys: NDArray[np.int64]) -> int:
    """Remove keys; how many there were."""
    removed = 0
    for key in keys:
        at = slot_of(slots, key)
        if slots[at, 0] == key:
            _remove(slots, at)
            removed += 1
    return removed


@_kernel
def _remove(slots: NDArray[np.int64], at: np.int64) -> None:
    # Entries behind the gap that a probe would no longer reach move into it: no tombstones, so
    # that look-ups stay as short however often ids come and go.
    mask = len(slots) - 1
    gap = at
    while True:
        at = (at + 1) & mask
        if slots[at, 0] == EMPTY:
            break
        home = np.int64(mix(slots[at, 0]) & np.uint64(mask))
        if ((at - home) & mask) >= ((at - gap) & mask):
            slots[gap, 0], slots[gap, 1] = slots[at, 0], slots[at, 1]
            gap = at
    slots[gap, 0], slots[gap, 1] = EMPTY, EMPTY
