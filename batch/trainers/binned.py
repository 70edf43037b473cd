"""Rows as LightGBM bins them, kept for several trainings on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batch.trainers.trainer import TrainingRows

MOST_CELLS = 2_000_000_000  # rows times features that are kept, a byte each


class Binned:
    """Binned rows by what they are and in how many bins; not for several threads at once.

    Binning some rows takes as long as tens of rounds on them. Rows are told apart by identity, so
    they are kept as well.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], tuple[TrainingRows, Any]] = {}

    def of(self, rows: TrainingRows, bins: int, make: Callable[[], Any]) -> Any:
        """The LightGBM Dataset of these rows, made when it is not there yet."""
        key = (id(rows), bins)
        if key not in self._kept:
            cells = rows.vectors.size
            while self._kept and cells + self._cells() > MOST_CELLS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = (rows, make())
        return self._kept[key][1]

    def _cells(self) -> int:
        return sum(rows.vectors.size for rows, _ in self._kept.values())
