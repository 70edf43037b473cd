"""The port of this folder: what trains a model, and what is told while it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from learners.learner import Scores, Vectors
from learners.release import ModelFile
from tidemill.trainer_kinds import TrainerKind


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """What is learned from.

    vectors float32 (rows, features), NaN = missing; labels float64 (rows,) of the task; weights
    float64 (rows,), how many examples each row stands for.
    """

    vectors: Vectors
    labels: NDArray[np.float64]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, vectors: Vectors, labels: NDArray[np.generic]) -> TrainingRows:
        """Rows that stand for one example each."""
        return cls(vectors, labels.astype(np.float64), np.ones(len(labels)))

    def take(self, rows: NDArray[np.generic]) -> TrainingRows:
        """Some of the rows, by mask or by number."""
        return TrainingRows(self.vectors[rows], self.labels[rows], self.weights[rows])


class Watch(Protocol):
    """Follows a training by how good the model is on rows it does not learn from."""

    @property
    def vectors(self) -> Vectors:
        """Those rows' vectors."""
        ...

    def seen(self, step: int, scores: Scores) -> bool:
        """Told what the model predicts for them after `step` steps (from 1); True ends training.

        May raise to give the training up. Not every step need be shown, but the last one is.
        """
        ...


class Trainer(Protocol):
    """Trains models of one task on vectors of one schema; the same rows give the same bytes."""

    @property
    def settings(self) -> TrainerKind:
        """What was declared, or found by a search."""
        ...

    @property
    def steps(self) -> int:
        """How many steps a training has: rounds, passes or epochs."""
        ...

    def train(
        self, rows: TrainingRows, stage: str = "train", watch: Watch | None = None
    ) -> ModelFile:
        """A model of these rows; `stage` names it to whoever hears of progress.

        Raises ValueError for labels that the task does not allow, TrainingFailed where the method
        fails on them (a loss that is no number, a device without memory).
        """
        ...
