"""Numbers as labels: trained as a regression, judged by squared error, published as any release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch.dataset import extract
from batch.exit_codes import ExitCode
from batch.gate import Champion, Reason, judge
from batch.retrain import retrain
from batch.trainer import Trainer
from batch.training_set import TrainingSet
from features.archive.files import BACKFILL
from features.plan import compile_plan
from learners.release import load_release
from tidemill import Label, Project
from tidemill.clock import FakeClock
from tidemill.registry import Registry
from tidemill.schema import schema_of
from tidemill.tasks import REGRESSION

MAY_1_MS, ROWS = 1_367_366_400_000, 20 * 144


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """A project whose label is a number."""
    return make_project(label=Label(key=("kind",), wait="1d", kind="number"))


@pytest.fixture
def home(
    tmp_path: Path, project: Project, columns: Callable[..., dict[str, Any]],
    append: Callable[..., None],
) -> Path:  # fmt: skip
    """Twenty days of examples whose label is some hundred, by x1."""
    made = columns(project, ROWS, 1, MAY_1_MS)
    x1 = np.stack([np.frombuffer(vector, "<f4") for vector in made["vector"]])[:, 1]
    noise = np.random.default_rng(2).normal(size=ROWS)
    append(tmp_path, BACKFILL, made | {"label": 300 + 50 * x1.astype(np.float64) + noise})
    return tmp_path


def test_a_regression_is_published(project: Project, home: Path) -> None:
    """Its predictions are near the labels, and its manifest says how near."""
    result = retrain(project, home, lambda _: None, FakeClock(MAY_1_MS))
    assert ExitCode.PUBLISHED == result.exit_code
    registry = Registry(home, "p")
    release = load_release(registry, "r0001", schema_of(project))
    assert REGRESSION == release.task
    metrics = registry.manifest("r0001").metrics
    assert 0 < metrics["gate_candidate_squared_error"] < 300 < 50**2
    assert "gate_candidate_log_loss" not in metrics


def test_a_worse_regression_is_refused(project: Project, home: Path) -> None:
    """The candidate's squared error is compared with that of the champion."""
    data = TrainingSet(home, compile_plan(project))
    rows = extract(data).data
    good = Trainer(project.trainer, schema_of(project), 1, task=project.task)
    champion = Champion("r0001", good.train(rows.vectors, rows.labels), MAY_1_MS)
    poor = Trainer(replace(project.trainer, rounds=1), good.schema, 1, task=project.task)
    report = judge(project, rows, poor, champion)
    assert [Reason.WORSE_SQUARED_ERROR] == [refusal.reason for refusal in report.refusals]
