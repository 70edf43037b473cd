"""What a net reads of rows, encoded once: standardised numbers, places of ids, targets, weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learners.learner import Vectors
from learners.net.layers import fill_inputs
from learners.net.network import Network

_CHUNK_ROWS = 65_536  # looked at together


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows as tensors on one device."""

    numbers: torch.Tensor  # float32 (rows, kept)
    ids: torch.Tensor  # int64 (rows, columns): rows of the embedding table
    targets: torch.Tensor  # float32 (rows,), int64 of several classes
    weights: torch.Tensor  # float32 (rows,)

    def __len__(self) -> int:
        return len(self.targets)

    def at(self, rows: torch.Tensor) -> Batch:
        """Some of its rows."""
        parts = (self.numbers, self.ids, self.targets, self.weights)
        return Batch(*[part.index_select(0, rows) for part in parts])

    def to(self, device: torch.device) -> Batch:
        """A copy there; from pinned memory it is made beside other work."""
        parts = (self.numbers, self.ids, self.targets, self.weights)
        return Batch(*[part.to(device, non_blocking=True) for part in parts])

    def pinned(self) -> Batch:
        """A copy in memory that a GPU reads by itself."""
        parts = (self.numbers, self.ids, self.targets, self.weights)
        return Batch(*[part.pin_memory() for part in parts])


class Inputs:
    """The training rows as the layers read them; `network` says how and is not changed.

    Of the numbers' inputs only those are `kept` that are not 0 in every row: the flags of numbers
    that are never missing are half of them, and their weights would have no slope.
    """

    def __init__(
        self,
        network: Network,
        vectors: Vectors,
        targets: NDArray[np.generic],
        weights: NDArray[np.float64],
    ) -> None:
        self._network, self._vectors = network, network.checked(vectors)
        self._targets, self._weights = targets, weights.astype(np.float32)
        used = np.zeros(2 * len(network.shape.numeric_places), np.bool_)
        for start in range(0, len(vectors), _CHUNK_ROWS):
            used |= (self._numbers(self._vectors[start : start + _CHUNK_ROWS]) != 0).any(axis=0)
        self.kept = np.flatnonzero(used)
        """Which of the numbers' inputs, int64 (kept,)."""

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def bytes(self) -> int:
        """What all rows take when encoded."""
        columns = len(self._network.shape.categorical_places)
        return len(self) * (4 * len(self.kept) + 8 * columns + 4 + self._targets.itemsize)

    def encoded(self, rows: NDArray[np.int64]) -> Batch:
        """Some rows, in this order."""
        vectors = self._vectors[rows]
        numbers = self._numbers(vectors)[:, self.kept]
        return _batch(
            numbers, self._network.find(vectors)[0], self._targets[rows], self._weights[rows]
        )

    def all(self) -> Batch:
        """Every row, encoded a chunk at a time."""
        columns = len(self._network.shape.categorical_places)
        numbers = np.empty((len(self), len(self.kept)), np.float32)
        ids = np.empty((len(self), columns), np.int64)
        for start in range(0, len(self), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            numbers[part] = self._numbers(self._vectors[part])[:, self.kept]
            ids[part] = self._network.find(self._vectors[part])[0]
        return _batch(numbers, ids, self._targets, self._weights)

    def _numbers(self, vectors: Vectors) -> NDArray[np.float32]:
        network, numeric = self._network, self._network.shape.numeric_places
        made = np.empty((len(vectors), 2 * len(numeric)), np.float32)
        no_ids = np.empty((len(vectors), 0), np.int64)
        fill_inputs(vectors, numeric, network.scaling, no_ids, network.table.rows, made)
        return made


def _batch(*arrays: NDArray[Any]) -> Batch:
    return Batch(*[torch.from_numpy(array) for array in arrays])
