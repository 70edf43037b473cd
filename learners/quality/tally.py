"""Sums from which quality follows; they add up, so an example can be taken out again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.quality.measures import (
    THRESHOLD,
    auc_of_cells,
    calibration_of_cells,
    log_losses,
)
from tidemill.quality import Measures
from tidemill.tasks import Task

# Cells of equal width on the log-odds: as fine for a rate of one in a thousand as for one half.
# Scores of one cell differ by 0.03 in their log-odds; AUC says how far it can be off.
CELLS, LARGEST_LOG_ODDS = 512, 8.0
_SMALLEST = 1e-12

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Tally:
    """Quality of `groups` groups of examples, by one role's scores.

    Labels of a binary task are 0 or 1 and scores probabilities; a regression's are numbers.
    Several classes are only counted.
    """

    def __init__(self, task: Task, groups: int) -> None:
        self._kind = task.kind
        self.rows = np.zeros(groups, np.int64)
        self._weight = np.zeros(groups)
        self._losses = np.zeros((2, groups))  # log-loss and hits, or absolute and squared errors
        cells = CELLS if task.kind == "binary" else 0
        self._cells = np.zeros((3, groups * cells))  # weight of positives, of all, of scores

    def add(
        self, groups: Ints, labels: Floats, scores: Floats, weights: Floats, sign: int = 1
    ) -> None:
        """Add one row to each group named (`sign` -1 takes it out); all arguments are (rows,)."""
        weights = weights * sign
        np.add.at(self.rows, groups, sign)
        np.add.at(self._weight, groups, weights)
        if self._kind == "regression":
            errors = scores - labels
            self._add_losses(groups, weights, np.abs(errors), errors * errors)
        elif self._kind == "binary":
            hits = (scores > THRESHOLD) == (labels == 1)
            self._add_losses(groups, weights, log_losses(labels, scores), hits.astype(np.float64))
            places = groups * CELLS + cells_of(scores)
            for cells, each in zip(
                self._cells, (weights * labels, weights, weights * scores), strict=True
            ):
                np.add.at(cells, places, each)

    def scale(self, factor: float) -> None:
        """Multiply every weight."""
        for sums in (self._weight, self._losses, self._cells):
            sums *= factor

    def clear(self, group: int) -> None:
        """Begin a group anew."""
        self.rows[group] = self._weight[group] = 0
        self._losses[:, group] = 0
        self._grouped()[:, group] = 0

    def measures(self, group: int) -> Measures:
        """What the rows of a group say; nothing where there are none."""
        total = float(self._weight[group])
        if self.rows[group] == 0 or not total > 0 or self._kind == "multiclass":
            return Measures()
        first, second = (self._losses[:, group] / total).tolist()
        if self._kind == "regression":
            return Measures(mae=first, rmse=float(np.sqrt(max(second, 0.0))))
        positive, weights, said = self._grouped()[:, group]
        area, error = auc_of_cells(positive, weights - positive)
        return Measures(
            auc=area, auc_error=None if area is None else error, log_loss=first, accuracy=second,
            calibration_error=calibration_of_cells(weights, said, positive),
        )  # fmt: skip

    def _grouped(self) -> NDArray[np.float64]:
        return self._cells.reshape(3, len(self.rows), -1)

    def _add_losses(self, groups: Ints, weights: Floats, first: Floats, second: Floats) -> None:
        np.add.at(self._losses[0], groups, weights * first)
        np.add.at(self._losses[1], groups, weights * second)


def cells_of(scores: Floats) -> Ints:
    """The cell of each probability, shape (rows,); the first and the last take what lies beyond."""
    values = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    places = (np.log(values / (1 - values)) + LARGEST_LOG_ODDS) * (CELLS / (2 * LARGEST_LOG_ODDS))
    cells: Ints = np.clip(places, 0, CELLS - 1).astype(np.int64)
    return cells
