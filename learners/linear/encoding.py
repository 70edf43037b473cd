"""Makes (slot, value) pairs of feature vectors: the inputs of the linear learner's weights."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from learners.learner import Vectors

# Standardised values are cut here: one absurd value must not carry a prediction away.
FARTHEST = 10.0

_BIAS, _FREE = 0, -1
_SMALLEST_INDEX = 64
_MISSING = np.uint64(0x7FC00000)  # every NaN of a categorical column is this one category

Pairs = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
"""Where each row begins, int64 (rows + 1,); slots and values of all pairs. Slot -1 never occurs."""


class Encoder:
    """Slot 0 is the bias, then two slots per numeric column, then the categories' slots.

    A numeric value is standardised and goes to the column's first slot; a missing one is 1 in the
    second. Mean and spread are those of the release, or else Welford's (Technometrics 1962) over
    the examples learned so far, so that they depend on nothing but the examples' order. A category
    is 1 in a slot of its own: hashed to one of 2^`hash_bits` (Weinberger et al., "Feature Hashing
    for Large Scale Multitask Learning", ICML 2009), or without `hash_bits` numbered when it is
    first learned; one that was never learned has no slot yet and counts nothing.
    """

    def __init__(
        self,
        names: Sequence[str],
        categorical: Sequence[str],
        hash_bits: int | None,
        moments: NDArray[np.float64] | None = None,
        keys: NDArray[np.uint64] | None = None,
    ) -> None:
        self.hash_bits = hash_bits
        self.fixed = moments is not None
        """True when mean and spread are the release's and stay as they are."""
        self.moments = np.zeros((len(names), 3)) if moments is None else moments
        """Count, mean and sum of squared deviations of each column, float64 (columns, 3)."""
        self._fork = self.moments.copy()
        self._numeric = np.array([name not in categorical for name in names], np.bool_)
        self._base = 1 + 2 * int(self._numeric.sum())
        self._mask = np.uint64(0 if hash_bits is None else (1 << hash_bits) - 1)
        self.known = 0
        """Categories that have a slot of their own."""
        self._make_index(_SMALLEST_INDEX)
        self.add(np.empty(0, np.uint64) if keys is None else keys)

    @property
    def slots(self) -> int:
        """How many slots there are; grows only without `hash_bits`."""
        return self._base + (self.known if self.hash_bits is None else 1 << self.hash_bits)

    @property
    def keys(self) -> NDArray[np.uint64]:
        """The numbered categories in the order of their slots: column << 32 | float32 bits."""
        used = self._slots != _FREE
        keys = np.empty(self.known, np.uint64)
        keys[self._slots[used]] = self._keys[used]
        return keys

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Number these categories, as many as are new, in this order."""
        self._make_room(len(keys))
        for key in keys:
            self.known = int(_number(key, self._keys, self._slots, self.known))

    def clone(self) -> Encoder:
        """An encoder of its own that knows the same."""
        twin = object.__new__(Encoder)
        twin.__dict__.update(self.__dict__)
        twin.moments, twin._fork = self.moments.copy(), self.moments.copy()
        twin._keys, twin._slots = self._keys.copy(), self._slots.copy()
        return twin

    def places(self, other: Encoder) -> NDArray[np.int64]:
        """The slots here of all slots of another that knows no category this one does not."""
        first = np.arange(other.slots - (other.known if self.hash_bits is None else 0))
        known = [self._slots[_place(key, self._keys, self._slots)] for key in other.keys]
        return np.concatenate([first, self._base + np.array(known, np.int64)])

    def merge(self, others: Sequence[Encoder]) -> None:
        """Take in what others saw since they were cloned: their sums are added up."""
        if self.fixed:
            return
        parts = [_sums(part.moments) - _sums(part._fork) for part in others]
        sums = _sums(self.moments) + sum(parts)
        counts = np.maximum(sums[:, 0], 1)
        spread = np.maximum(sums[:, 2] - sums[:, 1] ** 2 / counts, 0)
        self.moments[:] = np.stack([sums[:, 0], sums[:, 1] / counts, spread], axis=1)

    def encode(self, vectors: Vectors) -> Pairs:
        """The pairs of vectors (rows, columns), changing nothing. ValueError for other widths."""
        return self._encode(vectors, np.empty(0))

    def learn(self, vectors: Vectors, weights: NDArray[np.float64]) -> Pairs:
        """`encode`, row by row, taking in each row of a weight over 0 after it was encoded.

        Its own categories are numbered first: what is learned of a row needs their slots.
        """
        if self.hash_bits is None:
            self._make_room(vectors.size)
        return self._encode(vectors, weights)

    def _encode(self, vectors: Vectors, weights: NDArray[np.float64]) -> Pairs:
        if vectors.ndim != 2 or vectors.shape[1] != len(self._numeric):
            allowed = f"(rows, {len(self._numeric)})"
            raise ValueError(f"vectors: found shape {vectors.shape}; allowed: {allowed}")
        # One array type is one compiled kernel: a read-only or strided array would compile another.
        vectors = np.require(vectors, np.float32, ("C", "W"))
        rows, width = len(vectors), 1 + len(self._numeric)
        slots = np.empty((rows, width), np.int32)
        values = np.empty((rows, width), np.float32)
        self.known = int(
            _encode(
                vectors, vectors.view(np.uint32), weights, self._numeric, self.moments, self.fixed,
                self._base, self.hash_bits is not None, self._mask, self._keys, self._slots,
                self.known, slots, values,
            )
        )  # fmt: skip
        return np.arange(rows + 1) * width, slots.ravel(), values.ravel()

    def _make_index(self, places: int) -> None:
        self._keys = np.zeros(places, np.uint64)
        self._slots = np.full(places, _FREE, np.int32)

    def _make_room(self, more: int) -> None:
        """Keep the open-addressing index at most half full."""
        places = len(self._slots)
        if 2 * (self.known + more) <= places:
            return
        while 2 * (self.known + more) > places:
            places *= 2
        keys = self.keys
        self._make_index(places)
        _index_all(keys, self._keys, self._slots)


def _sums(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count, sum and sum of squares of each column."""
    counts, means, squares = moments.T
    return np.stack([counts, counts * means, squares + counts * means**2], axis=1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mixed(key: np.uint64) -> np.uint64:
    """Steele, Lea and Flood's SplitMix64 finaliser (OOPSLA 2014): near keys part."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _place(key: np.uint64, keys: NDArray[np.uint64], slots: NDArray[np.int32]) -> int:
    """Where a key is in the index, or where it would go."""
    last = np.uint64(len(keys) - 1)
    place = _mixed(key) & last
    while slots[place] != _FREE and keys[place] != key:
        place = (place + np.uint64(1)) & last
    return int(np.int64(place))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _number(key: np.uint64, keys: NDArray[np.uint64], slots: NDArray[np.int32], known: int) -> int:
    """Number a key unless it has a number; how many are known then."""
    place = _place(key, keys, slots)
    if slots[place] != _FREE:
        return known
    keys[place], slots[place] = key, known
    return known + 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _index_all(
    ordered: NDArray[np.uint64], keys: NDArray[np.uint64], slots: NDArray[np.int32]
) -> None:
    for number in range(len(ordered)):
        _number(ordered[number], keys, slots, number)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _encode(  # noqa: PLR0913  a kernel takes arrays, not objects
    vectors: NDArray[np.float32],
    bits: NDArray[np.uint32],
    weights: NDArray[np.float64],
    numeric: NDArray[np.bool_],
    moments: NDArray[np.float64],
    fixed: bool,
    base: int,
    hashed: bool,
    mask: np.uint64,
    keys: NDArray[np.uint64],
    numbers: NDArray[np.int32],
    known: int,
    slots: NDArray[np.int32],
    values: NDArray[np.float32],
) -> int:
    """Fill `slots` and `values` (rows, 1 + columns); without `weights` nothing is taken in."""
    for row in range(len(vectors)):
        learning = len(weights) > 0 and weights[row] > 0
        slots[row, 0], values[row, 0] = _BIAS, 1
        slot = 1
        for column in range(len(numeric)):
            value = vectors[row, column]
            if numeric[column]:
                known_value = np.isfinite(value)
                slots[row, column + 1] = slot if known_value else slot + 1
                values[row, column + 1] = 1
                if known_value:
                    values[row, column + 1] = _standardised(value, moments, column)
                    if learning and not fixed:
                        _take_in(value, moments, column)
                slot += 2
                continue
            key = np.uint64(bits[row, column])
            if value != value:
                key = _MISSING
            elif value == 0:
                key = np.uint64(0)  # -0.0 is the same category
            key |= np.uint64(column) << np.uint64(32)
            values[row, column + 1] = 1
            if hashed:
                slots[row, column + 1] = base + np.int64(_mixed(key) & mask)
                continue
            if learning:
                known = _number(key, keys, numbers, known)
            number = numbers[_place(key, keys, numbers)]
            slots[row, column + 1] = _BIAS if number == _FREE else base + number
            if number == _FREE:
                values[row, column + 1] = 0
    return known


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _standardised(value: float, moments: NDArray[np.float64], column: int) -> float:
    squares = moments[column, 2]
    if squares <= 0:
        return 0.0
    scaled = (value - moments[column, 1]) / np.sqrt(squares / moments[column, 0])
    return float(min(max(scaled, -FARTHEST), FARTHEST))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _take_in(value: float, moments: NDArray[np.float64], column: int) -> None:
    moments[column, 0] += 1
    distance = value - moments[column, 1]
    moments[column, 1] += distance / moments[column, 0]
    moments[column, 2] += distance * (value - moments[column, 1])
