"""The population stability index: how far a column's values have moved from a reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Ten groups, as in Siddiqi, Credit Risk Scorecards (2006), where 0.1 is said to be some change and
# 0.25 a large one; columns with no more distinct values have a group for each.
GROUPS = 10
_SMOOTHING = 0.5  # added to every group's count: an empty group would make the index infinite

Matrix = NDArray[np.float32]


class Reference:
    """The groups of each column of a reference and the shares of its rows in them.

    With N and M rows from one distribution in B groups the index is about (B - 1)(1/N + 1/M)
    (Yurdakul and Naranjo, Journal of Risk Model Validation 2020).
    """

    def __init__(self, rows: Matrix) -> None:
        self._columns = [_Column(column) for column in rows.T]

    def moved(self, rows: Matrix) -> NDArray[np.float64]:
        """The index of each column of these rows, shape (columns,)."""
        return np.array(
            [column.moved(each) for column, each in zip(self._columns, rows.T, strict=True)]
        )


class _Column:
    """One column's groups; missing values (NaN) are one of them."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        known = np.sort(values[~np.isnan(values)])
        new = np.ones(len(known), np.bool_)
        new[1:] = known[1:] != known[:-1]
        self._few = int(new.sum()) <= GROUPS
        if self._few:
            self._edges = known[new]
        else:
            self._edges = np.unique(known[np.arange(1, GROUPS) * len(known) // GROUPS])
        self._shares = self._shares_of(values)

    def moved(self, values: NDArray[np.float32]) -> float:
        """The sum of (p - q) ln(p / q) over the groups."""
        now = self._shares_of(values)
        return float(((now - self._shares) * np.log(now / self._shares)).sum())

    def _shares_of(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        known = values[~np.isnan(values)]
        groups = np.searchsorted(self._edges, known, side="left")
        others = len(self._edges)
        if self._few and others:
            held = np.minimum(groups, others - 1)
            groups = np.where(self._edges[held] == known, held, others)
        counts = np.bincount(groups, minlength=others + 2) + _SMOOTHING
        counts[others + 1] += len(values) - len(known)
        shares: NDArray[np.float64] = counts / counts.sum()
        return shares
