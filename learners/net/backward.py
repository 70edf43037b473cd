"""What a network learns from one block of examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.learner import Vectors
from learners.net.layers import adagrad, adagrad_rows, add_products, multiply, stop_dead
from learners.net.loss import predictions_of, slopes_of
from learners.net.moments import take_in
from learners.net.network import Network
from learners.net.table import unknown_keys

# A regression's slopes are cut at so many units (Huber, "Robust Estimation of a Location
# Parameter", 1964), and weights here, so that no sum of squares leaves float32.
MOST_UNITS = 8.0
MOST_WEIGHT = 1e5

Floats = NDArray[np.float64]
Made = list[NDArray[np.float32]]


def learn_block(  # noqa: PLR0913  an example has these parts
    network: Network,
    learning_rate: float,
    vectors: Vectors,
    labels: Floats,
    weights: Floats,
    offsets: Floats,
    learned: int,
) -> Floats:
    """One step on a block after `learned` examples; raw scores (rows, outputs) before the step.

    The slopes of all examples add up: one step moves each weight once.
    """
    found, keys = network.find(vectors)
    made = network.run_from(vectors, found)
    raw = offsets + network.output(made[-1])
    slopes = output_slopes(network, raw, labels, weights)
    gradients, deltas = gradients_of(network, made, slopes)
    rate, table = np.float32(learning_rate), network.table
    adagrad(network.dense, network.sums, gradients, rate)
    touched = adagrad_rows(found, deltas, table.rows, table.marks, rate)
    take_in(network.moments, network.scaling, vectors, network.shape.numeric_places)
    network.rescale()
    unknown = unknown_keys(found, keys, table.columns)
    table.learned(touched, unknown, learned, learned + len(vectors))
    return raw


def output_slopes(
    network: Network, raw: Floats, labels: Floats, weights: Floats
) -> NDArray[np.float32]:
    """Slopes of the weighted loss by the last layer's outputs, in units of the network's scale."""
    task = network.shape.task
    slopes = slopes_of(task, predictions_of(task, network.scores(raw)), labels)
    if task.kind == "regression":
        if network.scale == 0:
            # The first block says how large errors are; from there on it is a constant.
            network.scale = float(np.sqrt(np.average(slopes[:, 0] ** 2, weights=weights)))
        slopes = np.clip(slopes / (network.scale or 1.0), -MOST_UNITS, MOST_UNITS)
    return (slopes * np.minimum(weights, MOST_WEIGHT)[:, None]).astype(np.float32)


def gradients_of(
    network: Network, made: Made, slopes: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gradients of all dense weights, and of the embeddings of each row (rows, ids times width)."""
    gradients = np.zeros_like(network.dense)
    views = network.shape.layers(gradients)
    numbers = 2 * len(network.shape.numeric_places)
    upper = slopes
    for number in range(len(views) - 1, -1, -1):
        add_products(made[number], upper, *views[number])
        weights = network.layers[number][0]
        if number == 0:  # of the inputs, embeddings alone can learn
            weights = weights[numbers:]
        # Against copied, transposed weights the same kernel pulls slopes back.
        lower = np.empty((len(upper), len(weights)), upper.dtype)
        nothing = np.zeros(len(weights), upper.dtype)
        multiply(upper, np.ascontiguousarray(weights.T), nothing, lower, False)
        if number:
            stop_dead(lower, made[number])
        upper = lower
    return gradients, upper
