"""Baselines for reports: the static columns alone, and a published release."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch.baselines import request_feature_names, score_release, static_baseline
from batch.datasets.dataset import extract
from batch.retrain import Options, retrain
from batch.training_set import TrainingSet
from features.plan import compile_plan
from learners.quality import auc
from tidemill import DerivedFeature, column
from tidemill.clock import FakeClock
from tidemill.declaration import Project
from tidemill.errors import ArtifactError
from tidemill.registry import Registry


def test_static_columns_are_the_requests_own(project: Project) -> None:
    """Only what the request alone gives."""
    assert ["kind", "x1", "x2", "x3", "x4"] == request_feature_names(project)


def test_the_static_model_sees_nothing_else(make_project, backfilled: Path) -> None:
    """With the telling column out of its sight the static model is much worse, and ignores it."""
    full = make_project()
    kind, _, *others = full.features
    hidden = DerivedFeature("x1", column("x2"))
    project = make_project(features=(kind, hidden, *others))
    data = extract(TrainingSet(backfilled, compile_plan(full))).data
    scores = static_baseline(project, data, data.vectors, threads=1)
    changed = data.vectors.copy()
    changed[:, 1] = 0
    np.testing.assert_array_equal(scores, static_baseline(project, data, changed, threads=1))
    everything = static_baseline(full, data, data.vectors, threads=1)
    assert auc(data.labels, scores) + 0.1 < auc(data.labels, everything)


def test_a_release_is_scored_by_its_name(project: Project, backfilled: Path) -> None:
    """A published release gives its own scores; one that is not there is an ArtifactError."""
    retrain(project, backfilled, lambda announcement: None, FakeClock(5), Options(threads=1))
    registry = Registry(backfilled, "p")
    data = extract(TrainingSet(backfilled, compile_plan(project))).data
    assert 0.85 < auc(data.labels, score_release(registry, "r0001", project, data.vectors))
    with pytest.raises(ArtifactError, match="release r0002"):
        score_release(registry, "r0002", project, data.vectors)
