"""Studies are remembered by the data they were of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from known_rows import made_rows

from batch.datasets.dataset import Dataset
from batch.search.memory import Found, Memory, StudyRecord
from batch.search.meta_features import distance, meta_features
from tidemill import Project
from tidemill.schema import schema_of
from tidemill.tasks import BINARY, REGRESSION


def record(
    name: str, meta: dict[str, float], ended_ms: int = 0, task: str = "binary"
) -> StudyRecord:
    """A study of data with these meta-features."""
    best = Found("lightgbm", {"lightgbm.leaves": 31}, {}, {"leaves": 31}, 0.5)
    return StudyRecord(
        id=name, project=name, task=task, started_ms=ended_ms, ended_ms=ended_ms, seconds=1.0,
        trials=1, rows=100, loss=0.5, meta=meta, best=[best],
    )  # fmt: skip


def test_the_nearest_come_first(tmp_path: Path) -> None:
    """Of equally near ones the newest; those of another task never."""
    memory = Memory(tmp_path)
    for each in (
        record("far", {"log_rows": 20.0}),
        record("old", {"log_rows": 10.1}, 1),
        record("new", {"log_rows": 10.1}, 2),
        record("value", {"log_rows": 10.0}, task="regression"),
    ):
        memory.keep(each)
    found = memory.nearest({"log_rows": 10.0}, BINARY, 2)
    assert ["new", "old"] == [each.record.project for each in found]
    assert found[0].distance < 0.1
    assert ["value"] == [n.record.project for n in memory.nearest({}, REGRESSION, 3)]


def test_a_damaged_file_is_passed_over(tmp_path: Path) -> None:
    """What was learned elsewhere still helps; half a file is as good as none."""
    memory = Memory(tmp_path)
    memory.keep(record("good", {}))
    (memory.folder / "half.json").write_text('{"id": "ha')
    (memory.folder / "other.json").write_bytes(b"\xff\xfe")
    assert ["good"] == [each.id for each in memory.records()]


def test_no_folder_is_no_memory(tmp_path: Path) -> None:
    """Nothing is made by looking."""
    assert [] == Memory(tmp_path / "none").records()
    assert not (tmp_path / "none").exists()


def test_a_study_is_remembered_once(tmp_path: Path) -> None:
    """A search that is resumed replaces what it said before."""
    memory = Memory(tmp_path)
    for seconds in (1, 2):
        memory.keep(record("one", {}, seconds))
    assert [2] == [each.ended_ms for each in memory.records()]


def test_like_data_is_near_and_other_data_far(
    make_project: Callable[..., Project], rows: Dataset
) -> None:
    """Another draw of the same kind is nearer than fewer rows of rarer labels and gaps."""
    project = make_project()
    vectors = rows.vectors.copy()
    vectors[::2, 2:] = np.nan
    rare = replace(rows, vectors=vectors, labels=(rows.labels * (np.arange(len(rows)) % 9 == 0)))
    said = [_meta(project, data) for data in (rows, made_rows(project, seed=2), rare)]
    assert distance(said[0], said[1]) < 0.2 < distance(said[0], said[2])
    assert math.inf == distance(said[0], {})


def test_missing_and_constant_features_have_finite_statistics(
    make_project: Callable[..., Project], rows: Dataset
) -> None:
    """A column without any value, a constant one and an infinite value do no harm."""
    vectors = rows.vectors.copy()
    vectors[:, 1], vectors[:, 2], vectors[3, 3] = np.nan, 5.0, np.inf
    found = _meta(make_project(), replace(rows, vectors=vectors))
    assert all(math.isfinite(value) for value in found.values())
    assert 0.2 == round(found["missing"], 3)


def _meta(project: Project, data: Dataset) -> dict[str, float]:
    return meta_features(data, schema_of(project), BINARY)
