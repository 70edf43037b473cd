"""The one kernel: fold events into tiles, and finalise tiles into features at a moment.

A window of length W at time t covers the tiles floor((t - W) / step) to floor(t / step): its head
is exact, its tail rounded down to the tile's step (sawtooth windows; Chronon, "Windowing"). The
same two functions run in the worker, in the api, in replay and in backfill. Compiled with numba;
both release the GIL.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

COUNT, SUM, MEAN, MINIMUM, MAXIMUM, LAST, AGE = range(7)


@njit(cache=True, nogil=True)
def fold(  # noqa: PLR0913 - a compiled kernel takes its tables one by one
    words: NDArray[np.int32],
    slots: NDArray[np.int64],
    times: NDArray[np.int64],
    values: NDArray[np.float32],
    rings: NDArray[np.int64],
    lasts: NDArray[np.int64],
) -> int:
    """Fold events into an arena's rows, in place; returns how many values came too late.

    words (rows, words): the arena; slots (n,): each event's row; times (n,) in ms; values (n,
    series) with NaN for what the series does not take; rings and lasts as in `GroupPlan`.
    """
    floats = words.view(np.float32)
    longs = words.view(np.int64)
    late = 0
    for i in range(slots.shape[0]):
        row, time = slots[i], times[i]
        if time > longs[row, 0]:
            longs[row, 0] = time
        for r in range(lasts.shape[0]):
            value = values[i, lasts[r, 0]]
            at = lasts[r, 1]
            if not np.isnan(value) and time >= longs[row, at // 2]:
                longs[row, at // 2] = time
                floats[row, at + 2] = value
        for r in range(rings.shape[0]):
            value = values[i, rings[r, 0]]
            if np.isnan(value):
                continue
            at, tiles, tile = rings[r, 1], rings[r, 2], time // rings[r, 3]
            count, total, least, most = rings[r, 4], rings[r, 5], rings[r, 6], rings[r, 7]
            width = max(max(count, total), max(least, most)) + 1
            newest = np.int64(words[row, at]) - 1
            if tile <= newest - tiles:
                late += 1
                continue
            for fresh in range(max(newest + 1, tile - tiles + 1), tile + 1):
                base = at + 1 + (fresh % tiles) * width
                for k in range(width):
                    floats[row, base + k] = 0.0
                if least >= 0:
                    floats[row, base + least] = np.inf
                if most >= 0:
                    floats[row, base + most] = -np.inf
            if tile > newest:
                words[row, at] = tile + 1
            base = at + 1 + (tile % tiles) * width
            if count >= 0:
                floats[row, base + count] += np.float32(1.0)
            if total >= 0:
                floats[row, base + total] += value
            if least >= 0:
                floats[row, base + least] = min(floats[row, base + least], value)
            if most >= 0:
                floats[row, base + most] = max(floats[row, base + most], value)
    return late


@njit(cache=True, nogil=True)
def finalise(
    words: NDArray[np.int32],
    slots: NDArray[np.int64],
    times: NDArray[np.int64],
    features: NDArray[np.int64],
    matrix: NDArray[np.float32],
) -> None:
    """Write every feature of every request into `matrix` (n, all features), in its output column.

    slots (n,): the entity's row, -1 for an entity never seen; times (n,): the requests' moments in
    ms. A count or sum over nothing is 0; a mean, min, max, last or age of nothing is NaN; age is in
    seconds. Tiles after the request's own are not read.
    """
    floats = words.view(np.float32)
    longs = words.view(np.int64)
    for i in range(slots.shape[0]):
        row, time = slots[i], times[i]
        for f in range(features.shape[0]):
            output, code, at = features[f, 0], features[f, 1], features[f, 2]
            if row < 0:
                matrix[i, output] = 0.0 if code <= SUM else np.nan
                continue
            if code >= LAST:
                seen = longs[row, at // 2]
                if seen == 0 or seen > time or time - seen > features[f, 5]:
                    matrix[i, output] = np.nan
                elif code == LAST:
                    matrix[i, output] = floats[row, at + 2]
                else:
                    matrix[i, output] = (time - seen) / 1000.0
                continue
            tiles, step, width = features[f, 3], features[f, 4], features[f, 6]
            first, second = features[f, 7], features[f, 8]
            newest = np.int64(words[row, at]) - 1
            low = max((time - features[f, 5]) // step, newest - tiles + 1, 0)
            high = min(time // step, newest)
            a, b = 0.0, 0.0
            if code == MINIMUM:
                a = np.inf
            elif code == MAXIMUM:
                a = -np.inf
            for tile in range(low, high + 1):
                base = at + 1 + (tile % tiles) * width
                partial = floats[row, base + first]
                if code == MINIMUM:
                    a = min(a, partial)
                elif code == MAXIMUM:
                    a = max(a, partial)
                else:
                    a += partial
                    if code == MEAN:
                        b += floats[row, base + second]
            if code == MEAN:
                matrix[i, output] = b / a if a > 0 else np.nan
            elif code >= MINIMUM:
                matrix[i, output] = a if np.isfinite(a) else np.nan
            else:
                matrix[i, output] = a
