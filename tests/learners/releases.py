"""Small LightGBM models on synthetic data, for the learners' tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

ROWS, FEATURES, CATEGORIES = 3000, 8, 100


@dataclass(frozen=True)
class Release:
    """A trained model with data it has not seen."""

    booster: lightgbm.Booster
    text: bytes
    vectors: NDArray[np.float32]
    labels: NDArray[Any]


def synthetic(rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Vectors whose first column is categorical, a tenth of the rest missing, and their labels."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    vectors[rng.random(vectors.shape) < 0.1] = np.nan
    vectors[:, 0] = rng.integers(0, CATEGORIES, rows)
    vectors[:, 3] = np.where(rng.random(rows) < 0.5, 0, vectors[:, 3])
    odds = np.nan_to_num(vectors[:, 1] - vectors[:, 2] * vectors[:, 3]) + vectors[:, 0] % 3 - 2
    return vectors, (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)


@cache
def release(rounds: int = 20, leaves: int = 31, **parameters: float) -> Release:
    """A release with numerical and categorical splits, NaN on both sides."""
    vectors, labels = synthetic(ROWS, seed=1)
    settings = {"objective": "binary", "num_leaves": leaves, "verbose": -1, "seed": 7}
    settings |= {"num_threads": 1, "min_data_per_group": 10, **parameters}
    data = lightgbm.Dataset(vectors, labels, categorical_feature=[0])
    booster = lightgbm.train(settings, data, rounds)
    unseen, outcomes = synthetic(500, seed=2)
    return Release(booster, booster.model_to_string().encode(), unseen, outcomes)


@cache
def regression_release(rounds: int = 20, leaves: int = 31) -> Release:
    """A release that predicts a number, some hundred on average."""
    vectors, _ = synthetic(ROWS, seed=1)
    settings = {"objective": "regression", "num_leaves": leaves, "verbose": -1, "seed": 7}
    settings |= {"num_threads": 1, "min_data_per_group": 10}
    data = lightgbm.Dataset(vectors, _values(vectors, seed=3), categorical_feature=[0])
    booster = lightgbm.train(settings, data, rounds)
    unseen, _ = synthetic(500, seed=2)
    return Release(booster, booster.model_to_string().encode(), unseen, _values(unseen, seed=4))


def _values(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=len(vectors))
    effects = np.nan_to_num(vectors[:, 1] - vectors[:, 2] * vectors[:, 3]) + vectors[:, 0] % 3
    return 100 + 20 * effects.astype(np.float64) + 5 * noise
