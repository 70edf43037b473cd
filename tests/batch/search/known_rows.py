"""Rows whose labels are drawn by a known rule."""

from __future__ import annotations

import numpy as np

from batch.datasets.dataset import Dataset
from tidemill import Project
from tidemill.durations import HOUR_MS
from tidemill.schema import schema_of

MAY_1_MS = 1_367_366_400_000


def made_rows(project: Project, rows: int = 1200, seed: int = 1, strength: float = 2.0) -> Dataset:
    """Examples half an hour apart, labelled an hour later by x1 and the kind."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, len(schema_of(project).names))).astype(np.float32)
    vectors[:, 0] = rng.integers(0, 20, rows)
    odds = strength * vectors[:, 1] + vectors[:, 0] % 2 - 0.5
    times = MAY_1_MS + np.arange(rows) * (HOUR_MS // 2)
    return Dataset(
        keys=np.array([f"k{row}" for row in range(rows)], object),
        vectors=vectors,
        labels=(rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float64),
        times=times,
        label_times=times + HOUR_MS,
        scores=np.full(rows, np.nan),
        baselines=np.full(rows, np.nan),
        live=np.zeros(rows, bool),
        weights=np.ones(rows),
    )
