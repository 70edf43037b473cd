"""Examples that wait until their block is whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.learner import Vectors
from learners.net.state import NetState
from tidemill.errors import ArtifactError

Block = tuple[Vectors, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Vectors, labels and weights (rows,), and raw scores of the release (rows, outputs)."""


@dataclass
class Waiting:
    """Room for a block; the first `count` rows are taken."""

    room: Block
    count: int = 0

    @classmethod
    def none(cls, block: int, features: int, outputs: int) -> Waiting:
        """Nothing waits."""
        vectors = np.empty((block, features), np.float32)
        return cls((vectors, np.empty(block), np.empty(block), np.empty((block, outputs))))

    @classmethod
    def read(cls, saved: NetState, block: int, features: int, outputs: int) -> Waiting:
        """Those of a state. Raises ArtifactError."""
        labels = saved.array("labels", "<f8", (-1,))
        rows = len(labels)
        weights = saved.array("weights", "<f8", (rows,))
        if rows > saved.given or not (weights > 0).all():
            raise ArtifactError(f"net state: found {rows} of {saved.given} examples waiting")
        # A state may come from settings with larger blocks: these rows are learned with the next.
        made = cls.none(max(block, rows + 1), features, outputs)
        vectors = saved.array("vectors", "<f4", (rows, features))
        made.add(vectors, labels, weights, saved.array("offsets", "<f8", (rows, outputs)))
        return made

    def add(self, *more: NDArray[Any]) -> None:
        """Some more rows; there must be room."""
        end = self.count + len(more[0])
        room: tuple[NDArray[Any], ...] = self.room
        for target, source in zip(room, more, strict=True):
            target[self.count : end] = source
        self.count = end

    def followed_by(self, *more: NDArray[Any]) -> Block:
        """What waits and some more rows, which fill the block."""
        if self.count == 0:
            return more  # type: ignore[return-value]
        self.add(*more)
        return self.rows()

    def rows(self) -> Block:
        """What waits."""
        vectors, labels, weights, offsets = self.room
        count = self.count
        return vectors[:count], labels[:count], weights[:count], offsets[:count]

    def copy(self) -> Waiting:
        """The same rows, apart."""
        vectors, labels, weights, offsets = self.room
        room = (vectors.copy(), labels.copy(), weights.copy(), offsets.copy())
        return Waiting(room, self.count)
