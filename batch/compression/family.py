"""The port of this folder: what makes smaller models of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from batch.trainers.trainer import TrainingRows
from learners.learner import Frozen, Vectors
from learners.release import ModelFile

MOST_ROWS = 50_000  # that a smaller model is fitted to, evenly spread over all


@dataclass(frozen=True, slots=True)
class Material:
    """What a family works with: the model, training rows, and cores (0: all)."""

    model: ModelFile
    rows: TrainingRows
    threads: int = 0


class Family(Protocol):
    """Makes smaller models of one model; equal rows give equal bytes."""

    strengths: ClassVar[Mapping[str, Sequence[float]]]
    """Methods in the order in which they are tried, each with what it keeps, most first."""

    def __init__(self, material: Material) -> None: ...

    def variants(self, method: str, keep: float) -> Sequence[ModelFile]:
        """Models of this strength, of which the best is taken."""
        ...

    @staticmethod
    def operations(model: Frozen, vectors: Vectors) -> float:
        """What a prediction takes on average over the vectors: nodes visited, multiplications."""
        ...


def some_of(rows: TrainingRows, most: int = MOST_ROWS) -> TrainingRows:
    """Evenly spread rows, all where there are no more."""
    if len(rows) <= most:
        return rows
    return rows.take(np.linspace(0, len(rows) - 1, most).astype(np.int64))
