"""Numbers as labels: trained as a regression, judged by squared error, published as any release."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch.datasets.dataset import extract
from batch.exit_codes import ExitCode
from batch.gate.champion import Champion
from batch.gate.gate import judge
from batch.gate.report import Reason
from batch.gate.split import older_and_newer
from batch.retrain import retrain
from batch.training_set import TrainingSet
from features.archive.files import BACKFILL
from features.plan import compile_plan
from learners.release import ModelFile, load_release
from tidemill import Label, Project
from tidemill.clock import FakeClock
from tidemill.registry import Registry
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
    release = load_release(registry, "r0001", project)
    assert REGRESSION == release.task
    metrics = registry.manifest("r0001").metrics
    assert 0 < metrics["gate_candidate_squared_error"] < 300 < 50**2
    assert "gate_candidate_log_loss" not in metrics


def test_a_worse_regression_is_refused(
    project: Project, home: Path, trained: Callable[..., ModelFile]
) -> None:
    """The candidate's squared error is compared with the champion's; nothing is calibrated."""
    rows = extract(TrainingSet(home, compile_plan(project))).data
    older = older_and_newer(project, rows).older
    champion = Champion("r0001", trained(project, older), MAY_1_MS)
    report = judge(project, rows, trained(project, older, rounds=1), champion)
    assert [Reason.WORSE_SQUARED_ERROR] == [refusal.reason for refusal in report.refusals]
    assert report.findings.calibration is None
