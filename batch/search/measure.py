"""Trains one model of some settings and measures it: loss, best step, time, size, latency."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from batch.scoring import predict_all
from batch.search.folds import Fold, Rung, subset
from batch.search.space import TREES_RATE
from batch.search.watched import Watched
from batch.trainers.binned import Binned
from batch.trainers.families import new_trainer
from batch.trainers.trainer import TrainingRows
from batch.trainers.trees import TreesTrainer
from learners.learner import Vectors
from learners.release import ModelFile, read_model
from tidemill.declaration import Project
from tidemill.schema import schema_of
from tidemill.trainer_kinds import LightGBM, TrainerKind

_ASKED = 200  # single rows; a latency is their 99th percentile


@dataclass(frozen=True, slots=True)
class Asked:
    """One measurement: settings, which fold and rung, the loss worth reaching, the last moment."""

    settings: TrainerKind
    fold: int
    rung: Rung
    to_beat: float = math.inf
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of it; `ended` says why a training was given up, empty where it was not.

    `blocks` are the losses of stretches of time, which two trials are compared by.
    """

    loss: float
    steps: int
    seconds: float
    model_bytes: int
    row_us: float
    ended: str = ""
    blocks: list[float] = field(default_factory=list)


class Measure(Protocol):
    """Measures; blocks until it is done. Raises TrainingFailed, or whatever a trainer raises."""

    def __call__(self, asked: Asked) -> Measured:
        """The measurement that is asked for."""
        ...


class LocalMeasure:
    """Measures in this process, one after another; rows that trees learn from are binned once."""

    def __init__(  # noqa: PLR0913  all that a training takes, and what is measured of it
        self,
        project: Project,
        folds: Sequence[Fold],
        seed: int,
        threads: int = 0,
        timed: bool = False,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._project, self._schema, self._task = project, schema_of(project), project.task
        self._folds, self._seed = folds, seed
        self._threads, self._timed, self._timer = threads, timed, timer
        self._rows: dict[tuple[int, int], TrainingRows] = {}
        self._binned = Binned()

    def __call__(self, asked: Asked) -> Measured:
        """See `Measure`."""
        began = self._timer()
        fold = self._folds[asked.fold]
        watch = Watched(
            fold.checked, self._task, asked.to_beat,
            lambda: self._timer() - began > asked.seconds, _slower(asked.settings),
        )  # fmt: skip
        trainer = new_trainer(asked.settings, self._schema, self._task, self._threads)
        if isinstance(trainer, TreesTrainer):
            trainer.binned = self._binned
        rows = self._learned(asked)
        model = trainer.train(rows, watch=watch)
        if not watch.step:  # the trainer shows nothing of what it does
            frozen = read_model(model, self._project)
            watch.seen(trainer.steps, predict_all(frozen, fold.checked.vectors))
        seconds = self._timer() - began
        # Rounds after the best are trained in a trial only; other models have one size.
        share = watch.step / watch.seen_steps if isinstance(asked.settings, LightGBM) else 1.0
        slow = self._latency_us(model, fold.checked.vectors) if self._timed else 0.0
        size = round(len(model.data) * share)
        return Measured(
            watch.loss, watch.step, seconds, size, slow * share, watch.ended, watch.blocks
        )

    def _latency_us(self, model: ModelFile, vectors: Vectors) -> float:
        frozen, took = read_model(model, self._project), []
        frozen.predict_many(vectors[:1])  # the first one loads what all later ones have
        for row in range(min(_ASKED, len(vectors))):
            began = self._timer()
            frozen.predict_many(vectors[row : row + 1])
            took.append(self._timer() - began)
        return float(np.quantile(took, 0.99)) * 1e6

    def _learned(self, asked: Asked) -> TrainingRows:
        key = (asked.fold, asked.rung.rows)
        if key not in self._rows:
            self._rows[key] = subset(self._folds[asked.fold].learned, asked.rung.rows, self._seed)
        return self._rows[key]


def _slower(settings: TrainerKind) -> float:
    """How many times as many steps these settings take as usual ones."""
    if isinstance(settings, LightGBM):
        return max(1.0, TREES_RATE / settings.learning_rate)
    return 1.0
