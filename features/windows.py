"""The one kernel: fold events into an entity's state, and finalise it into features at a moment.

A window of length W at time t covers the tiles floor((t - W) / step) to floor(t / step): its head
is exact, its tail rounded down to the tile's step (sawtooth windows; Chronon, "Windowing"). The
same two functions run in the worker, in the api, in replay and in backfill. Compiled with numba;
both release the GIL. The tables are those of `features/plan.py`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

COUNT, SUM, MEAN, MINIMUM, MAXIMUM, VARIANCE, DEVIATION, FIRST, RATIO, RATE = range(10)
LAST, AGE, DECAYED_COUNT, DECAYED_SUM, DECAYED_MEAN = range(10, 15)


@njit(cache=True, nogil=True)
def fold(  # noqa: PLR0913 - a compiled kernel takes its tables one by one
    words: NDArray[np.int32],
    slots: NDArray[np.int64],
    times: NDArray[np.int64],
    values: NDArray[np.float32],
    rings: NDArray[np.int64],
    lasts: NDArray[np.int64],
    decays: NDArray[np.int64],
    begin: int,
    end: int,
    forget_ms: int,
) -> int:
    """Fold events into an arena's rows, in place; returns how many values came too late.

    words (rows, words): the arena; slots (n,): each event's row; times (n,) in ms; values (n,
    series) with NaN for what the series does not take; rings, lasts, decays, begin and end as in
    `GroupPlan`. What an event's kind had left is cleared when it was silent for longer than
    `forget_ms` (0: no limit): kind by kind, for their order within a micro-batch is not the log's.
    """
    floats = words.view(np.float32)
    doubles = words.view(np.float64)
    longs = words.view(np.int64)
    late = 0
    for i in range(slots.shape[0]):
        row, time = slots[i], times[i]
        longs[row, 0] = max(longs[row, 0], time)
        before = longs[row, begin // 2]
        if time > before:
            if forget_ms > 0 and before > 0 and time - before > forget_ms:
                words[row, begin:end] = 0
            longs[row, begin // 2] = time
        for r in range(lasts.shape[0]):
            value = values[i, lasts[r, 0]]
            if not np.isnan(value):
                _keep_last(longs[row], floats[row], lasts[r, 1], lasts[r, 2], time, value)
        for r in range(decays.shape[0]):
            value = values[i, decays[r, 0]]
            if not np.isnan(value):
                _decay(longs[row], doubles[row], decays[r, 1] // 2, decays[r, 2], time, value)
        for r in range(rings.shape[0]):
            value = values[i, rings[r, 0]]
            if np.isnan(value):
                continue
            at, tiles, step, width = rings[r, 1], rings[r, 2], rings[r, 3], rings[r, 4]
            total, squares, first, first_value = rings[r, 5], rings[r, 6], rings[r, 7], rings[r, 8]
            count, least, most = rings[r, 9], rings[r, 10], rings[r, 11]
            tile = time // step
            newest = longs[row, at // 2] - 1
            if tile <= newest - tiles:
                late += 1
                continue
            for fresh in range(max(newest + 1, tile - tiles + 1), tile + 1):
                base = at + 2 + (fresh % tiles) * width
                for k in range(width):
                    words[row, base + k] = 0
                if least >= 0:
                    floats[row, base + least] = np.inf
                if most >= 0:
                    floats[row, base + most] = -np.inf
            if tile > newest:
                longs[row, at // 2] = tile + 1
            base = at + 2 + (tile % tiles) * width
            if squares >= 0:
                # Welford's update, in terms of the sum (Chan, Golub and LeVeque, 1983).
                had = np.uint32(words[row, base + count])
                if had > 0:
                    off = value - doubles[row, (base + total) // 2] / had
                    doubles[row, (base + squares) // 2] += off * off * had / (had + 1.0)
            if total >= 0:
                doubles[row, (base + total) // 2] += value
            if first >= 0:
                seen = longs[row, (base + first) // 2]
                if seen == 0 or time < seen:
                    longs[row, (base + first) // 2] = time
                    floats[row, base + first_value] = value
            if count >= 0:
                words[row, base + count] += np.int32(1)
            if least >= 0:
                floats[row, base + least] = min(floats[row, base + least], value)
            if most >= 0:
                floats[row, base + most] = max(floats[row, base + most], value)
    return late


@njit(inline="always")
def _keep_last(  # type: ignore[no-untyped-def]  # noqa: PLR0913 - inlined into the kernel
    longs, floats, at, kept, time, value
):
    """Insert into the newest `kept` values, newest first; equal times: the later to come first."""
    place = kept
    while place > 0 and time >= longs[(at + 4 * (place - 1)) // 2]:
        place -= 1
    for k in range(kept - 1, place, -1):
        longs[(at + 4 * k) // 2] = longs[(at + 4 * (k - 1)) // 2]
        floats[at + 4 * k + 2] = floats[at + 4 * (k - 1) + 2]
    if place < kept:
        longs[(at + 4 * place) // 2] = time
        floats[at + 4 * place + 2] = value


@njit(inline="always")
def _decay(  # type: ignore[no-untyped-def]  # noqa: PLR0913 - inlined into the kernel
    longs, doubles, at, half_life, time, value
):
    """Add to a sum and a count that are as of the newest event (word pairs: time, count, sum)."""
    newest = longs[at]
    if time >= newest:
        if newest > 0:
            share = np.exp2((newest - time) / half_life)
            doubles[at + 1] *= share
            doubles[at + 2] *= share
        longs[at] = time
        doubles[at + 1] += 1.0
        doubles[at + 2] += value
    else:
        share = np.exp2((time - newest) / half_life)
        doubles[at + 1] += share
        doubles[at + 2] += share * value


@njit(cache=True, nogil=True)
def finalise(  # noqa: PLR0913 - a compiled kernel takes its tables one by one
    words: NDArray[np.int32],
    slots: NDArray[np.int64],
    times: NDArray[np.int64],
    features: NDArray[np.int64],
    parameters: NDArray[np.float64],
    forget_ms: int,
    matrix: NDArray[np.float32],
) -> None:
    """Write every feature of every request into `matrix` (n, all features), in its output column.

    slots (n,): the entity's row, -1 for an entity never seen; times (n,): the requests' moments in
    ms; features and parameters as in `EntityPlan`. A count or sum over nothing is 0, a rate its
    prior, all else NaN; age is in seconds. Tiles after the request's own are not read.
    """
    floats = words.view(np.float32)
    doubles = words.view(np.float64)
    longs = words.view(np.int64)
    for i in range(slots.shape[0]):
        row, time = slots[i], times[i]
        for f in range(features.shape[0]):
            output, code, at = features[f, 0], features[f, 1], features[f, 2]
            group = features[f, 14] // 2
            if row < 0 or (forget_ms > 0 and time - longs[row, group] > forget_ms):
                _nothing(matrix[i], output, code, features[f, 4], parameters[f, 0])
            elif code == LAST or code == AGE:
                kept, number = features[f, 3], features[f, 4]
                _finalise_last(
                    longs[row], floats[row], at, kept, number, features[f, 5], code, time,
                    matrix[i], output,
                )  # fmt: skip
            elif code >= DECAYED_COUNT:
                newest = longs[row, at // 2]
                share = np.exp2(min(newest - time, 0) / features[f, 5])
                count, total = doubles[row, at // 2 + 1], doubles[row, at // 2 + 2]
                if code == DECAYED_MEAN:
                    matrix[i, output] = total / count if count > 0 else np.nan
                else:
                    matrix[i, output] = share * (count if code == DECAYED_COUNT else total)
            else:
                matrix[i, output] = _over_tiles(
                    words, floats, doubles, longs, row, time, features, f, parameters
                )  # fmt: skip


@njit(inline="always")
def _nothing(matrix, output, code, number, prior):  # type: ignore[no-untyped-def]
    """What a feature says of an entity without state."""
    if code == LAST:
        for k in range(number):
            matrix[output + k] = np.nan
    elif code == RATE:
        matrix[output] = prior
    else:
        zero = code <= SUM or code == DECAYED_COUNT or code == DECAYED_SUM
        matrix[output] = 0.0 if zero else np.nan


@njit(inline="always")
def _finalise_last(  # type: ignore[no-untyped-def]  # noqa: PLR0913 - inlined into the kernel
    longs, floats, at, kept, number, window, code, time, matrix, output
):
    """The newest values up to the request, or the newest one's age in seconds."""
    place = 0
    while place < kept and longs[(at + 4 * place) // 2] > time:
        place += 1
    wanted = 1 if code == AGE else number
    for k in range(wanted):
        seen = longs[(at + 4 * (place + k)) // 2] if place + k < kept else 0
        if seen == 0 or time - seen > window:
            matrix[output + k] = np.nan
        elif code == AGE:
            matrix[output] = (time - seen) / 1000.0
        else:
            matrix[output + k] = floats[at + 4 * (place + k) + 2]


@njit(nogil=True, cache=True)
def _over_tiles(  # type: ignore[no-untyped-def]  # noqa: PLR0911, PLR0913
    words, floats, doubles, longs, row, time, features, f, parameters
):
    """One aggregate over the tiles of one window."""
    # Places in the arrays, not views of rows: those would be made for each feature of each request.
    code, at, tiles, step = features[f, 1], features[f, 2], features[f, 3], features[f, 4]
    width, one, two, three = features[f, 6], features[f, 7], features[f, 8], features[f, 9]
    newest = longs[row, at // 2] - 1
    low = max((time - features[f, 5]) // step, newest - tiles + 1, 0)
    high = min(time // step, newest)
    a, b, c = 0.0, 0.0, 0.0
    if code == MINIMUM:
        a = np.inf
    elif code == MAXIMUM:
        a = -np.inf
    place = low % tiles  # once: a division for each tile would be most of the work
    for _ in range(low, high + 1):
        base = at + 2 + place * width
        place = place + 1 if place + 1 < tiles else 0
        if code == COUNT:
            a += np.uint32(words[row, base + one])
        elif code == SUM or code == RATIO:
            a += doubles[row, (base + one) // 2]
        elif code == MEAN or code == RATE:
            a += np.uint32(words[row, base + one])
            b += doubles[row, (base + two) // 2]
        elif code == MINIMUM:
            a = min(a, floats[row, base + one])
        elif code == MAXIMUM:
            a = max(a, floats[row, base + one])
        elif code == FIRST:
            if longs[row, (base + one) // 2] > 0:
                return np.float64(floats[row, base + two])
        else:
            count = np.float64(np.uint32(words[row, base + one]))
            if count > 0:
                total = doubles[row, (base + two) // 2]
                if a > 0:
                    off = total / count - b / a
                    c += off * off * a * count / (a + count)
                a += count
                b += total
                c += doubles[row, (base + three) // 2]
    if code <= SUM:
        return a
    if code == FIRST:
        return np.nan
    if code == MEAN:
        return b / a if a > 0 else np.nan
    if code == RATE:
        return (b + parameters[f, 0] * parameters[f, 1]) / (a + parameters[f, 1])
    if code == VARIANCE or code == DEVIATION:
        variance = c / a if a > 0 else np.nan
        return variance if code == VARIANCE else np.sqrt(variance)
    if code == RATIO:
        divisor = _divisor(doubles, longs, row, time, features, f)
        return a / divisor if divisor != 0 else np.nan
    return a if np.isfinite(a) else np.nan


@njit(nogil=True, cache=True)
def _divisor(  # type: ignore[no-untyped-def]  # noqa: PLR0913
    doubles, longs, row, time, features, f
):
    """The sum of a ratio's `per` over the same window."""
    step, at, tiles = features[f, 4], features[f, 10], features[f, 11]
    width, place = features[f, 12], features[f, 13]
    newest = longs[row, at // 2] - 1
    low = max((time - features[f, 5]) // step, newest - tiles + 1, 0)
    total, tile = 0.0, low % tiles
    for _ in range(low, min(time // step, newest) + 1):
        total += doubles[row, (at + 2 + tile * width + place) // 2]
        tile = tile + 1 if tile + 1 < tiles else 0
    return total
