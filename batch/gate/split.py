"""Forward in time: what a candidate may learn from, and what it is judged on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from batch.gate.champion import Champion
from tidemill.declaration import Project


@dataclass(frozen=True, slots=True)
class Split:
    """A dataset cut in time.

    `older` are the rows whose label was known before `start_ms`, less the gap that is declared: all
    a candidate may learn from.
    `newer` are the others, in the order of their labels: it serves and learns over them. It is
    judged on those of them that were also asked from `start_ms` on (`holdout_rows`).
    """

    start_ms: int
    end_ms: int
    older: Dataset
    newer: Dataset
    newer_rows: NDArray[np.int64]  # which rows of the dataset those are

    @property
    def holdout_rows(self) -> int:
        """How many rows were asked and labelled from `start_ms` on."""
        return int((self.newer.times >= self.start_ms).sum())

    def compared(self, champion: Champion | None) -> NDArray[np.bool_]:
        """Which of the newer rows both can be judged on."""
        asked = self.newer.times >= self.start_ms
        return asked if champion is None else asked & champion.comparable(self.newer)


def older_and_newer(project: Project, data: Dataset) -> Split:
    """Cut a dataset where the newest `Gate.holdout` begins, with the declared gap before it.

    Rows of the gap are served and learned from, but neither trained on nor judged.
    """
    end = int(data.times.max(initial=0)) + 1
    start = end - project.gate.holdout_ms
    # Rows are in the order of their labels: both parts are views, however large the dataset.
    first = int(np.searchsorted(data.label_times, start - project.dataset.gap_ms))
    older, newer = data.take(slice(0, first)), data.take(slice(first, None))
    return Split(start, end, older, newer, np.arange(first, len(data)))
