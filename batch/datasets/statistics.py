"""What a dataset's features are like: moments of all rows, quantiles of a sample drawn by hash."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from batch.datasets.hashing import mixed, share_of
from batch.datasets.manifest import QUANTILES, FeatureStatistics
from batch.datasets.parts import Rows
from batch.datasets.sample import row_hashes

SAMPLE_ROWS = 50_000
"""About so many rows give the quantiles; of fewer all."""
MOST_DISTINCT = 10_000
_TOP = 20
_SALT = np.uint64(2)  # another draw than that of the rule's shares


class Statistics:
    """Gathers the statistics of `features` over pieces of about `rows` rows in all.

    The same pieces in the same order give the same numbers. `categorical` are places of features.
    """

    def __init__(self, features: Sequence[str], categorical: Sequence[int], rows: int) -> None:
        self._features, self._rows = tuple(features), 0
        self._moments = np.zeros((5, len(self._features)))
        self._moments[3], self._moments[4] = np.inf, -np.inf
        self._share = min(1.0, SAMPLE_ROWS / max(rows, 1))
        self._sample: list[NDArray[np.float32]] = []
        self._distinct: dict[int, NDArray[np.float32] | None] = {
            place: np.empty(0, np.float32) for place in categorical
        }

    def add(self, rows: Rows) -> None:
        """See the next rows."""
        self._rows += len(rows)
        add_moments(rows.vectors, self._moments)
        drawn = share_of(mixed(row_hashes(rows.facts, 0), _SALT)) < self._share
        self._sample.append(rows.vectors[drawn])
        for place, known in self._distinct.items():
            if known is not None:
                column = rows.vectors[:, place]
                found = np.union1d(known, np.unique(column[~np.isnan(column)]))
                self._distinct[place] = found if len(found) <= MOST_DISTINCT else None

    def found(self) -> list[FeatureStatistics]:
        """The statistics of each feature."""
        width = len(self._features)
        sample = np.concatenate([np.empty((0, width), np.float32), *self._sample])
        return [self._of(place, sample[:, place]) for place in range(width)]

    def _of(self, place: int, sample: NDArray[np.float32]) -> FeatureStatistics:
        count, mean, squares, least, most = self._moments[:, place].tolist()
        categorical = place in self._distinct
        known = self._distinct.get(place)
        sample = np.sort(sample[~np.isnan(sample)])
        statistics = FeatureStatistics(
            self._features[place], int(count), self._rows - int(count), categorical=categorical,
            distinct=len(known) if known is not None else None,
            top=_commonest(sample) if categorical else {},
        )  # fmt: skip
        if not count:
            return statistics
        quantiles = _quantiles(sample, least, most) if len(sample) else []
        return FeatureStatistics(
            statistics.name, statistics.count, statistics.missing, mean,
            float(np.sqrt(squares / count)), least, most, quantiles, categorical,
            statistics.distinct, statistics.top,
        )  # fmt: skip


def _quantiles(sample: NDArray[np.float32], least: float, most: float) -> list[float]:
    """Values of the sample itself; the ends are those of all rows."""
    found = np.quantile(sample, QUANTILES, method="inverted_cdf").astype(np.float64)
    found[0], found[-1] = least, most
    return [float(value) for value in found]


def _commonest(sample: NDArray[np.float32]) -> dict[str, float]:
    values, counts = np.unique(sample, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_TOP]
    return {f"{values[at]:g}": float(counts[at] / len(sample)) for at in order.tolist()}


@njit(cache=True, nogil=True)
def add_moments(vectors: NDArray[np.float32], moments: NDArray[np.float64]) -> None:
    """Add rows to moments (5, features): count, mean, sum of squared deviations, least, most.

    Welford's recurrence over the piece, joined to what came before by Chan, Golub, LeVeque
    (Updating Formulae and a Pairwise Algorithm, 1979), as numbers of many rows would lose digits.
    """
    rows, features = vectors.shape
    part = np.zeros((5, features))
    part[3], part[4] = np.inf, -np.inf
    for row in range(rows):
        for at in range(features):
            value = np.float64(vectors[row, at])
            if np.isnan(value):
                continue
            part[0, at] += 1
            step = value - part[1, at]
            part[1, at] += step / part[0, at]
            part[2, at] += step * (value - part[1, at])
            part[3, at] = min(part[3, at], value)
            part[4, at] = max(part[4, at], value)
    for at in range(features):
        both = moments[0, at] + part[0, at]
        if part[0, at] == 0:
            continue
        apart = part[1, at] - moments[1, at]
        moments[2, at] += part[2, at] + apart * apart * moments[0, at] * part[0, at] / both
        moments[1, at] += apart * part[0, at] / both
        moments[0, at] = both
        moments[3, at] = min(moments[3, at], part[3, at])
        moments[4, at] = max(moments[4, at], part[4, at])
