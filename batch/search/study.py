"""One study until its budget is spent: begun or resumed, alone or beside other processes."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import TrialState

from batch.search.budget import REFINED, Budget
from batch.search.objective import Objective, TrialFailed
from batch.search.refine import early_copies, refinement
from batch.search.samplers import new_sampler
from batch.search.space import Parameters
from batch.search.storage import Journal, database
from batch.search.trials import (
    FIXED,
    ORIGIN,
    START,
    Trial,
    enter_again,
    finished,
    key_of,
    preferred,
)
from tidemill.search import Search, Value

MOST_REPEATS = 25
"""So many trials in a row whose settings were tried before: there are no others."""

_STARTED = "started"  # the study's attribute: its first trials are entered, since when (ms)
_UNSIGNED_SECONDS = 10  # a trial signs with its worker's name at once


@dataclass(frozen=True, slots=True)
class Start:
    """A trial to begin with: parameters, settings beside them, and where both come from."""

    parameters: Parameters
    origin: str
    fixed: Mapping[str, Value] = field(default_factory=dict)


class Told(Protocol):
    """Hears of each trial that ends; must not block and must not raise."""

    def __call__(self, trials: list[Trial], budget: Budget) -> None:
        """All finished trials by now, and what of the budget is used up."""
        ...


class Study:
    """A study in a storage, by the name that says what is searched on which data."""

    def __init__(self, name: str, search: Search, storage: str | Path, pruner: Any = None) -> None:
        self.name, self._search, self.pruner = name, search, pruner
        self.shared = False
        """True where other processes may take part."""
        self.journal = Journal(storage) if isinstance(storage, Path) else None
        self._storage = self.journal.storage() if self.journal else database(str(storage))
        self.worker = self.journal.worker if self.journal else uuid.uuid4().hex
        """This process's name among those that share the study."""
        self._optuna = optuna.create_study(
            study_name=name, storage=self._storage, load_if_exists=True
        )

    def trials(self) -> list[Trial]:
        """The finished ones."""
        return finished(self._optuna)

    @property
    def notes(self) -> dict[str, Any]:
        """What was noted when it began."""
        found: dict[str, Any] = self._optuna.user_attrs
        return found

    def begin(self, starts: list[Start], notes: Mapping[str, Any], now_ms: int) -> None:
        """Enter the first trials, unless it was begun before."""
        if _STARTED in self.notes:
            return
        for name, value in notes.items():
            self._optuna.set_user_attr(name, value)
        waiting = [trial.user_attrs for trial in self._optuna.get_trials(deepcopy=False)]
        for number, start in enumerate(starts):
            if any(each.get(START) == number for each in waiting):
                continue  # entered before the process was killed
            self.enter(start, {START: number})
        self._optuna.set_user_attr(_STARTED, now_ms)

    @property
    def started_ms(self) -> int:
        """When it was begun."""
        return int(self.notes[_STARTED])

    def close(self) -> None:
        """Let go of it; it stays in its storage."""
        if self.journal:
            self.journal.close()

    def enter(self, start: Start, attributes: Mapping[str, Any] | None = None) -> None:
        """Have the next trial try these parameters."""
        noted = {ORIGIN: start.origin, FIXED: dict(start.fixed), **(attributes or {})}
        self._optuna.enqueue_trial(start.parameters, user_attrs=noted)

    def take_over(self) -> int:
        """Enter again what a killed process left running; returns how many that were.

        A database's heartbeats say later which ones, and Optuna enters them itself.
        """
        if self.journal is None:
            return 0
        taken = 0
        for trial in self._optuna.get_trials(deepcopy=False):
            if trial.state.name == "RUNNING" and self._left(trial):
                self._optuna.tell(trial.number, state=TrialState.FAIL)
                enter_again(self._optuna, trial)
                taken += 1
        return taken

    def _left(self, trial: Any) -> bool:
        assert self.journal is not None
        worker = trial.user_attrs.get("worker")
        if worker is not None:
            return not self.journal.lives(worker)
        began = trial.datetime_start
        old = began is None or (datetime.now() - began).total_seconds() > _UNSIGNED_SECONDS  # noqa: DTZ005  as Optuna's own
        return old or self.journal.alone()

    def run(
        self,
        objective: Callable[[int], Objective],
        budget: Budget,
        told: Told,
        jobs: int,
        points: list[Parameters] | None,
    ) -> str:
        """Try until something is used up; returns what: time, trials, cost, grid or space."""
        if jobs == 1:
            beside = self._salt(0) if self.shared else None
            return self._work(objective(0), budget, told, beside, points)
        with ThreadPoolExecutor(jobs) as pool:
            works = [
                pool.submit(self._work, objective(job), budget, told, self._salt(job), points)
                for job in range(jobs)
            ]
            return max(work.result() for work in works)

    def _work(
        self,
        objective: Objective,
        budget: Budget,
        told: Told,
        beside: int | None,
        points: list[Parameters] | None,
    ) -> str:
        """One worker's trials, one after another."""
        study = self._own()
        while True:
            trials = finished(study)
            budget.reserve(max((t.training_seconds for t in preferred(trials)[:1]), default=0.0))
            if ended := budget.over(len(trials)) or _exhausted(study, trials, points):
                return ended
            self._choose(study, trials, budget, points)
            begun = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
            study.sampler = new_sampler(self._search, len(begun), beside)
            try:
                study.optimize(objective, n_trials=1, catch=(TrialFailed,))
            except AssertionError as error:
                # Optuna asserts that a trial it could not write has ended.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
            told(finished(study), budget)

    def _salt(self, job: int) -> int:
        return zlib.crc32(f"{self.worker} {job}".encode())

    def _own(self) -> Any:
        """Optuna's study for one thread: each has a sampler of its own."""
        found = optuna.load_study(study_name=self.name, storage=self._storage)
        found.pruner = self.pruner
        return found

    def _choose(
        self, study: Any, trials: list[Trial], budget: Budget, points: list[Parameters] | None
    ) -> None:
        """Enter what the next trial is to be, where that is not the sampler's affair."""
        tried = _tried(study)
        if study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return
        if points is not None:
            point = next(each for each in points if key_of(each, {}) not in tried)
            self.enter(Start(point, "grid"))
            return
        left, with_training = budget.seconds_free(), budget.with_training
        if budget.share(len(trials)) >= REFINED:
            refined = refinement(trials, tried, left, with_training)
        else:
            refined = early_copies(trials, tried, left, with_training)
        if refined is not None:
            self.enter(Start(*refined))


def _tried(study: Any) -> set[str]:
    """The settings of all trials, those that wait and run included."""
    found = set()
    for trial in study.get_trials(deepcopy=False):
        parameters = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        found.add(key_of(parameters, trial.user_attrs.get(FIXED, {})))
    return found


def _exhausted(study: Any, trials: list[Trial], points: list[Parameters] | None) -> str:
    if points is not None:
        tried = _tried(study)
        return "" if any(key_of(each, {}) not in tried for each in points) else "grid"
    newest = trials[-MOST_REPEATS:]
    repeats = len(newest) == MOST_REPEATS and all(each.repeated for each in newest)
    return "space" if repeats else ""
