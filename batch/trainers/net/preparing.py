"""A network before training: it knows the data's means, spreads and ids, and nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.learner import Vectors
from learners.net.embedding_net import first_network
from learners.net.frozen_net import shape_of
from learners.net.moments import take_in
from learners.net.network import Network
from learners.net.table import FIRST_SUM, Candidates, Rows
from tidemill.learner_kinds import EmbeddingNet
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task
from tidemill.trainer_kinds import NetModel

_CHUNK_ROWS = 1_000_000  # whose ids are counted together

Floats = NDArray[np.float64]


def prepared(settings: NetModel, schema: FeatureSchema, task: Task, vectors: Vectors) -> Network:
    """A network for these rows whose outputs are all 0."""
    learner = EmbeddingNet(
        embedding=settings.embedding, hidden=settings.hidden, admit_after=settings.admit_after,
        max_rows=settings.max_rows, seed=settings.seed,
    )  # fmt: skip
    shape = shape_of(task, schema, settings.embedding, settings.hidden)
    network = first_network(shape, learner)
    vectors = network.checked(vectors)
    take_in(network.moments, network.scaling, vectors, shape.numeric_places)
    network.rescale()
    _admit(network, vectors, settings)
    return network


def targets_of(network: Network, labels: Floats, weights: Floats) -> NDArray[np.generic]:
    """What the last layer should say; a regression's center and scale are set for it."""
    if network.shape.task.kind == "multiclass":
        return labels.astype(np.int64)
    if not weights.sum():  # nothing says how large values are
        network.scale = 1.0
    elif network.shape.task.kind == "regression":
        network.center = float(np.average(labels, weights=weights))
        variance = np.average((labels - network.center) ** 2, weights=weights)
        network.scale = float(np.sqrt(variance)) or 1.0
    return ((labels - network.center) / network.scale).astype(np.float32)


def _admit(network: Network, vectors: Vectors, settings: NetModel) -> None:
    """Give a row to every id seen often enough; to the most frequent where there are too many."""
    table = network.table
    keys, counts = _counted(network, vectors)
    order = np.lexsort((keys, -counts))[: settings.max_rows]
    chosen = np.sort(keys[order[counts[order] >= settings.admit_after]])
    values = np.full((len(chosen), 2 * table.width), FIRST_SUM, np.float32)
    values[:, : table.width] = table.first_values(chosen)
    numbers = table.columns + np.arange(len(chosen), dtype=np.int64)
    none = np.empty(0, np.int64)
    table.put(Rows(numbers, chosen, np.zeros_like(chosen), values), Candidates(none, none, True))


def _counted(network: Network, vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every id's key, ascending, and in how many rows it is."""
    keys, counts = np.empty((2, 0), np.int64)
    for start in range(0, len(vectors), _CHUNK_ROWS):
        found = np.unique(network.find(vectors[start : start + _CHUNK_ROWS])[1], return_counts=True)
        if not len(keys):
            keys, counts = found
            continue
        keys, places = np.unique(np.concatenate([keys, found[0]]), return_inverse=True)
        together = np.concatenate([counts, found[1]])
        counts = np.bincount(places, together, len(keys)).astype(np.int64)
    return keys, counts
