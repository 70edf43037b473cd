"""The compiled loops of the linear learner: score a row of (slot, value) pairs, then learn it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

WEIGHT, Z, N, TOUCHED = 0, 1, 2, 3
"""The columns of a table: the weight, the optimizer's two numbers, and 1 once a row was learned.

All that an example reads or writes of a weight lies in half a cache line. With AdaGrad `Z` is the
weight itself; with FTRL the weight follows from `Z` and `N`.
"""
COLUMNS = 4

BINARY, REGRESSION, MULTICLASS = 0, 1, 2

# Keeps squares finite whatever a label or an importance is; no honest slope comes near it.
_STEEPEST = 1e100


class Rule(NamedTuple):
    """How a weight follows its gradients; `max_step` bounds what one example moves its own raw."""

    ftrl: bool
    alpha: float
    beta: float
    l1: float
    l2: float
    max_step: float


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weight_of(z: float, n: float, rule: Rule) -> float:
    """The weight that belongs to an optimizer's two numbers."""
    if not rule.ftrl:
        return z
    if abs(z) <= rule.l1:
        return 0.0
    return -(z - math.copysign(rule.l1, z)) / ((rule.beta + math.sqrt(n)) / rule.alpha + rule.l2)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def set_weights(table: NDArray[np.float64], rows: NDArray[np.int64], rule: Rule) -> None:
    """Compute the weights of these rows from their `Z` and `N`, as learning would have."""
    for row in rows:
        table[row, WEIGHT] = weight_of(table[row, Z], table[row, N], rule)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def changed_rows(
    table: NDArray[np.float64], start: NDArray[np.float64], later: float
) -> NDArray[np.int64]:
    """The rows whose `Z` and `N` differ from `start`, or after its end from 0 and `later`."""
    rows = np.empty(len(table), np.int64)
    found = 0
    for row in range(len(table)):
        if row < len(start):
            same = table[row, Z] == start[row, 0] and table[row, N] == start[row, 1]
        else:
            same = table[row, Z] == 0 and table[row, N] == later
        if not same:
            rows[found] = row
            found += 1
    return rows[:found].copy()


@numba.njit(cache=True, nogil=True, error_model="numpy")
def link(raw: NDArray[np.float64], kind: int) -> None:
    """Turn log-odds, a value or log-weights (outputs,) into the prediction, in place."""
    if kind == BINARY:
        raw[0] = 1 / (1 + math.exp(-raw[0]))
    elif kind == MULTICLASS:
        highest = raw.max()
        total = 0.0
        for output in range(len(raw)):
            raw[output] = math.exp(raw[output] - highest)
            total += raw[output]
        for output in range(len(raw)):
            raw[output] /= total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def link_all(raws: NDArray[np.float64], kind: int) -> None:
    """`link` for every row of (rows, outputs), in place."""
    for row in range(len(raws)):
        link(raws[row], kind)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_raw(
    starts: NDArray[np.int64],
    slots: NDArray[np.int32],
    values: NDArray[np.float32],
    table: NDArray[np.float64],
    raws: NDArray[np.float64],
) -> None:
    """Add every row's weighted sum to `raws` (rows, outputs)."""
    rows, outputs = raws.shape
    for row in range(rows):
        for place in range(starts[row], starts[row + 1]):
            first = slots[place] * outputs
            for output in range(outputs):
                raws[row, output] += values[place] * table[first + output, WEIGHT]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def learn(  # noqa: PLR0913  a kernel takes arrays, not objects
    starts: NDArray[np.int64],
    slots: NDArray[np.int32],
    values: NDArray[np.float32],
    labels: NDArray[np.float64],
    weights: NDArray[np.float64],
    table: NDArray[np.float64],
    scores: NDArray[np.float64],
    kind: int,
    rule: Rule,
) -> None:
    """Predict, then learn, row by row; `scores` (rows, outputs) hold offsets, then predictions."""
    rows, outputs = scores.shape
    longest = 0
    for row in range(rows):
        longest = max(longest, starts[row + 1] - starts[row])
    room = np.empty((longest, 2))
    for row in range(rows):
        first, last = starts[row], starts[row + 1]
        for place in range(first, last):
            base = slots[place] * outputs
            for output in range(outputs):
                scores[row, output] += values[place] * table[base + output, WEIGHT]
        link(scores[row], kind)
        if weights[row] == 0:
            continue
        for output in range(outputs):
            target = labels[row]
            if kind == MULTICLASS:
                target = 1.0 if target == output else 0.0
            slope = weights[row] * (scores[row, output] - target)
            slope = min(max(slope, -_STEEPEST), _STEEPEST)
            _descend(first, last, slots, values, table, outputs, output, slope, rule, room)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _descend(  # noqa: PLR0913  a kernel takes arrays, not objects
    first: int,
    last: int,
    slots: NDArray[np.int32],
    values: NDArray[np.float32],
    table: NDArray[np.float64],
    outputs: int,
    output: int,
    slope: float,
    rule: Rule,
    room: NDArray[np.float64],
) -> None:
    """One step of every weight of a row; `room` is for two numbers per pair."""
    step = 0.0  # how far the row's own raw would move
    for place in range(first, last):
        row = slots[place] * outputs + output
        gradient = slope * values[place]
        root = math.sqrt(table[row, N] + gradient * gradient)
        room[place - first, 0], room[place - first, 1] = table[row, N], root
        if gradient != 0:
            step += abs(gradient * values[place]) / ((rule.beta + root) / rule.alpha + rule.l2)
    share = 1.0 if step <= rule.max_step else rule.max_step / step
    for place in range(first, last):
        row = slots[place] * outputs + output
        gradient = slope * values[place]
        if gradient == 0:
            continue
        n, weight, root = table[row, N], table[row, WEIGHT], room[place - first, 1]
        if n != room[place - first, 0]:  # two pairs of the row share the slot: one after the other
            root = math.sqrt(n + gradient * gradient)
        scale = (rule.beta + root) / rule.alpha
        if rule.ftrl:  # McMahan et al., Algorithm 1
            z = table[row, Z] + share * gradient - (root - math.sqrt(n)) / rule.alpha * weight
            pulled, scale = -z, scale + rule.l2
        else:  # Duchi et al., section 5: composite mirror descent
            pulled, scale = scale * weight - share * gradient, scale + rule.l2
            z = 0.0
        if abs(pulled) <= rule.l1:
            weight = 0.0
        else:
            weight = (pulled - math.copysign(rule.l1, pulled)) / scale
        table[row, WEIGHT] = weight
        table[row, Z] = z if rule.ftrl else weight
        table[row, N] = n + gradient * gradient
        table[row, TOUCHED] = 1.0
