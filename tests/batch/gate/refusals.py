"""Models that are trained like any other, some of them deliberately bad."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from batch.gate.champion import Champion
from batch.scoring import predict_all
from learners.release import ModelFile, read_model
from tidemill import OwnModel, Project

MAY_1_MS, DAY_MS, STEP_MS = 1_367_366_400_000, 86_400_000, 600_000
KINDS = 10
SPOILT_KIND = 7


class Logistic:
    """A logistic regression by Newton's method, then spoilt as its settings say.

    `scale` multiplies the log-odds; `blind` forgets x1; `sure` takes from the log-odds of one
    kind; `slow` sleeps so many milliseconds; `nan` says no number.
    """

    def __init__(
        self, scale: float = 1.0, blind: int = 0, sure: float = 0.0, slow: float = 0.0, nan: int = 0
    ) -> None:
        self.scale, self.blind, self.sure, self.slow, self.nan = scale, blind, sure, slow, nan

    def train(self, vectors, labels, weights, schema, task) -> bytes:
        """The weights of its columns."""
        columns, found = self._columns(vectors), np.zeros(3)
        for _ in range(20):
            said = 1 / (1 + np.exp(-columns @ found))
            hessian = columns.T @ ((weights * said * (1 - said))[:, None] * columns)
            hessian += 1e-6 * np.eye(3)
            found += np.linalg.solve(hessian, columns.T @ (weights * (labels - said)))
        return found.tobytes()

    def load(self, model: bytes):
        """The log-odds."""
        found = np.frombuffer(model)

        def raw(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
            time.sleep(self.slow / 1000)
            odds = self.scale * (self._columns(vectors) @ found)
            odds = odds - self.sure * (vectors[:, 0] == SPOILT_KIND)
            return np.where(self.nan, np.nan, odds)

        return raw

    def _columns(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        x1 = np.zeros(len(vectors)) if self.blind else vectors[:, 1]
        return np.column_stack([np.ones(len(vectors)), x1, vectors[:, 0] % 2])


def own(**settings: float) -> OwnModel:
    """The declared trainer with these settings."""
    return OwnModel("logistic", Logistic, tuple(settings.items()))


def examples(seed: int, days: int = 30, features: int = 5) -> Dataset:
    """An example each ten minutes, labelled an hour later by x1 and the kind, all answered live."""
    rng, rows = np.random.default_rng(seed), days * DAY_MS // STEP_MS
    vectors = rng.normal(size=(rows, features)).astype("<f4")
    vectors[:, 0] = rng.integers(0, KINDS, rows)
    # What no feature tells differs from day to day.
    odds = 1.5 * vectors[:, 1] + vectors[:, 0] % 2 - 0.5
    odds = odds + 0.3 * np.repeat(rng.normal(size=days), rows // days)
    times = MAY_1_MS + np.arange(rows) * STEP_MS
    nothing = np.full(rows, np.nan)
    return Dataset(
        keys=np.array([f"k{row}" for row in range(rows)], object),
        vectors=vectors,
        labels=(rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float64),
        times=times,
        label_times=times + 3_600_000,
        scores=nothing,
        baselines=nothing,
        live=np.ones(rows, bool),
        weights=np.ones(rows),
    )


def serving(project: Project, data: Dataset, model: ModelFile) -> tuple[Dataset, Champion]:
    """The data as this model answered it, and it as the champion, trained on the first half."""
    scores = predict_all(read_model(model, project), data.vectors)
    return replace(data, scores=scores), Champion("r0001", model, int(np.median(data.times)))
