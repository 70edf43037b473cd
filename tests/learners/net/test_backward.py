"""Slopes of a block against finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from case_net import CLASSES, NAMES
from numpy.typing import NDArray
from releases import synthetic

from learners.net.backward import gradients_of, output_slopes
from learners.net.embedding_net import first_network
from learners.net.loss import predictions_of
from learners.net.network import Network
from learners.net.shape import NetShape
from tidemill.learner_kinds import EmbeddingNet
from tidemill.tasks import BINARY, REGRESSION, Task

STEP = 1e-6


def double_network(task: Task) -> Network:
    """A network in float64, all of its weights random, that knows every id."""
    settings = EmbeddingNet(embedding=3, admit_after=1)
    network = first_network(NetShape(task, NAMES, ("Column_0", "Column_3"), 3, (6, 5)), settings)
    vectors, _ = synthetic(40, seed=3)
    network.table.learned(np.empty(0, np.int64), np.unique(network.find(vectors)[1]), 0, 40)
    random = np.random.default_rng(3)
    network.table.rows = 0.5 * random.normal(size=network.table.rows.shape)
    network.moments[:] = np.array([100.0, 0.1, 80.0])[:, None]
    dense = 0.3 * random.normal(size=len(network.dense))
    return replace(network, dense=dense, scale=2.0 if task == REGRESSION else 1.0, center=0.5)


def run(network: Network, vectors: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """`Network.run_from` in float64."""
    made = network.run_from(vectors, network.find(vectors)[0])
    values = [made[0].astype(float)]
    width, found = network.table.width, network.find(vectors)[0]
    first = 2 * len(network.shape.numeric_places)
    ids = network.table.rows[found, :width]
    values[0][:, first:] = ids.reshape(len(vectors), -1)
    for number, (weights, biases) in enumerate(network.layers):
        out = values[-1] @ weights + biases
        values.append(out if number == len(network.layers) - 1 else np.maximum(out, 0))
    return values


def loss_of(
    network: Network, vectors: NDArray[np.float32], labels: NDArray[np.float64], weights: object
) -> float:
    """The summed loss, a regression's in units of its scale."""
    raw = network.output(run(network, vectors)[-1])
    scores = predictions_of(network.shape.task, network.scores(raw))
    if network.shape.task.kind == "regression":
        return float((weights * ((scores - labels) / network.scale) ** 2).sum() / 2)
    if network.shape.task.kind == "binary":
        scores = np.stack([1 - scores, scores], axis=1)
    return float(-(weights * np.log(scores[np.arange(len(labels)), labels.astype(int)])).sum())


@pytest.mark.parametrize("task", [BINARY, REGRESSION, CLASSES], ids=lambda task: task.kind)
def test_gradients_agree_with_finite_differences(task: Task) -> None:
    """Every dense weight's and every embedding's, of weighted examples."""
    network, (vectors, labels) = double_network(task), synthetic(40, seed=3)
    labels = labels.astype(float) + (np.arange(40) % 2 if task == CLASSES else 0)
    weights = np.linspace(0.5, 2, 40)
    made = run(network, vectors)
    raw = network.output(made[-1])
    slopes = output_slopes(network, raw, labels, weights).astype(float)
    gradients, deltas = gradients_of(network, made, slopes)
    for place in range(len(gradients)):
        expected = _difference(network, network.dense, place, (vectors, labels, weights))
        assert expected == pytest.approx(gradients[place], abs=2e-4)
    found, width, rows = network.find(vectors)[0], network.table.width, network.table.rows
    totals = np.zeros((len(rows), width))
    np.add.at(totals, found.ravel(), deltas.reshape(-1, width))
    for row in np.unique(found)[:20]:
        for j in range(width):
            flat = row * rows.shape[1] + j
            expected = _difference(network, rows.reshape(-1), flat, (vectors, labels, weights))
            assert expected == pytest.approx(totals[row, j], abs=2e-4)


def _difference(network: Network, array: NDArray[np.float64], place: int, data: tuple) -> float:
    losses = []
    for step in (STEP, -STEP):
        array[place] += step
        losses.append(loss_of(network, *data))
        array[place] -= step
    return (losses[0] - losses[1]) / (2 * STEP)
