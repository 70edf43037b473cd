"""What each feature adds to a net's output: integrated gradients from an average row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.learner import Vectors
from learners.net.network import Network

_MOST_PIECES = 256

Floats = NDArray[np.float64]
Layers = list[tuple[Floats, Floats]]


def net_contributions(network: Network, vectors: Vectors) -> Floats:
    """Float64 (rows, features + 1); the last column is the output for the average row.

    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks" (ICML 2017), section 3,
    over the net's inputs; a feature has those of its number, its absence or its embedding. The
    baseline is a row whose numbers are all there and at their means, and whose ids are ones that
    were never seen. With ReLU the output is a broken line on the way from there to the row: it is
    cut where a unit turns on or off, and a piece's slope is the same all along it. So the integral
    is exact, and a row sums to the net's output but for the net's own float32 (below 1e-3 of its
    scale). Of lines with more than 256 pieces, in wide nets, as many of the cuts are taken.
    """
    vectors = network.checked(vectors)
    shape = network.shape
    inputs = network.run(vectors)[0].astype(np.float64)
    start = _baseline(network)
    layers = [(w.astype(np.float64), b.astype(np.float64)) for w, b in network.layers]
    found = np.zeros((len(vectors), len(shape.features) + 1))
    base = _before(start[None], layers)[0, 0]
    found[:, -1] = network.center + network.scale * base
    numbers = len(shape.numeric_places)
    for row, step in zip(found, inputs - start, strict=True):
        parts = network.scale * step * _mean_slopes(start, step, layers)
        row[shape.numeric_places] = parts[:numbers] + parts[numbers : 2 * numbers]
        ids = parts[2 * numbers :].reshape(len(shape.categorical_places), shape.embedding)
        row[shape.categorical_places] = ids.sum(axis=1)
    return found


def _baseline(network: Network) -> Floats:
    """The inputs (inputs,) of the average row."""
    start = np.zeros(network.shape.inputs)
    columns, width = network.table.columns, network.table.width
    # Rows before `columns` stand for ids without a row of their own.
    start[2 * len(network.shape.numeric_places) :] = network.table.rows[:columns, :width].ravel()
    return start


def _mean_slopes(start: Floats, step: Floats, layers: Layers) -> Floats:
    """The output's slopes by each input (inputs,), averaged over the way from `start` by `step`."""
    cuts = _cuts(start, step, layers)
    middles = (cuts[1:] + cuts[:-1]) / 2
    values = start + np.outer(middles, step)
    alive = []
    for weights, biases in layers[:-1]:
        values = np.maximum(values @ weights + biases, 0)
        alive.append(values > 0)
    slopes = np.diff(cuts)[:, None] * layers[-1][0][:, 0]
    for (weights, _), on in zip(reversed(layers[:-1]), reversed(alive), strict=True):
        slopes = (slopes * on) @ weights.T
    return np.asarray(slopes.sum(axis=0))


def _cuts(start: Floats, step: Floats, layers: Layers) -> Floats:
    """Where on the way, from 0 to 1, some unit turns on or off; ascending, with both ends."""
    cuts = np.array([0.0, 1.0])
    for depth in range(1, len(layers)):
        before = _before(start + np.outer(cuts, step), layers[:depth])
        low, high = before[:-1], before[1:]
        piece, unit = np.nonzero((low < 0) != (high < 0))
        share = low[piece, unit] / (low[piece, unit] - high[piece, unit])
        crossed = cuts[piece] + share * (cuts[piece + 1] - cuts[piece])
        cuts = np.unique(np.concatenate([cuts, crossed]))
        if len(cuts) > _MOST_PIECES + 1:
            kept = np.linspace(0, len(cuts) - 1, _MOST_PIECES + 1)
            cuts = cuts[np.rint(kept).astype(np.int64)]
    return cuts


def _before(values: Floats, layers: Layers) -> Floats:
    """What the last of these layers gives, before its ReLU, (rows, units)."""
    for weights, biases in layers[:-1]:
        values = np.maximum(values @ weights + biases, 0)
    weights, biases = layers[-1]
    return np.asarray(values @ weights + biases)
