"""The ports of this folder: a frozen release, a learner that starts from it, what some can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tidemill.tasks import Task

Vectors = NDArray[np.float32]
"""(rows, features) in the schema's order, NaN where a value is missing."""

Scores = NDArray[np.float64]
"""(rows,): probabilities of label 1, or values; (rows, classes) for several classes."""

Encoded = bytes | memoryview
"""What `snapshot` or `changes` gave; a view where it lies within a longer record."""


class Frozen(Protocol):
    """A release as batch made it. Read only; safe to use from several threads."""

    @property
    def task(self) -> Task:
        """What it predicts."""
        ...

    @property
    def digest(self) -> str:
        """Hex SHA-256 of its bytes: what a learner's state belongs to."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """The names of a vector's columns."""
        ...

    def raw_many(self, vectors: Vectors) -> Scores:
        """Log-odds, values, or for several classes what softmax makes probabilities of."""
        ...

    def predict_many(self, vectors: Vectors) -> Scores:
        """Probabilities or values."""
        ...


class Learner(Protocol):
    """Learns examples in their order; started from a release, whose predictions are its first.

    How a stream is cut into calls of `learn_many` changes nothing: a state restored and brought up
    by replay has the bytes of one that was never interrupted. Predicting changes no state. One
    thread may learn while nobody else uses the same learner.
    """

    @property
    def task(self) -> Task:
        """What it predicts."""
        ...

    def predict_many(self, vectors: Vectors) -> Scores:
        """What it predicts now."""
        ...

    def predict_both(self, vectors: Vectors) -> tuple[Scores, Scores]:
        """`predict_many`, and what the frozen release predicts."""
        ...

    def learn_many(
        self,
        vectors: Vectors,
        labels: NDArray[np.generic],
        weights: NDArray[np.float64] | None = None,
    ) -> Scores:
        """Predict, then learn, row by row; returns the predictions before learning.

        `labels` (rows,) as the task says; `weights` (rows,) are importances, 0 or more, 1 when none
        are given. Raises ValueError, and learns nothing, for any other.
        """
        ...

    def snapshot(self) -> bytes:
        """Everything learned; equal states give equal bytes."""
        ...

    def clone(self) -> Self:
        """A learner of its own with the same state, on the same release."""
        ...

    def update_norm(self) -> float:
        """The Euclidean distance of its weights from those it started with."""
        ...


@runtime_checkable
class Incremental(Protocol):
    """A learner so big that only what was touched is published."""

    def changes(self) -> bytes:
        """What was touched since the last call, or since it was made."""
        ...

    def apply(self, changes: Encoded) -> None:
        """Bring a copy of the state as it was at the last `changes` up to these.

        Raises ArtifactError when they do not fit.
        """
        ...


@runtime_checkable
class Mergeable(Protocol):
    """A learner of which several that learned side by side can become one."""

    def merge(self, others: Sequence[Self]) -> None:
        """Take in what others learned since they were cloned from this one."""
        ...


def checked_labels(task: Task, labels: NDArray[np.generic], rows: int) -> NDArray[np.float64]:
    """The labels as float64 (rows,). Raises ValueError for any that the task does not allow."""
    found = np.array(labels, np.float64)
    if task.kind == "binary":
        allowed, good = f"{rows} values of 0 or 1", np.isin(found, (0.0, 1.0))
    elif task.kind == "regression":
        allowed, good = f"{rows} finite values", np.isfinite(found)
    else:
        allowed = f"{rows} whole values from 0 to {task.classes - 1}"
        good = np.isin(found, np.arange(task.classes))
    if found.shape != (rows,) or not good.all():
        raise ValueError(f"labels: found {labels!r}; allowed: {allowed}")
    return found


def checked_weights(weights: NDArray[np.float64] | None, rows: int) -> NDArray[np.float64]:
    """The weights as float64 (rows,), 1 for none. Raises ValueError for a bad one."""
    if weights is None:
        return np.ones(rows)
    found = np.array(weights, np.float64)
    if found.shape != (rows,) or not (np.isfinite(found) & (found >= 0)).all():
        raise ValueError(f"weights: found {weights!r}; allowed: {rows} finite values, 0 or more")
    return found
