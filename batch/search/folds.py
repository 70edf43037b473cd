"""Cuts in time: a model learns what was known before a cut and is scored on the rows after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batch.datasets.build import NO_EXAMPLES, SINGLE_CLASS
from batch.datasets.dataset import Dataset
from batch.trainers.trainer import TrainingRows
from tidemill.errors import NoExamples
from tidemill.tasks import Task

SHARE = 0.2
"""Of the rows, those that a single fold is scored on; several folds share twice as many."""

SMALLEST_RUNG = 20_000  # rows; a trial on fewer saves nothing
REDUCTION = 3  # of each rung's trials one in so many goes on, with so many times the rows
MOST_RUNGS = 4


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows to learn from, and later ones to be scored on; nothing of either is in the other."""

    learned: TrainingRows
    checked: TrainingRows


@dataclass(frozen=True, slots=True)
class Rung:
    """How many of a fold's rows a trial learns from before it is compared with the others.

    `resource` is 1 for the fewest and grows with the rows, as Optuna's pruners count it.
    """

    rows: int
    resource: int


def folds_of(data: Dataset, count: int, task: Task) -> list[Fold]:
    """`count` folds, the newest first. Raises NoExamples where one cannot be learned or scored.

    Labels that came after a cut are not learned, so the gap is as long as labels took to come.
    """
    if not len(data):
        raise NoExamples(NO_EXAMPLES, "search", "no rows", "some before the gate's holdout")
    share = SHARE if count == 1 else 2 * SHARE
    times = np.sort(data.times)
    places = [round(len(times) * (1 - share * part / count)) for part in range(count + 1)]
    ends = [int(times[-1]) + 1, *(int(times[place]) for place in places[1:])]
    folds = []
    for number, (start, end) in enumerate(zip(ends[1:], ends[:-1], strict=True), 1):
        learned = _rows(data, data.label_times < start)
        checked = _rows(data, (data.times >= start) & (data.times < end))
        for part, rows in (("before", learned), ("after", checked)):
            _check(rows, f"search: fold {number} of {count}: the rows {part} its cut", task)
        folds.append(Fold(learned, checked))
    return folds


def rungs_of(rows: int, fidelity: str) -> list[Rung]:
    """From few rows to all of them, `REDUCTION` times as many each."""
    sizes = [rows]
    while fidelity != "none" and sizes[0] >= SMALLEST_RUNG * REDUCTION and len(sizes) < MOST_RUNGS:
        sizes.insert(0, sizes[0] // REDUCTION)
    return [Rung(size, REDUCTION**place) for place, size in enumerate(sizes)]


def growth(rows: int, folds: Sequence[Fold]) -> float:
    """How many times as many rows the release has as the folds' trainings, on average."""
    return rows / (sum(len(fold.learned) for fold in folds) / len(folds))


def subset(rows: TrainingRows, count: int, seed: int) -> TrainingRows:
    """So many of the rows, drawn evenly and in their order; fewer are among more of one seed."""
    if count >= len(rows):
        return rows
    drawn: NDArray[np.int64] = np.random.default_rng(seed).permutation(len(rows))[:count]
    return rows.take(np.sort(drawn))


def _rows(data: Dataset, chosen: NDArray[np.bool_]) -> TrainingRows:
    return TrainingRows(data.vectors[chosen], data.labels[chosen], data.weights[chosen])


def _check(rows: TrainingRows, where: str, task: Task) -> None:
    if not len(rows):
        raise NoExamples(NO_EXAMPLES, where, "none", "one or more (a longer time range)")
    if task.kind == "binary" and len(values := np.unique(rows.labels)) < 2:
        raise NoExamples(SINGLE_CLASS, where, f"only label {values[0]:g}", "both labels")
