"""Smaller nets: which embeddings and units stay, and what stands for those that went."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import CLASSES, model_of, rows_of

from batch.compression.net import fewer_rows, fewer_units
from learners.net.frozen_net import FrozenNet, net_bytes
from learners.net.network import Network
from tidemill.tasks import BINARY, REGRESSION, Task

TASKS = (BINARY, REGRESSION, CLASSES)


def network_of(task: Task) -> Network:
    """A trained net."""
    return FrozenNet.parse(model_of("net", task).data).network


def off(one: Network, other: Network, task: Task) -> float:
    """How far raw scores of new rows are apart, in units of how far they spread."""
    vectors = rows_of(task, 2).vectors
    first, second = (network.raw_many(vectors) for network in (one, other))
    return float(np.sqrt(((first - second) ** 2).mean()) / first.std())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_all_units_are_the_same_net(task: Task) -> None:
    """Nothing dropped, next to nothing changed."""
    network = network_of(task)
    same = fewer_units(network, rows_of(task).vectors, 1.0)
    assert network.shape == same.shape
    assert off(network, same, task) < 1e-3


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_half_of_the_units_say_most_of_it(task: Task) -> None:
    """Fitted, they are closer than the same units without the fit, and can be written."""
    network, vectors = network_of(task), rows_of(task).vectors
    half = fewer_units(network, vectors, 0.5)
    assert (8, 4) == half.shape.hidden
    assert off(network, half, task) < 0.6
    again = FrozenNet.parse(net_bytes(half)).network
    np.testing.assert_array_equal(half.raw_many(vectors), again.raw_many(vectors))
    assert (half.sums > 0).all()


def test_a_layer_keeps_one_unit_at_least() -> None:
    """However little is to stay."""
    assert (1, 1) == fewer_units(network_of(BINARY), rows_of(BINARY).vectors, 0.0).shape.hidden


def test_the_embeddings_that_are_used_most_stay() -> None:
    """The others are looked up as ids without one, whose row is now also their mean."""
    network, vectors = network_of(BINARY), rows_of(BINARY).vectors
    fewer = fewer_rows(network, vectors, 0.25)
    assert round(0.25 * len(network.table)) == len(fewer.table)
    values, counts = np.unique(vectors[:, 4], return_counts=True)
    often = values[np.argmax(counts)]
    row = vectors[:1].copy()
    row[0, 4] = often
    before, after = (net.table.rows[net.find(row)[0][0, 1]] for net in (network, fewer))
    np.testing.assert_array_equal(before, after)
    assert fewer.find(vectors)[0].min() < fewer.table.columns
    assert not np.array_equal(network.table.rows[0], fewer.table.rows[0])
    assert off(network, fewer, BINARY) < 1


def test_all_rows_are_the_same_net() -> None:
    """Whatever their order."""
    network, vectors = network_of(BINARY), rows_of(BINARY).vectors
    same = fewer_rows(network, vectors, 1.0)
    np.testing.assert_array_equal(network.raw_many(vectors), same.raw_many(vectors))
