"""Contributions of nets are integrated gradients, integrated piece by piece."""

from __future__ import annotations

import numpy as np
import pytest
from case_net import SCHEMA, SETTINGS, trained
from numpy.typing import NDArray
from releases import release

from learners.explain import net as explained
from learners.explain.contributions import contributions, methods
from learners.explain.net import net_contributions
from learners.net.embedding_net import EmbeddingNet
from learners.net.network import Network
from learners.trees import FrozenTrees
from tidemill.tasks import BINARY, REGRESSION, Task

Floats = NDArray[np.float64]


def riemann(network: Network, vector: NDArray[np.float32], steps: int) -> Floats:
    """The definition with as many steps: mean slopes of every input on the way (inputs,)."""
    end = network.run(vector[None])[0][0].astype(np.float64)
    start = explained._baseline(network)
    layers = [(w.astype(np.float64), b.astype(np.float64)) for w, b in network.layers]
    total = np.zeros(len(start))
    for share in (np.arange(steps) + 0.5) / steps:
        values, alive = start + share * (end - start), []
        for weights, biases in layers[:-1]:
            values = np.maximum(values @ weights + biases, 0)
            alive.append(values > 0)
        slopes = layers[-1][0][:, 0]
        for (weights, _), on in zip(layers[-2::-1], alive[::-1], strict=True):
            slopes = weights @ (slopes * on)
        total += slopes / steps
    return network.scale * total * (end - start)


@pytest.mark.parametrize("task", [BINARY, REGRESSION], ids=lambda task: task.kind)
def test_rows_sum_to_the_raw_score(task: Task) -> None:
    """The completeness error is below 1e-3, with missing values and ids never seen."""
    frozen = trained(task)
    vectors = release().vectors.copy()
    vectors[::7, 0], vectors[::5, 1] = 4096, np.nan
    found = contributions(frozen, vectors)
    error = np.abs(found.sum(axis=1) - frozen.raw_many(vectors)).max()
    assert error < 1e-3 * max(1.0, frozen.network.scale)
    assert 1 == len(np.unique(found[:, -1]))


def test_they_are_the_integral_of_the_slopes() -> None:
    """Thousands of small steps along the way come to the same, feature by feature."""
    network, vectors = trained().network, release().vectors[:5]
    shape = network.shape
    numbers = len(shape.numeric_places)
    for vector, row in zip(vectors, net_contributions(network, vectors), strict=True):
        parts = riemann(network, vector, 4000)
        expected = np.zeros(len(shape.features))
        expected[shape.numeric_places] = parts[:numbers] + parts[numbers : 2 * numbers]
        expected[0] = parts[2 * numbers :].sum()
        np.testing.assert_allclose(row[:-1], expected, atol=2e-3)


def test_the_baseline_is_explained_by_nothing() -> None:
    """A row of means with an id never seen is the baseline: every contribution is 0."""
    network = trained().network
    vector = np.full((1, len(network.shape.features)), 4096, np.float32)
    vector[0, network.shape.numeric_places] = network.scaling[0]
    found = net_contributions(network, vector)
    np.testing.assert_allclose(0, found[0, :-1], atol=1e-5)
    np.testing.assert_allclose(network.raw_many(vector)[0, 0], found[0, -1], atol=1e-5)


def test_few_pieces_are_nearly_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a line with too many pieces some of the cuts still come close."""
    network, vectors = trained().network, release().vectors[:50]
    exact = net_contributions(network, vectors)
    monkeypatch.setattr(explained, "_MOST_PIECES", 6)
    np.testing.assert_allclose(net_contributions(network, vectors), exact, atol=0.3)


def test_a_net_beside_trees_adds_to_theirs() -> None:
    """A net that corrects trees has their contributions and its own."""
    made = release()
    trees = FrozenTrees.parse(made.text)
    learner = EmbeddingNet.warm_start(trees, SETTINGS, SCHEMA)
    for _ in range(3):
        learner.learn_many(made.vectors, made.labels)
    found, scores = contributions(learner, made.vectors), learner.predict_many(made.vectors)
    np.testing.assert_allclose(found.sum(axis=1), np.log(scores / (1 - scores)), atol=1e-3)
    assert ("integrated_gradients", "tree_shap") == methods(learner)
    assert np.abs(found - contributions(trees, made.vectors)).max() > 1e-3


def test_a_net_that_goes_on_from_a_net_is_one_net() -> None:
    """Its release's weights are in its own: nothing is counted twice."""
    frozen = trained()
    learner = EmbeddingNet.warm_start(frozen, SETTINGS, SCHEMA)
    vectors = release().vectors
    np.testing.assert_array_equal(contributions(frozen, vectors), contributions(learner, vectors))
    assert ("integrated_gradients",) == methods(learner)
