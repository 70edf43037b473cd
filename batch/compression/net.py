"""Smaller nets: weights of 8 bits, fewer embeddings, fewer hidden units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from batch.compression.family import Material, some_of
from learners.learner import Frozen, Vectors
from learners.net.frozen_net import FrozenNet, net_bytes
from learners.net.network import Network
from learners.net.table import Candidates, EmbeddingTable, Rows
from learners.release import NET_FILE, ModelFile

_FITTED_ROWS = 10_000  # by which the layers after a pruned one are fitted
_RIDGE = 1e-4  # of the mean square of an input
_CHUNK_ROWS = 1000

Floats = NDArray[np.float64]


class Nets:
    """See `Family`.

    `rows` keeps the embeddings that training rows use most; a column's row for ids without one
    becomes the mean of itself and what was dropped, weighted by use. `units` keeps in each hidden
    layer the units with the largest root mean square times outgoing weights, and fits the next
    layer so that it comes closest to what it took in before: He, Zhang and Sun, "Channel Pruning
    for Accelerating Very Deep Neural Networks" (ICCV 2017), section 3.1, step ii.
    """

    strengths: ClassVar[Mapping[str, Sequence[float]]] = {
        "int8": (1.0,),
        "rows": (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03),
        "units": (0.8, 0.65, 0.5, 0.35, 0.25, 0.18, 0.12),
    }

    def __init__(self, material: Material) -> None:
        self._network = FrozenNet.parse(material.model.data).network
        self._vectors = self._network.checked(material.rows.vectors)
        self._some = self._network.checked(some_of(material.rows, _FITTED_ROWS).vectors)

    def variants(self, method: str, keep: float) -> Sequence[ModelFile]:
        """See `Family`."""
        network = self._network
        if method == "rows":
            network = fewer_rows(network, self._vectors, keep)
        elif method == "units":
            network = fewer_units(network, self._some, keep)
        return [ModelFile(NET_FILE, net_bytes(network, int8=True))]

    @staticmethod
    def operations(model: Frozen, vectors: Vectors) -> float:
        """Multiplications of all layers."""
        assert isinstance(model, FrozenNet)
        sizes = model.network.shape.sizes
        return float((sizes[:-1] * sizes[1:]).sum())


def fewer_rows(network: Network, vectors: Vectors, keep: float) -> Network:
    """The network with this share of its embeddings, those that `vectors` use most."""
    table, shape = network.table, network.shape
    columns = table.columns
    uses = np.zeros(table.used, np.int64)
    for start in range(0, len(vectors), _CHUNK_ROWS):
        found, _ = network.find(vectors[start : start + _CHUNK_ROWS])
        uses += np.bincount(found.ravel(), minlength=table.used)
    rows = table.all_rows()
    used = uses[rows.numbers]
    ids = np.arange(columns, len(rows.keys))
    order = ids[np.lexsort((rows.keys[ids], -used[ids]))]
    kept = np.sort(order[: round(keep * len(order))])
    dropped = np.setdiff1d(ids, kept)
    values = _with_dropped(rows, used, dropped, columns)
    chosen = np.concatenate([np.arange(columns), kept])
    made = network.copy()
    made.table = _table(columns, shape.embedding, table, rows.keys[chosen], values[chosen])
    return made


def _with_dropped(
    rows: Rows, used: NDArray[np.int64], dropped: NDArray[np.int64], columns: int
) -> NDArray[np.float32]:
    values = rows.values.astype(np.float64)
    of = rows.keys[dropped] >> 32
    for column in range(columns):
        gone = np.append(dropped[of == column], column)
        weights = used[gone].astype(np.float64)
        if weights.sum() > 0:
            values[column] = np.average(values[gone], axis=0, weights=weights)
    return values.astype(np.float32)


def _table(
    columns: int,
    width: int,
    old: EmbeddingTable,
    keys: NDArray[np.int64],
    values: NDArray[np.float32],
) -> EmbeddingTable:
    made, none = EmbeddingTable(columns, width, old.turnover), np.empty(0, np.int64)
    numbers = np.arange(len(keys), dtype=np.int64)
    made.put(Rows(numbers, keys, np.zeros_like(keys), values), Candidates(none, none, True))
    return made


def fewer_units(network: Network, vectors: Vectors, keep: float) -> Network:
    """The network with this share of the units of each hidden layer."""
    shape = network.shape
    layers = [(w.astype(np.float64), b.astype(np.float64)) for w, b in network.layers]
    sums = shape.layers(network.sums)
    values = [made.astype(np.float64) for made in network.run(vectors)]
    made: list[tuple[Any, Any, Any, Any]] = []
    inputs, into = values[0], np.arange(shape.inputs)
    for number, (weights, biases) in enumerate(layers):
        weight_sums, bias_sums = sums[number]
        if number:  # what came in before is what is to come in from the units that are left
            goal = values[number] @ weights + biases
            weights, biases = _closest(inputs, goal, weights[into], biases)
            weight_sums = weight_sums[into]
        last = number == len(layers) - 1
        chosen = np.arange(len(biases)) if last else _strongest(values, layers, number, keep)
        weights, biases = weights[:, chosen], biases[chosen]
        made.append((weights, biases, weight_sums[:, chosen], bias_sums[chosen]))
        inputs, into = np.maximum(inputs @ weights + biases, 0), chosen
    smaller = replace(shape, hidden=tuple(len(biases) for _, biases, _, _ in made[:-1]))
    dense = np.concatenate([part.ravel() for w, b, _, _ in made for part in (w, b)])
    dense_sums = np.concatenate([part.ravel() for _, _, w, b in made for part in (w, b)])
    return Network(
        smaller, dense.astype(np.float32), dense_sums.astype(np.float32), network.table.copy(),
        network.moments.copy(), network.center, network.scale,
    )  # fmt: skip


def _strongest(
    values: list[Floats], layers: list[tuple[Floats, Floats]], number: int, keep: float
) -> NDArray[np.int64]:
    made, (following, _) = values[number + 1], layers[number + 1]
    strength = np.sqrt((made**2).mean(axis=0)) * np.linalg.norm(following, axis=1)
    count = max(1, round(keep * len(strength)))
    return np.sort(np.argsort(-strength, kind="stable")[:count])


def _closest(
    inputs: Floats, goal: Floats, weights: Floats, biases: Floats
) -> tuple[Floats, Floats]:
    """Weights and biases near these by which `inputs` come closest to `goal`: ridge regression."""
    center, aim = inputs.mean(axis=0), goal.mean(axis=0)
    moved = inputs - center
    gram = moved.T @ moved
    ridge = _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
    missing = (goal - aim) - moved @ weights
    step = np.linalg.solve(gram + ridge * np.eye(len(gram)), moved.T @ missing)
    found = weights + step
    return found, aim - center @ found
