"""Folds lie forward in time, and what cannot be learned or scored is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from batch.datasets.dataset import Dataset
from batch.search.folds import folds_of, rungs_of, subset
from batch.trainers.trainer import TrainingRows
from tidemill.durations import HOUR_MS
from tidemill.errors import NoExamples
from tidemill.tasks import BINARY, REGRESSION


def test_a_fold_learns_only_what_was_known_before_its_cut(rows: Dataset) -> None:
    """Labels that came after the first scored row are left out: the gap is what labels take."""
    late = replace(rows, label_times=rows.times + 5 * HOUR_MS)
    for number, fold in enumerate(folds_of(late, 3, BINARY)):
        places = _places(late, fold.checked)
        learned = _places(late, fold.learned)
        cut = late.times[places].min()
        assert late.label_times[learned].max() < cut
        assert 11 == places.min() - learned.max()  # half an hour apart: five hours, and the next
        assert (number == 0) == (places.max() == len(late) - 1)


def test_folds_share_the_newest_rows(rows: Dataset) -> None:
    """A single fold is scored on a fifth, three share two fifths, and no row is scored twice."""
    (one,) = folds_of(rows, 1, BINARY)
    several = folds_of(rows, 3, BINARY)
    assert 240 == len(one.checked)
    assert [160, 160, 160] == [len(fold.checked) for fold in several]
    assert 480 == len({int(p) for fold in several for p in _places(rows, fold.checked)})


def test_no_rows_are_refused(rows: Dataset) -> None:
    """The message says what was found and what is allowed."""
    with pytest.raises(NoExamples, match="found no rows; allowed: some before the gate"):
        folds_of(rows.take(np.zeros(len(rows), bool)), 1, BINARY)


def test_one_class_before_a_cut_is_refused(rows: Dataset) -> None:
    """Of yes and no a fold needs both."""
    labels = np.where(np.arange(len(rows)) < 960, 0.0, rows.labels)
    with pytest.raises(NoExamples, match="before its cut: found only label 0; allowed: both"):
        folds_of(replace(rows, labels=labels), 1, BINARY)


def test_one_class_after_a_cut_is_refused(rows: Dataset) -> None:
    """A loss on one class says nothing."""
    labels = np.where(np.arange(len(rows)) >= 960, 1.0, rows.labels)
    with pytest.raises(NoExamples, match="after its cut: found only label 1; allowed: both"):
        folds_of(replace(rows, labels=labels), 1, BINARY)


def test_values_need_no_classes(rows: Dataset) -> None:
    """A number's fold may have one value."""
    assert folds_of(replace(rows, labels=np.ones(len(rows))), 1, REGRESSION)


def test_labels_that_never_came_in_time_are_refused(rows: Dataset) -> None:
    """With labels that take longer than the data there is nothing to learn before a cut."""
    late = replace(rows, label_times=rows.label_times + 10_000 * HOUR_MS)
    with pytest.raises(NoExamples, match="the rows before its cut: found none"):
        folds_of(late, 1, BINARY)


def test_rungs_have_three_times_as_many_rows_each() -> None:
    """Few rows have one rung, many at most four; without fidelity there is one."""
    assert [20_000] == [rung.rows for rung in rungs_of(20_000, "halving")]
    assert [33_333, 100_000] == [rung.rows for rung in rungs_of(100_000, "halving")]
    assert [1, 3, 9, 27] == [rung.resource for rung in rungs_of(10_000_000, "hyperband")]
    assert [100_000] == [rung.rows for rung in rungs_of(100_000, "none")]


def test_fewer_rows_are_among_more(rows: Dataset) -> None:
    """The rungs of one seed are nested, in the order of time."""
    whole = TrainingRows(rows.vectors, rows.labels, rows.weights)
    few, more = (subset(whole, count, 3).vectors[:, 1].tolist() for count in (100, 300))
    assert 100 == len(set(few) & set(more))
    assert few == [value for value in rows.vectors[:, 1].tolist() if value in set(few)]


def _places(data: Dataset, rows: TrainingRows) -> np.ndarray:
    place = {value: at for at, value in enumerate(data.vectors[:, 1].tolist())}
    return np.array([place[value] for value in rows.vectors[:, 1].tolist()])
