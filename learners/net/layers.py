"""The net's arithmetic in compiled kernels, in which every row's sums have one order.

A matrix library's sums depend on how many rows a call has, on its threads and the processor. Here
neither the cut of the stream nor the machine shows in a single bit: additions and products stand in
a fixed order and are not fused. At the sizes of such a net (a hundred inputs, a few dozen units)
that takes up to twice as long as BLAS; the layers are a quarter to a half of what learning takes.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from learners.net.id_map import EMPTY, mix, slot_of

CLIP = 8.0
"""Standardised numbers are cut at so many standard deviations."""

_MISSING = np.uint32(0x7FC00000)
_MINUS_ZERO = np.uint32(0x80000000)
_PLUS_ZERO = np.uint32(0)
# No fastmath: reordered or fused sums would differ between call sizes and between machines.
_kernel = numba.njit(cache=True, nogil=True, error_model="numpy")


@_kernel
def key_of(column: int, bits: np.uint32, value: np.float32) -> np.int64:
    """The key of a float32 in the column of that number; every missing value is one id."""
    if value != value:
        bits = _MISSING
    elif bits == _MINUS_ZERO:
        bits = _PLUS_ZERO
    return (np.int64(column) << 32) | np.int64(bits)


@_kernel
def find_rows(
    vectors: NDArray[np.float32],
    categorical: NDArray[np.int64],
    slots: NDArray[np.int64],
    found: NDArray[np.int64],
    keys: NDArray[np.int64],
) -> None:
    """Row of each id in the table, (rows, ids); an id without one has that of its column."""
    bits = vectors.view(np.uint32)
    mask = np.uint64(len(slots) - 1)
    # First every id's own slot without a branch, so that the memory answers many at a time.
    for row in range(len(vectors)):
        for column in range(len(categorical)):
            place = categorical[column]
            key = key_of(column, bits[row, place], vectors[row, place])
            keys[row, column] = key
            slot = slots[mix(key) & mask]
            found[row, column] = slot[1] if slot[0] == key else EMPTY
    for row in range(len(vectors)):
        for column in range(len(categorical)):
            if found[row, column] == EMPTY:
                at = slot_of(slots, keys[row, column])
                found[row, column] = slots[at, 1] if slots[at, 0] != EMPTY else column


@_kernel
def fill_inputs(  # noqa: PLR0913  a kernel takes arrays, not objects
    vectors: NDArray[np.float32],
    numeric: NDArray[np.int64],
    scaling: NDArray[np.float64],
    found: NDArray[np.int64],
    table: NDArray[np.float32],
    inputs: NDArray[np.float32],
) -> None:
    """The net's inputs of rows; `scaling` is mean and 1 / deviation."""
    numbers, width = len(numeric), table.shape[1] // 2
    for row in range(len(vectors)):
        values = inputs[row]
        for i in range(numbers):
            number = np.float64(vectors[row, numeric[i]])
            missing = not np.isfinite(number)
            scaled = 0.0 if missing else (number - scaling[0, i]) * scaling[1, i]
            values[i] = min(max(scaled, -CLIP), CLIP)
            values[numbers + i] = missing
        for column in range(found.shape[1]):
            start = 2 * numbers + column * width
            target, source = values[start : start + width], table[found[row, column]]
            for j in range(width):
                target[j] = source[j]


@_kernel
def multiply(
    values: NDArray[np.float32],
    weights: NDArray[np.float32],
    biases: NDArray[np.float32],
    results: NDArray[np.float32],
    relu: bool,
) -> None:
    """`results` (rows, units) = `values` (rows, wide) times `weights` (wide, units) + `biases`."""
    rows = len(values)
    for row in range(rows):
        target = results[row]
        for j in range(len(biases)):
            target[j] = biases[j]
    for row in range(0, rows - 1, 2):
        _add_pair(values[row], values[row + 1], weights, results[row], results[row + 1])
    if rows % 2:  # in the same order as in a pair: the same sums to the last bit
        _add_one(values[rows - 1], weights, results[rows - 1])
    if relu:
        for row in range(rows):
            target = results[row]
            for j in range(len(biases)):
                if target[j] < 0:
                    target[j] = 0


@_kernel
def _add_pair(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    weights: NDArray[np.float32],
    one: NDArray[np.float32],
    two: NDArray[np.float32],
) -> None:
    """Two rows share each look at the weights: a third less time."""
    wide, units = weights.shape
    whole = wide - wide % 4
    for i in range(0, whole, 4):  # four inputs a pass, added in order: a quarter of the stores
        a, b, c, d = first[i], first[i + 1], first[i + 2], first[i + 3]
        e, f, g, h = second[i], second[i + 1], second[i + 2], second[i + 3]
        wa, wb, wc, wd = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        for j in range(units):
            here, there = one[j], two[j]
            here += a * wa[j]
            there += e * wa[j]
            here += b * wb[j]
            there += f * wb[j]
            here += c * wc[j]
            there += g * wc[j]
            here += d * wd[j]
            there += h * wd[j]
            one[j], two[j] = here, there
    for i in range(whole, wide):
        a, e, wa = first[i], second[i], weights[i]
        for j in range(units):
            one[j] += a * wa[j]
            two[j] += e * wa[j]


@_kernel
def _add_one(
    values: NDArray[np.float32], weights: NDArray[np.float32], result: NDArray[np.float32]
) -> None:
    wide, units = weights.shape
    whole = wide - wide % 4
    for i in range(0, whole, 4):
        a, b, c, d = values[i], values[i + 1], values[i + 2], values[i + 3]
        wa, wb, wc, wd = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        for j in range(units):
            total = result[j]
            total += a * wa[j]
            total += b * wb[j]
            total += c * wc[j]
            total += d * wd[j]
            result[j] = total
    for i in range(whole, wide):
        a, wa = values[i], weights[i]
        for j in range(units):
            result[j] += a * wa[j]


@_kernel
def add_products(
    values: NDArray[np.float32],
    slopes: NDArray[np.float32],
    gradients: NDArray[np.float32],
    bias_gradients: NDArray[np.float32],
) -> None:
    """Add `values` (rows, wide) transposed times `slopes` (rows, units), and the slopes' sums."""
    rows, wide = values.shape
    units = slopes.shape[1]
    for row in range(rows):
        sa = slopes[row]
        for j in range(units):
            bias_gradients[j] += sa[j]
    whole = rows - rows % 4
    for row in range(0, whole, 4):  # four rows a pass, added in order
        xa, xb, xc, xd = values[row], values[row + 1], values[row + 2], values[row + 3]
        sa, sb, sc, sd = slopes[row], slopes[row + 1], slopes[row + 2], slopes[row + 3]
        for i in range(wide):
            target = gradients[i]
            a, b, c, d = xa[i], xb[i], xc[i], xd[i]
            for j in range(units):
                total = target[j]
                total += a * sa[j]
                total += b * sb[j]
                total += c * sc[j]
                total += d * sd[j]
                target[j] = total
    for row in range(whole, rows):
        xa, sa = values[row], slopes[row]
        for i in range(wide):
            target, a = gradients[i], xa[i]
            for j in range(units):
                target[j] += a * sa[j]


@_kernel
def stop_dead(slopes: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """Slopes of units that ReLU holds at 0 become 0."""
    for row in range(len(values)):
        source, target = values[row], slopes[row]
        for j in range(len(source)):
            if source[j] <= 0:
                target[j] = 0


@_kernel
def adagrad(
    weights: NDArray[np.float32],
    sums: NDArray[np.float32],
    gradients: NDArray[np.float32],
    learning_rate: np.float32,
) -> None:
    """Move weights against their gradients. Duchi, Hazan and Singer (JMLR 2011), diagonal."""
    for i in range(len(weights)):
        sums[i] += gradients[i] * gradients[i]
        weights[i] -= learning_rate * gradients[i] / np.sqrt(sums[i])


@_kernel
def adagrad_rows(  # noqa: PLR0913  a kernel takes arrays, not objects
    found: NDArray[np.int64],
    deltas: NDArray[np.float32],
    table: NDArray[np.float32],
    marks: NDArray[np.int32],
    learning_rate: np.float32,
) -> NDArray[np.int64]:
    """Move the embeddings that rows used, each once by the sum of its gradients; which those were.

    `deltas` (rows, ids times width) have the gradients of the embeddings; `marks` are -1 everywhere
    before and after.
    """
    width = table.shape[1] // 2
    touched = np.empty(found.size, np.int64)
    totals = np.empty((found.size, width), table.dtype)
    count = 0
    for row in range(len(found)):
        for column in range(found.shape[1]):
            source, start = found[row, column], column * width
            slopes, place = deltas[row, start : start + width], marks[source]
            if place < 0:
                marks[source] = count
                touched[count] = source
                total = totals[count]
                for j in range(width):
                    total[j] = slopes[j]
                count += 1
            else:
                total = totals[place]
                for j in range(width):
                    total[j] += slopes[j]
    _step_rows(touched[:count], totals[:count], table, marks, learning_rate)
    return touched[:count]


@_kernel
def _step_rows(
    touched: NDArray[np.int64],
    totals: NDArray[np.float32],
    table: NDArray[np.float32],
    marks: NDArray[np.int32],
    learning_rate: np.float32,
) -> None:
    # Gathered, moved and put back: the memory answers many rows at a time, and roots are vectors.
    width = totals.shape[1]
    weights, sums = np.empty_like(totals), np.empty_like(totals)
    for place in range(len(touched)):
        source, weight, total = table[touched[place]], weights[place], sums[place]
        for j in range(width):
            weight[j] = source[j]
            total[j] = source[width + j]
    adagrad(weights.ravel(), sums.ravel(), totals.ravel(), learning_rate)
    for place in range(len(touched)):
        marks[touched[place]] = -1
        source, weight, total = table[touched[place]], weights[place], sums[place]
        for j in range(width):
            source[j] = weight[j]
            source[width + j] = total[j]
