"""Stable 64-bit hashes of strings and numbers: what is drawn is drawn again, on any machine."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

MISSING = np.uint64(0x6D697373696E67)  # what a missing value hashes to


def hash_strings(column: pa.ChunkedArray, seed: int = 0) -> NDArray[np.uint64]:
    """FNV-1a of the UTF-8 bytes, then MurmurHash3's finaliser; a missing string is an empty one."""
    parts = [np.empty(0, np.uint64)]
    known = pc.fill_null(column, "") if column.null_count else column
    for chunk in known.chunks:
        if not len(chunk):
            continue
        _, ends, data = chunk.buffers()
        places = np.frombuffer(ends, np.int32)[chunk.offset :][: len(chunk) + 1]
        text = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
        parts.append(_strings(places, text, np.uint64(seed)))
    return np.concatenate(parts)


def hash_numbers(values: NDArray[np.float64], seed: int = 0) -> NDArray[np.uint64]:
    """A hash of each number; every NaN is the same missing value."""
    bits = (values.astype(np.float64) + 0.0).view(np.uint64)
    return np.where(np.isnan(values), MISSING, mixed(bits, np.uint64(seed)))


def mixed(left: NDArray[np.uint64], right: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """One hash of two."""
    found = left * np.uint64(0x9E3779B97F4A7C15) ^ right
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        found = (found ^ (found >> np.uint64(33))) * np.uint64(factor)
    result: NDArray[np.uint64] = found ^ (found >> np.uint64(33))
    return result


def share_of(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The hashes as numbers from 0 up to 1, evenly."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


@njit(cache=True, nogil=True)
def _strings(
    places: NDArray[np.int32], text: NDArray[np.uint8], seed: np.uint64
) -> NDArray[np.uint64]:
    found = np.empty(len(places) - 1, np.uint64)
    for row in range(len(found)):
        value = np.uint64(0xCBF29CE484222325) ^ (seed * np.uint64(0x9E3779B97F4A7C15))
        for at in range(places[row], places[row + 1]):
            value = (value ^ np.uint64(text[at])) * np.uint64(0x100000001B3)
        value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
        found[row] = value ^ (value >> np.uint64(33))
    return found
