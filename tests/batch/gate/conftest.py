"""Synthetic archives, and models trained as a retrain trains them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from batch.datasets.dataset import Dataset, extract
from batch.gate.champion import Champion
from batch.gate.split import older_and_newer
from batch.trainers.families import new_trainer
from batch.trainers.trainer import TrainingRows
from batch.training_set import TrainingSet
from features.plan import compile_plan
from learners.release import ModelFile
from tidemill.declaration import Project
from tidemill.durations import DAY_MS
from tidemill.schema import schema_of
from tidemill.trainer_kinds import TrainerKind

sys.path.insert(0, str(Path(__file__).parent))  # for `refusals`, which the tests share

MAY_1_MS = 1_367_366_400_000
Trained = Callable[..., ModelFile]


@pytest.fixture
def data(backfilled: Path, project: Project, go_live: Callable[..., None]) -> Dataset:
    """Twenty days of backfilled examples, then ten of live ones."""
    go_live(backfilled)
    return extract(TrainingSet(backfilled, compile_plan(project))).data


@pytest.fixture
def trained() -> Trained:
    """Trains on rows as the project declares, or with other settings."""
    return train


@pytest.fixture
def candidate(project: Project, data: Dataset) -> ModelFile:
    """What a retrain would judge: trained on what was known before the holdout."""
    return train(project, older_and_newer(project, data).older)


@pytest.fixture
def champion() -> Callable[..., Champion]:
    """A release trained on the first days of the data."""

    def made(project: Project, data: Dataset, days: int) -> Champion:
        end = MAY_1_MS + days * DAY_MS
        return Champion("r0001", train(project, data.take(data.label_times < end)), end)

    return made


def train(project: Project, rows: Dataset, settings: TrainerKind | None = None, **changed):
    """A model of rows by the declared trainer, with settings changed by name."""
    settings = settings or replace(project.trainer, **changed)
    trainer = new_trainer(settings, schema_of(project), project.task, threads=1)
    return trainer.train(TrainingRows(rows.vectors, rows.labels, rows.weights))
