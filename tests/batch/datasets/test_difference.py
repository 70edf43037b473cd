"""Two datasets are compared by rule, rows, classes and how far each feature moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch.datasets.build import build
from batch.datasets.difference import compare_datasets, stability_index
from batch.datasets.manifest import FeatureStatistics
from batch.datasets.store import DatasetStore
from batch.training_set import TrainingSet
from features.plan import compile_plan
from tidemill import DatasetRule, RequestFeature
from tidemill.declaration import Project


@pytest.fixture
def store(backfilled: Path) -> DatasetStore:
    """The store of a project with an archive."""
    return DatasetStore(backfilled, "p")


def test_what_separates_two_rules(backfilled: Path, project: Project, store: DatasetStore) -> None:
    """A filter on one feature moves that feature alone."""
    training = TrainingSet(backfilled, compile_plan(project))
    first = build(training, DatasetRule(), store)
    second = build(training, DatasetRule(where="x3 > 0.5"), store)
    found = compare_datasets(first, second)
    assert {"where": (None, "(x3 > 0.5)")} == found.rule
    assert (first.rows, second.rows) == found.rows
    assert {k: (v, second.classes[k]) for k, v in first.classes.items()} == found.classes
    assert ("x3", ["x3"]) == (found.features[0].name, found.drifted)
    assert found.features[0].shift == pytest.approx(1.1, abs=0.1)
    assert max(each.psi or 0 for each in found.features[1:]) < 0.1
    assert [] == found.added == found.removed
    assert found.as_json()["drifted"] == ["x3"]


def test_a_dataset_is_like_itself(backfilled: Path, project: Project, store: DatasetStore) -> None:
    """Nothing moved, nothing differs."""
    made = build(TrainingSet(backfilled, compile_plan(project)), DatasetRule(), store)
    found = compare_datasets(made, made)
    assert ({}, [], {0.0}) == (found.rule, found.drifted, {each.psi for each in found.features})


def test_features_come_and_go(backfilled: Path, make_project: Any, store: DatasetStore) -> None:
    """Of another declaration those that both have are compared."""
    project = make_project()
    other = make_project(
        features=(*project.features[:-1], RequestFeature("more", project.request.x1))
    )
    one, two = (
        build(TrainingSet(backfilled, compile_plan(project)), DatasetRule(last=span), store)
        for span in ("10d", "9d")
    )
    two = type(two)(
        **{name: getattr(two, name) for name in two.__struct_fields__}
        | {"statistics": [FeatureStatistics("more", 0, 9), *two.statistics[:-1]]}
    )
    found = compare_datasets(one, two)
    assert (["more"], ["x4"], 4) == (found.added, found.removed, len(found.features))
    assert other.feature_names[-1] == "more"


@pytest.mark.parametrize("constant", [True, False])
def test_a_known_index(constant: bool) -> None:
    """Half of the rows moved from one bin to another is a known number."""
    steps = 21
    first = [float(step) for step in range(steps)]
    second = [5.0] * steps if constant else [step + 10.0 for step in range(steps)]
    one, two = (
        FeatureStatistics("a", 100, 0, 10, 6, values[0], values[-1], values)
        for values in (first, second)
    )
    index = stability_index(one, two)
    shares = np.full(10, 1e-4)
    shares[2 if constant else slice(5, 10)] = 1.0 if constant else 0.1
    if not constant:
        shares[9] = 0.6
    assert ((shares - 0.1) * np.log(shares / 0.1)).sum() == pytest.approx(index, rel=0.02)
