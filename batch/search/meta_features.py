"""What describes a data set without training on it, and how far two of them are apart."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task

_SAMPLE = 20_000  # rows that statistics of features are taken from
Floats = NDArray[np.float64]

# By how much a meta-feature must differ to count as much as any other: an order of magnitude of
# rows, a tenth of a share. Which ones: Feurer, Springenberg and Hutter (AAAI 2015), table 1, those
# that take no training.
_SCALES = {
    "log_rows": math.log(10), "log_features": math.log(10), "categorical": 0.1, "missing": 0.1,
    "log_odds": 1.0, "skewness": 2.0, "kurtosis": 5.0, "strongest": 0.1, "mean_strength": 0.05,
    "log_days": math.log(10), "drift": 0.05,
}  # fmt: skip


def distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The mean distance of two data sets' meta-features, each in its scale and at most 3."""
    names = [name for name in _SCALES if name in one and name in other]
    if not names:
        return math.inf
    parts = [min(abs(one[name] - other[name]) / _SCALES[name], 3.0) for name in names]
    return sum(parts) / len(parts)


def meta_features(data: Dataset, schema: FeatureSchema, task: Task) -> dict[str, float]:
    """What describes a data set without training on it."""
    rows = np.linspace(0, len(data) - 1, min(len(data), _SAMPLE)).astype(np.int64)
    vectors, labels = data.vectors[rows].astype(np.float64), data.labels[rows]
    numeric = [place for place, n in enumerate(schema.names) if n not in schema.categorical]
    strengths, skewness, kurtosis = _shapes(vectors[:, numeric], labels)
    days = max((int(data.times.max()) - int(data.times.min())) / 86_400_000, 1e-3)
    half = len(labels) // 2
    spread = float(labels.std()) or 1.0
    found = {
        "log_rows": math.log(len(data)),
        "log_features": math.log(len(schema.names)),
        "categorical": len(schema.categorical) / len(schema.names),
        "missing": float(np.isnan(vectors).mean()),
        "skewness": skewness,
        "kurtosis": kurtosis,
        "strongest": float(strengths.max(initial=0.0)),
        "mean_strength": float(strengths.mean()) if len(strengths) else 0.0,
        "log_days": math.log(days),
        "drift": abs(float(labels[half:].mean() - labels[:half].mean())) / spread if half else 0.0,
    }
    if task.kind == "binary":
        rate = min(max(float(labels.mean()), 1e-6), 1 - 1e-6)
        found["log_odds"] = math.log(rate / (1 - rate))
    return {name: round(value, 6) for name, value in sorted(found.items())}


def _shapes(vectors: Floats, labels: Floats) -> tuple[Floats, float, float]:
    """Correlations of numbers with the label, and the medians of their skewness and kurtosis.

    Missing values count as a feature's mean, constant features not at all.
    """
    present = ~np.isnan(vectors)
    counts = np.maximum(present.sum(axis=0), 1)
    zeroed = np.where(present & np.isfinite(vectors), vectors, 0.0)
    centred = np.where(present, zeroed - zeroed.sum(axis=0) / counts, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / counts)
    vary = spread > 1e-12 * np.maximum(1.0, np.abs(zeroed).max(axis=0, initial=0.0))
    if not vary.any():
        return np.empty(0), 0.0, 0.0
    scaled = centred[:, vary] / spread[vary]
    target = (labels - labels.mean()) / (labels.std() or 1.0)
    strengths = np.abs(scaled.T @ target) / len(labels)
    skewness = np.abs((scaled**3).sum(axis=0) / counts[vary])
    kurtosis = (scaled**4).sum(axis=0) / counts[vary]
    return strengths, float(np.median(skewness)), float(np.median(kurtosis))
