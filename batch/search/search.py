"""Searches for the trainer and the settings that a release is to be made with."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tidemill
from batch.datasets.dataset import Dataset
from batch.progress import Progress, Silent
from batch.search.budget import Budget
from batch.search.cluster import remote_measure
from batch.search.folds import folds_of, growth, rungs_of
from batch.search.limits import limited_latency
from batch.search.live import Live
from batch.search.measure import LocalMeasure, Measure
from batch.search.memory import Memory, record_of
from batch.search.meta_features import meta_features
from batch.search.objective import Objective
from batch.search.report import report_of, write_report
from batch.search.samplers import new_pruner
from batch.search.space import Space, declared_search, grown, plain, with_steps
from batch.search.starts import borrowed, starts_of
from batch.search.storage import JOURNAL, quiet
from batch.search.study import Study
from batch.search.trials import Trial, preferred
from tidemill.clock import Clock, SystemClock
from tidemill.declaration import Project
from tidemill.errors import TrainingFailed
from tidemill.schema import schema_of
from tidemill.trainer_kinds import TrainerKind

MOST_REASONS = 3  # that are told when no trial gave a model


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a search is run.

    Cores (0: all) and how many trials share them at once; who hears of progress. `storage` is a
    database's URL or the path of a file that several processes share, instead of one in the
    search's own folder. `dask` is a scheduler whose workers train. Under the home folder `earlier`
    are the studies of all projects; None neither reads nor keeps any. The budget of time is to hold
    the release's training too `with_training`, as far as its time can be told.
    """

    threads: int = 0
    jobs: int = 1
    progress: Progress = Silent()
    clock: Clock = SystemClock()
    storage: str | None = None
    dask: str | None = None
    earlier: Path | None = None
    with_training: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: settings to train with, their loss on the folds, and the report."""

    settings: TrainerKind
    score: float
    trials: int
    report: dict[str, Any]


def search(
    project: Project, rows: Dataset, folder: Path, options: SearchOptions | None = None
) -> Found:
    """Try what `project.search` declares on rows that may be seen; goes on where it was stopped.

    The same seed and rows give the same trials with a budget of trials and one job; a budget of
    time ends after as many as there was time for. `folder` gets the study, `search.json` and plots.
    Raises NoExamples when there is too little to learn from, TrainingFailed when no trial gave a
    model, OSError when the disk is full, ServiceError when storage or cluster cannot be reached.
    """
    with quiet(), ExitStack() as stack:
        return _Search(project, rows, folder, options or SearchOptions(), stack).run()


class _Search:
    """One search: its parts, made once each."""

    def __init__(
        self,
        project: Project,
        rows: Dataset,
        folder: Path,
        options: SearchOptions,
        stack: ExitStack,
    ) -> None:
        self._project, self._rows, self._folder = project, rows, folder
        self._options, self._stack = options, stack
        self._search = declared_search(project)
        self._space = Space(self._search)
        self._folds = folds_of(rows, self._search.folds, project.task)
        self._growth = growth(len(rows), self._folds)
        self._rungs = rungs_of(len(self._folds[0].learned), self._search.fidelity)

    def run(self) -> Found:
        """Begin or resume the study, spend the budget, and say what was best."""
        clock, progress = self._options.clock, self._options.progress
        study = self._study()
        self._stack.callback(study.close)
        neighbours = self._memory.nearest(
            self._meta, self._project.task, self._search.neighbours
        ) if self._memory else []  # fmt: skip
        starts = starts_of(self._space, neighbours)
        notes = {"borrowed": borrowed(self._space, neighbours), "project": self._project.name}
        study.begin(starts, notes, clock.now_ms())
        study.take_over()
        budget = Budget(self._search, clock, self._cores, self._seconds_before(study))
        budget.with_training = self._options.with_training
        with Live(progress) as live:
            measures = self._measures()
            ended = study.run(
                lambda job: self._objective(study, measures(job), budget), budget, live,
                self._options.jobs, self._grid(),
            )  # fmt: skip
        return self._found(study, budget, ended)

    @cached_property
    def _meta(self) -> dict[str, float]:
        return meta_features(self._rows, schema_of(self._project), self._project.task)

    @cached_property
    def _memory(self) -> Memory | None:
        return Memory(self._options.earlier) if self._options.earlier else None

    @property
    def _cores(self) -> int:
        return self._options.threads or len(os.sched_getaffinity(0))

    def _study(self) -> Study:
        name = self._name()
        storage: str | Path = self._folder / f"{name}.{JOURNAL}"
        if self._options.storage is not None:
            given = self._options.storage
            storage = given if "://" in given else Path(given)
        study = Study(name, self._search, storage, new_pruner(self._search, self._rungs))
        study.shared = self._options.storage is not None
        return study

    def _name(self) -> str:
        """The study's name: another search, or other rows, have another study."""
        search, rows = self._search, self._rows
        said = {
            "families": {name: plain(each) for name, each in self._space.families.items()},
            "choices": {name: repr(each) for name, each in self._space.choices.items()},
            "how": [search.sampler, search.fidelity, search.folds, search.seed],
            "schema": schema_of(self._project).hash,
            "rows": [len(rows), int(rows.times.min()), int(rows.times.max())],
            "arrays": [
                hashlib.sha256(array.tobytes()).hexdigest()
                for array in (rows.vectors, rows.labels, rows.weights, rows.label_times)
            ],
            "limits": [self._project.gate.size_bytes, self._project.gate.latency_us],
            "version": tidemill.__version__,
        }
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        return f"{self._project.name}-{digest[:12]}"

    def _seconds_before(self, study: Study) -> float:
        """What a search that is resumed took before: its trials, or with others all the time."""
        if self._options.storage is not None:
            return max(0.0, (self._options.clock.now_ms() - study.started_ms) / 1000)
        return sum(trial.seconds for trial in study.trials()) / self._options.jobs

    def _measures(self) -> Callable[[int], Measure]:
        """Who measures for a job: here, or on the cluster."""
        if self._options.dask is not None:
            measure = self._stack.enter_context(
                remote_measure(
                    self._options.dask, self._project, self._folds, self._search.seed,
                    limited_latency(self._project),
                )
            )  # fmt: skip
            return lambda _: measure
        threads = max(1, self._cores // self._options.jobs)
        return lambda _: LocalMeasure(
            self._project, self._folds, self._search.seed, threads, limited_latency(self._project)
        )

    def _objective(self, study: Study, measure: Measure, budget: Budget) -> Objective:
        return Objective(
            self._project, self._search, self._space, measure, self._rungs, study.worker,
            budget.seconds_left, self._growth,
        )  # fmt: skip

    def _grid(self) -> list[dict[str, Any]] | None:
        grid = self._search.sampler == "grid"
        return [*self._space.grid(self._search.seed)] if grid else None

    def _found(self, study: Study, budget: Budget, ended: str) -> Found:
        trials = study.trials()
        best = preferred(trials)
        if not best:
            raise TrainingFailed(_nothing(trials, ended))
        report = report_of(self._search, study, trials, budget, ended)
        report["rungs"] = [rung.rows for rung in self._rungs]
        report["meta"] = self._meta
        write_report(self._folder, report, trials, study.started_ms)
        if self._memory is not None:
            self._memory.keep(record_of(study, self._project, self._meta, budget))
        chosen = self._space.settings(best[0].parameters, best[0].fixed)
        settings = grown(with_steps(chosen, best[0].steps), self._growth)
        report["trainer"] = repr(settings)
        return Found(settings, best[0].loss, len(trials), report)


def _nothing(trials: list[Trial], ended: str) -> str:
    reasons = dict.fromkeys(trial.reason for trial in trials if trial.reason)
    large = sum(not trial.feasible and math.isfinite(trial.loss) for trial in trials)
    told = "; ".join([*reasons][:MOST_REASONS]) or f"no {ended} left"
    limits = f", {large} of them beyond the gate's limits" if large else ""
    return f"search: found no model in {len(trials)} trials{limits}: {told}; allowed: one or more"
