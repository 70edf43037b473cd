"""Which leaf of each tree a feature vector falls into: many trees at a time, without branches.

A walk down one tree is a chain of loads, each waiting for the one before, and where the processor
guesses the way instead it is wrong half of the time. So trees are walked together: a step is
computed, never guessed, and while one tree waits the others go on (Asadi, Lin and de Vries,
"Runtime Optimizations for Tree-Based Machine Learning Models", IEEE TKDE 2014, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from learners.learner import Vectors
from learners.tree_arrays import TreeArrays

LANES = 8  # trees walked together: the deepest of them is waited for
CHUNK = 16  # rows that the same trees are walked for while they are in the cache

# Of a place for a node or a leaf: the largest key that goes left, where the feature's key lies,
# the place of the left child (the right one's is next), and the number of the leaf. A leaf's child
# is itself, and no key is above its own.
_KEY, _FEATURE, _LEFT, _LEAF = range(4)
_LOWEST, _HIGHEST = np.int32(-(2**31)), np.int32(2**31 - 1)
_MAGNITUDE, _INFINITY = np.int32(0x7FFFFFFF), np.int32(0x7F800000)
_NO_CODE = np.uint32(2**32 - 1)


@dataclass(frozen=True, slots=True)
class TreeWalk:
    """All trees of a model in the shape that the kernel walks; read only.

    A value's key is an int32 in the order of float32. Each feature has two: they differ where the
    value is missing, the first lies below all and the second above all, so that a node's direction
    for missing values is which of the two it compares.
    """

    roots: NDArray[np.int32]  # (trees,) places
    places: NDArray[np.int32]  # (places, 4)
    # (places, 2) where there are categorical nodes: the first of a node's words in bits, and how
    # many; a category whose bit is set goes left
    sets: NDArray[np.int32] | None
    bits: NDArray[np.uint32] | None

    @classmethod
    def of(cls, arrays: TreeArrays) -> TreeWalk:
        """The same trees; nothing is shared but `bits`."""
        nodes, trees = len(arrays.split_features), len(arrays.leaf_counts)
        places = np.empty((2 * nodes + trees, 4), np.int32)
        roots = np.empty(trees, np.int32)
        categorical = bool(arrays.words.any())
        sets = np.zeros((len(places) if categorical else 0, 2), np.int32)
        _lay_out(
            arrays.leaf_counts, arrays.children, arrays.split_features,
            rounded_down(arrays.thresholds).view(np.int32), arrays.missing_right,
            arrays.first_word, arrays.words, len(arrays.features), roots, places, sets,
        )  # fmt: skip
        both = (sets, arrays.bits) if categorical else (None, None)
        return cls(roots, places, *both)

    def leaves(self, vectors: Vectors) -> NDArray[np.int32]:
        """The leaf of every tree for each of the vectors (rows, features): int32 (rows, trees)."""
        # One array type is one compiled kernel: a read-only or strided array would compile another.
        if vectors.dtype != np.float32 or not vectors.flags.carray:
            vectors = np.require(vectors, np.float32, ("C", "A", "W"))
        numbers = np.empty((len(vectors), len(self.roots)), np.int32)
        _walk(vectors, self.roots, self.places, self.sets, self.bits, numbers)
        return numbers


@numba.njit(cache=True, nogil=True, error_model="numpy")
def rounded_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each: a float32 value is above both or above neither."""
    rounded = thresholds.astype(np.float32)
    for place in range(len(rounded)):
        if rounded[place] > thresholds[place]:
            rounded[place] = np.nextafter(rounded[place], np.float32(-np.inf))
    return rounded


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _key(pattern: np.int32) -> np.int32:
    """A float32's bits as a number in the order of the values; both zeros are 0."""
    if pattern & _MAGNITUDE == 0:
        return np.int32(0)
    return pattern ^ ((pattern >> np.int32(31)) & _MAGNITUDE)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _lay_out(  # noqa: PLR0913  a kernel takes arrays, not objects
    leaf_counts: NDArray[np.int32],
    children: NDArray[np.int32],
    split_features: NDArray[np.int32],
    thresholds: NDArray[np.int32],
    missing_right: NDArray[np.bool_],
    first_word: NDArray[np.int32],
    words: NDArray[np.int32],
    width: int,
    roots: NDArray[np.int32],
    places: NDArray[np.int32],
    sets: NDArray[np.int32],
) -> None:
    # A tree has a place for its root, then two for each node's children, in the nodes' order: those
    # split first, which most rows pass, lie together.
    place_of = np.empty(len(children), np.int32)
    node = leaf = 0
    for tree in range(len(leaf_counts)):
        roots[tree] = 2 * node + tree
        if leaf_counts[tree] == 1:
            _put_leaf(places, roots[tree], leaf)
        else:
            place_of[node] = roots[tree]
        leaf += leaf_counts[tree]
        for _ in range(leaf_counts[tree] - 1):  # a parent comes before its children
            place, left = place_of[node], 2 * node + tree + 1
            places[place, _KEY] = _key(thresholds[node])
            places[place, _FEATURE] = split_features[node] + (width if missing_right[node] else 0)
            places[place, _LEFT], places[place, _LEAF] = left, 0
            if words[node] > 0:
                places[place, _KEY] = _LOWEST  # always right, but for the categories of the set
                sets[place] = first_word[node], words[node]
            for side in range(2):
                child = children[node, side]
                if child < 0:
                    _put_leaf(places, left + side, ~child)
                else:
                    place_of[child] = left + side
            node += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _put_leaf(places: NDArray[np.int32], place: int, leaf: int) -> None:
    places[place, _KEY], places[place, _FEATURE] = _HIGHEST, 0
    places[place, _LEFT], places[place, _LEAF] = place, leaf


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _walk(  # noqa: PLR0913  a kernel takes arrays, not objects
    vectors: NDArray[np.float32],
    roots: NDArray[np.int32],
    places: NDArray[np.int32],
    sets: NDArray[np.int32] | None,
    bits: NDArray[np.uint32] | None,
    leaves: NDArray[np.int32],
) -> None:
    rows, trees, width = len(vectors), len(roots), vectors.shape[1]
    chunk = min(CHUNK, rows)
    keys = np.empty((chunk, 2 * width), np.int32)
    codes = np.empty((chunk, 2 * width), np.uint32)  # filled where there are sets
    patterns = vectors.view(np.int32)
    at = np.empty(LANES, np.uintp)
    for begin in range(0, rows, CHUNK):
        end = min(begin + CHUNK, rows)
        for row in range(begin, end):
            _put_keys(patterns[row], keys[row - begin])
            if sets is not None:
                _put_codes(vectors[row], codes[row - begin])
        for first in range(0, trees, LANES):
            for row in range(begin, end):
                key, code = keys[row - begin], codes[row - begin]
                for lane in range(LANES):  # spare lanes walk the last tree again
                    at[lane] = np.uintp(roots[min(first + lane, trees - 1)])
                moved = np.uintp(1)
                while moved:
                    moved = np.uintp(0)
                    for lane in range(LANES):
                        place = _step(places, key, code, sets, bits, at[lane])
                        moved |= place ^ at[lane]
                        at[lane] = place
                for lane in range(min(LANES, trees - first)):
                    leaves[row, first + lane] = places[at[lane], _LEAF]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _step(  # noqa: PLR0913  a kernel takes arrays, not objects
    places: NDArray[np.int32],
    key: NDArray[np.int32],
    code: NDArray[np.uint32],
    sets: NDArray[np.int32] | None,
    bits: NDArray[np.uint32] | None,
    place: np.uintp,
) -> np.uintp:
    # Unsigned places: signed ones are first looked at for counting from the end.
    feature = np.uintp(places[place, _FEATURE])
    right = np.uintp(key[feature] > places[place, _KEY])
    if sets is not None and bits is not None:  # known when compiled
        category = code[feature]
        word = np.uintp(category >> np.uint32(5))
        within = word < np.uintp(sets[place, 1])
        found = bits[np.uintp(sets[place, 0]) + (word if within else np.uintp(0))]
        member = np.uintp(found >> (category & np.uint32(31))) & np.uintp(within)
        right &= member ^ np.uintp(1)
    return np.uintp(places[place, _LEFT]) + right


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _put_keys(patterns: NDArray[np.int32], keys: NDArray[np.int32]) -> None:
    width = len(patterns)
    for feature in range(width):
        pattern = patterns[feature]
        missing = pattern & _MAGNITUDE > _INFINITY
        key = _key(pattern)
        keys[feature] = _LOWEST if missing else key
        keys[width + feature] = _HIGHEST if missing else key


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _put_codes(vector: NDArray[np.float32], codes: NDArray[np.uint32]) -> None:
    width = len(vector)
    for feature in range(width):
        value = vector[feature]
        # NaN fails the comparison; -0.5 is category 0, as in LightGBM's integer cast.
        known = value > -1 and value < np.float32(2**32)
        code = np.uint32(value) if known else _NO_CODE
        codes[feature] = codes[width + feature] = code
