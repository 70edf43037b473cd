"""Slices and people's labels are found in the archive."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch.datasets.dataset import extract
from batch.gate.evidence import read_labelled, read_slices
from batch.training_set import TrainingSet
from features.archive.files import BACKFILL
from features.plan import compile_plan
from tidemill import Project
from tidemill.errors import InputError

MAY_1_MS, ROWS = 1_367_366_400_000, 300


@pytest.fixture
def home(
    tmp_path: Path, project: Project, columns: Callable[..., dict[str, Any]],
    append: Callable[..., None],
) -> Path:  # fmt: skip
    """Examples with their requests, but for every tenth, which has none or a damaged one."""
    requests = [json.dumps({"kind": f"k{row % 3}", "x1": 1.0}).encode() for row in range(ROWS)]
    requests[::10] = [None if row % 20 else b"{" for row in range(0, ROWS, 10)]
    append(tmp_path, BACKFILL, columns(project, ROWS, 1, MAY_1_MS) | {"request": requests})
    return tmp_path


def test_slices_are_the_requests_values(make_project: Callable[..., Project], home: Path) -> None:
    """One value for each row from the holdout on; none before it, or without a request."""
    project = make_project(slices=("kind",))
    data = extract(TrainingSet(home, compile_plan(project))).data
    start = int(data.times[100])
    found = read_slices(home, project, data, start)
    expected = [
        None if row < 100 or row % 10 == 0 else f"k{row % 3}" for row in range(ROWS)
    ]  # fmt: skip
    assert ["kind"] == list(found)
    assert expected == found["kind"].tolist()


def test_without_slices_nothing_is_read(project: Project, tmp_path: Path) -> None:
    """Most projects declare none."""
    assert {} == read_slices(tmp_path, project, None, 0)


def test_labelled_cases_are_archived_predictions(project: Project, home: Path) -> None:
    """They have the vector of then and the label that people gave, whatever came."""
    training = TrainingSet(home, compile_plan(project))
    data = extract(training).data
    cases = read_labelled(training, {"b1-7": 1.0, "b1-3": 0.0, "never": 1.0})
    assert [0.0, 1.0] == cases.labels.tolist()
    assert np.array_equal(data.vectors[[3, 7]], cases.vectors)
    assert np.isnan(cases.scores).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"b1-7": 2.0}, "labelled case b1-7: found 2.0; allowed: 0 or 1"),
        ({"x": 1.0}, "labelled cases: found 1 unknown ids; allowed: ids of predictions"),
    ],
    ids=["no label", "no prediction"],
)
def test_what_cannot_be_a_labelled_case(
    project: Project, home: Path, labels: dict[str, float], message: str
) -> None:
    """The message names the case and what is allowed."""
    with pytest.raises(InputError, match=message):
        read_labelled(TrainingSet(home, compile_plan(project)), labels)
