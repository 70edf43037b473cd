"""The compiled part of a blend: weights, stackers, and both over classes or values, row by row.

All of it is one file: what numba keeps on the disk is thrown away when a kernel's own file changes,
not when that of a function it calls does.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

COUNT, RATE, GAP, SQUARES, MASS, LOW, HIGH = range(7)
"""Places in a blend's `numbers`: examples learned, rate, accumulated mixability gap; then, of a
regression: the release's squared errors, the weight of the examples, lowest and highest label."""
NUMBERS = 7

SLEEP = 32
"""Examples for which what starts cold sleeps, and before which no scale of labels is known."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def hedge(  # noqa: PLR0913  a kernel takes arrays, not objects
    shares: NDArray[np.float64],
    losses: NDArray[np.float64],
    loss: float,
    numbers: NDArray[np.float64],
    share: float,
    calm: float,
) -> None:
    """Reweight after one example: forecasters lost `losses` (N,), the mixture lost `loss`.

    `shares` (N,) are the weights and sum to 1. `share` is what is shared out after each example; 0
    shares 1 / (calm + examples).
    """
    rate, count = numbers[RATE], len(shares)
    least = np.inf  # of those with a weight, so that the sum below cannot underflow to 0
    for k in range(count):
        if shares[k] > 0 and losses[k] < least:
            least = losses[k]
    total = 0.0
    for k in range(count):
        if shares[k] > 0:
            shares[k] *= np.exp(-rate * (losses[k] - least))
            total += shares[k]
    numbers[GAP] += max(0.0, loss - (least - np.log(total) / rate))
    shares /= total
    slower = min(rate, (2 * np.log(count) + np.log(calm + 1)) / max(numbers[GAP], 1e-300))
    if slower < rate:
        for k in range(count):
            shares[k] = shares[k] ** (slower / rate) if shares[k] > 0 else 0.0
        shares /= shares.sum()
        numbers[RATE] = slower
    numbers[COUNT] += 1
    part = share if share > 0 else 1 / (calm + numbers[COUNT])
    for k in range(count):
        shares[k] = (1 - part) * shares[k] + part / count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fade(curvature: NDArray[np.float64], forget: float, prior: float) -> None:
    """Let curvature (inputs, inputs) return by the share `forget` to `prior` times the identity."""
    inputs = len(curvature)
    for i in range(inputs):
        for j in range(inputs):
            curvature[i, j] *= 1 - forget
        curvature[i, i] += forget * prior


@numba.njit(cache=True, nogil=True, error_model="numpy")
def descend(
    coefficients: NDArray[np.float64],
    curvature: NDArray[np.float64],
    slope: NDArray[np.float64],
) -> None:
    """Subtract curvature⁻¹ slope from the coefficients, by Cholesky's factors."""
    inputs = len(slope)
    factor = np.empty((inputs, inputs))
    step = np.empty(inputs)
    for i in range(inputs):
        for j in range(i + 1):
            total = curvature[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j:
                factor[i, i] = np.sqrt(max(total, 1e-12))
            else:
                factor[i, j] = total / factor[j, j]
        total = slope[i]
        for k in range(i):
            total -= factor[i, k] * step[k]
        step[i] = total / factor[i, i]
    for i in range(inputs - 1, -1, -1):
        for k in range(i + 1, inputs):
            step[i] -= factor[k, i] * step[k]
        step[i] /= factor[i, i]
        coefficients[i] -= step[i]


LEAST = 1e-15  # a probability's lower end: what a forecaster can lose on one example is bounded


@numba.njit(cache=True, nogil=True, error_model="numpy")
def class_forecasts(  # noqa: PLR0913  a kernel takes arrays, not objects
    logs: NDArray[np.float64],
    warm: NDArray[np.bool_],
    recents: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    numbers: NDArray[np.float64],
    inputs: NDArray[np.float64],
    given: NDArray[np.float64],
) -> None:
    """Fill `inputs` (inputs, classes) and `given` (forecasters, classes) for one row.

    `logs` (experts, classes) are the experts' log-probabilities, `recents` (recents, classes) the
    averages of late labels. The forecasters are the experts, then the stackers, each a softmax of
    its `coefficients` (stackers, inputs) times the inputs. What sleeps is an input of 0.
    """
    experts, classes = logs.shape
    awake = numbers[COUNT] >= SLEEP
    inputs[:] = 0.0
    for k in range(experts):
        if warm[k] or awake:
            inputs[k] = logs[k]
    for k in range(len(recents)):
        for c in range(classes):
            inputs[experts + k, c] = np.log(max(recents[k, c], 1e-3)) if awake else 0.0
    first = experts + len(recents)
    for k in range(first, len(inputs)):
        inputs[k, k - first] = 1.0
    given[:experts] = np.exp(logs)
    for s in range(len(coefficients)):
        row = given[experts + s]
        for c in range(classes):
            row[c] = 0.0
            for k in range(len(inputs)):
                row[c] += coefficients[s, k] * inputs[k, c]
        row -= row.max()
        row[:] = np.exp(row)
        row /= row.sum()
        for c in range(classes):
            row[c] = max(row[c], LEAST)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def predict_classes(  # noqa: PLR0913  a kernel takes arrays, not objects
    logs: NDArray[np.float64],
    warm: NDArray[np.bool_],
    shares: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    recents: NDArray[np.float64],
    numbers: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Probabilities (rows, classes) for the experts' log-probabilities (rows, experts, classes)."""
    rows, _, classes = logs.shape
    inputs = np.empty((coefficients.shape[1], classes))
    given = np.empty((len(shares), classes))
    mixed = np.zeros((rows, classes))
    for row in range(rows):
        class_forecasts(logs[row], warm, recents, coefficients, numbers, inputs, given)
        for k in range(len(shares)):
            for c in range(classes):
                mixed[row, c] += shares[k] * given[k, c]
    return mixed


@numba.njit(cache=True, nogil=True, error_model="numpy")
def learn_classes(  # noqa: PLR0913  a kernel takes arrays, not objects
    logs: NDArray[np.float64],
    labels: NDArray[np.float64],
    weights: NDArray[np.float64],
    warm: NDArray[np.bool_],
    shares: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    curvatures: NDArray[np.float64],
    recents: NDArray[np.float64],
    numbers: NDArray[np.float64],
    fading: NDArray[np.float64],
    forget: NDArray[np.float64],
    prior: float,
    share: float,
    calm: float,
) -> NDArray[np.float64]:
    """`predict_classes`, each row before it is learned; `shares` to `numbers` change."""
    rows, experts, classes = logs.shape
    inputs = np.empty((coefficients.shape[1], classes))
    given = np.empty((len(shares), classes))
    losses = np.empty(len(shares))
    mixed = np.zeros((rows, classes))
    for row in range(rows):
        class_forecasts(logs[row], warm, recents, coefficients, numbers, inputs, given)
        for k in range(len(shares)):
            for c in range(classes):
                mixed[row, c] += shares[k] * given[k, c]
        weight, label = weights[row], int(labels[row])
        if weight == 0:
            continue
        for k in range(len(shares)):
            losses[k] = -weight * np.log(given[k, label])
        hedge(shares, losses, -weight * np.log(mixed[row, label]), numbers, share, calm)
        for s in range(len(coefficients)):
            fade(curvatures[s], forget[s], prior)
            _class_step(inputs, given[experts + s], label, weight, coefficients[s], curvatures[s])
        for k in range(len(recents)):
            recents[k] *= fading[k]
            recents[k, label] += 1 - fading[k]
    return mixed


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _class_step(  # noqa: PLR0913
    inputs: NDArray[np.float64],
    given: NDArray[np.float64],
    label: int,
    weight: float,
    coefficients: NDArray[np.float64],
    curvature: NDArray[np.float64],
) -> None:
    width, classes = inputs.shape
    slope, means = np.empty(width), np.empty(width)
    for i in range(width):
        means[i] = 0.0
        for c in range(classes):
            means[i] += given[c] * inputs[i, c]
        slope[i] = weight * (means[i] - inputs[i, label])
    for i in range(width):
        for j in range(i + 1):
            total = -means[i] * means[j]
            for c in range(classes):
                total += given[c] * inputs[i, c] * inputs[j, c]
            curvature[i, j] += weight * total
            curvature[j, i] = curvature[i, j]
    descend(coefficients, curvature, slope)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def value_forecasts(  # noqa: PLR0913  a kernel takes arrays, not objects
    advice: NDArray[np.float64],
    warm: NDArray[np.bool_],
    recents: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    numbers: NDArray[np.float64],
    inputs: NDArray[np.float64],
    given: NDArray[np.float64],
) -> None:
    """Fill `inputs` (inputs,) and `given` (forecasters,) for one row.

    Everything is held within the labels seen and what the release says, so that an expert that
    runs away costs no more than the worst label. A stacker adds to the release's value its
    `coefficients` (stackers, inputs) times how far the experts are from it. What sleeps is an
    input of 0.
    """
    experts, awake = len(advice), numbers[COUNT] >= SLEEP
    low, high = min(numbers[LOW], advice[0]), max(numbers[HIGH], advice[0])
    scale = np.sqrt(numbers[SQUARES] / numbers[MASS]) if numbers[MASS] > 0 else 0.0
    for k in range(experts):
        given[k] = min(max(advice[k], low), high)
        inputs[k] = given[k] - advice[0] if warm[k] or awake else 0.0
    for k in range(len(recents)):
        inputs[experts + k] = recents[k, 0] - advice[0] if awake else 0.0
    inputs[-1] = scale
    for s in range(len(coefficients)):
        total = advice[0]
        for k in range(len(inputs)):
            total += coefficients[s, k] * inputs[k]
        given[experts + s] = min(max(total, low), high)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def predict_values(  # noqa: PLR0913  a kernel takes arrays, not objects
    advice: NDArray[np.float64],
    warm: NDArray[np.bool_],
    shares: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    recents: NDArray[np.float64],
    numbers: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Values (rows,) for the experts' values (rows, experts)."""
    inputs, given = np.empty(coefficients.shape[1]), np.empty(len(shares))
    mixed = np.zeros(len(advice))
    for row in range(len(advice)):
        value_forecasts(advice[row], warm, recents, coefficients, numbers, inputs, given)
        for k in range(len(shares)):
            mixed[row] += shares[k] * given[k]
    return mixed


@numba.njit(cache=True, nogil=True, error_model="numpy")
def learn_values(  # noqa: PLR0913  a kernel takes arrays, not objects
    advice: NDArray[np.float64],
    labels: NDArray[np.float64],
    weights: NDArray[np.float64],
    warm: NDArray[np.bool_],
    shares: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    curvatures: NDArray[np.float64],
    recents: NDArray[np.float64],
    numbers: NDArray[np.float64],
    fading: NDArray[np.float64],
    forget: NDArray[np.float64],
    prior: float,
    share: float,
    calm: float,
) -> NDArray[np.float64]:
    """`predict_values`, each row before it is learned; `shares` to `numbers` change."""
    inputs, given = np.empty(coefficients.shape[1]), np.empty(len(shares))
    mixed = np.zeros(len(advice))
    for row in range(len(advice)):
        value_forecasts(advice[row], warm, recents, coefficients, numbers, inputs, given)
        for k in range(len(shares)):
            mixed[row] += shares[k] * given[k]
        weight, label = weights[row], labels[row]
        if weight == 0:
            continue
        numbers[SQUARES] += weight * (label - advice[row, 0]) ** 2
        numbers[MASS] += weight
        numbers[LOW] = min(numbers[LOW], label)
        numbers[HIGH] = max(numbers[HIGH], label)
        variance = max(numbers[SQUARES] / numbers[MASS], 1e-300)
        inputs[-1] = np.sqrt(variance)  # the first example has no scale but its own
        if numbers[COUNT] >= SLEEP:
            if numbers[RATE] == 0:
                numbers[RATE] = 1 / (2 * variance)
            losses = weight * (label - given) ** 2
            hedge(shares, losses, weight * (label - mixed[row]) ** 2, numbers, share, calm)
        else:
            numbers[COUNT] += 1
        for s in range(len(coefficients)):
            fade(curvatures[s], forget[s], prior)
            error = given[len(advice[row]) + s] - label
            _value_step(inputs, error, weight / variance, coefficients[s], curvatures[s])
        for k in range(len(recents)):
            kept = fading[k] if numbers[COUNT] > 1 else 0.0
            recents[k, 0] = kept * recents[k, 0] + (1 - kept) * label
    return mixed


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _value_step(
    inputs: NDArray[np.float64],
    error: float,
    weight: float,
    coefficients: NDArray[np.float64],
    curvature: NDArray[np.float64],
) -> None:
    for i in range(len(inputs)):
        for j in range(len(inputs)):
            curvature[i, j] += weight * inputs[i] * inputs[j]
    descend(coefficients, curvature, weight * error * inputs)
