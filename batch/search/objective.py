"""One trial: rung by rung, fold by fold, given up as soon as it cannot be the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna import TrialPruned

from batch.search.folds import Rung
from batch.search.limits import excess_of
from batch.search.measure import Asked, Measure, Measured
from batch.search.samplers import FLAT
from batch.search.space import Space, plain, with_fixed, with_steps
from batch.search.trials import FIXED, REPEATED, Trial, enter_again, finished, key_of, ranked
from tidemill.declaration import Project
from tidemill.errors import ServiceError, TidemillError
from tidemill.search import Search, Value, family_of
from tidemill.trainer_kinds import LightGBM, TrainerKind

FOLD_MARGIN = 0.005
"""A trial goes on to older folds while it is worse than the best by at most this share."""

MOST_REASON = 500  # characters that are kept of what a trainer said
COPIED = (
    "family", "losses", "loss", "steps", "settings", "model_bytes", "row_us", "training_seconds",
    "excess", "blocks",
)  # fmt: skip


class TrialFailed(Exception):
    """A trial that gave no model; its reason is in the study."""


@dataclass(frozen=True)
class Objective:
    """What Optuna calls with a trial; returns its loss, the mean over all folds."""

    project: Project
    search: Search
    space: Space
    measure: Measure
    rungs: list[Rung]
    worker: str
    seconds_left: Callable[[], float]
    growth: float = 1.0
    """How many times as many rows as in a fold a release is trained on; rounds grow with them."""

    def __call__(self, trial: Any) -> float:
        """Raises TrialFailed, or Optuna's TrialPruned for one that is given up."""
        trial.set_user_attr("worker", self.worker)
        flat = self.search.sampler in FLAT
        fixed: Mapping[str, Value] = trial.user_attrs.get(FIXED, {})
        settings = with_fixed(self.space.suggest(trial, flat), fixed)
        trial.set_user_attr("family", family_of(settings))
        done = finished(trial.study)
        key = key_of(trial.params, dict(fixed))
        same = next((each for each in done if each.key == key and each.state != "failed"), None)
        if same is not None:
            return self._again(trial, same)
        try:
            return self._tried(trial, self.space.full_length(settings), ranked(done)[:1])
        except TrialPruned:
            raise
        except (OSError, ServiceError, KeyboardInterrupt):
            enter_again(trial.study, trial)  # not the trial's fault: the disk is full, Dask is gone
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, TidemillError) else repr(error)
            trial.set_user_attr("reason", reason[:MOST_REASON])
            raise TrialFailed(reason) from error

    def _tried(self, trial: Any, settings: TrainerKind, best: list[Trial]) -> float:
        """The loss on all folds, the newest first and on few rows at first."""
        found: list[Measured] = []
        worth = self._worth(best, 0)
        # Refined trials are few, and their rounds are those for all rows: fewer say nothing.
        refined = bool(trial.user_attrs.get(FIXED))
        for rung in self.rungs[-1:] if refined else self.rungs:
            whole = rung is self.rungs[-1]
            measured = self._measured(trial, settings, 0, rung, worth if whole else math.inf)
            if not whole and trial.should_prune():
                raise _given_up(trial, f"worse than others on {rung.rows} rows")
        found.append(measured)
        for fold in range(1, self.search.folds):
            if statistics.mean(each.loss for each in found) > worth:
                raise _given_up(trial, f"worse than the best on {fold} folds")
            found.append(self._measured(trial, settings, fold, self.rungs[-1], math.inf))
            worth = self._worth(best, fold)
        self._note(trial, settings, found)
        return statistics.mean(each.loss for each in found)

    def _measured(
        self, trial: Any, settings: TrainerKind, fold: int, rung: Rung, worth: float
    ) -> Measured:
        asked = Asked(settings, fold, rung, worth, max(self.seconds_left(), 0.0))
        found = self.measure(asked)
        spent = trial.user_attrs.get("seconds", 0.0) + found.seconds
        trial.set_user_attr("seconds", spent)
        if fold == 0:
            self._note(trial, settings, [found])
            trial.report(found.loss, rung.resource)
        if found.ended:
            raise _given_up(trial, found.ended)
        return found

    def _note(self, trial: Any, settings: TrainerKind, found: list[Measured]) -> None:
        """What is known of the trial by now, should it end here."""
        newest = found[0]
        steps = round(statistics.median(each.steps for each in found))
        grown = self.growth if isinstance(settings, LightGBM) else 1.0
        size, slow = round(newest.model_bytes * grown), newest.row_us * grown
        excess = excess_of(self.project, size, slow)
        noted = {
            "losses": [each.loss for each in found],
            "blocks": [loss for each in found for loss in each.blocks],
            "loss": statistics.mean(each.loss for each in found),
            "steps": steps,
            "settings": plain(with_steps(settings, steps)),
            "model_bytes": size,
            "row_us": slow,
            "training_seconds": newest.seconds * self.growth * grown,
            "excess": excess,
        }
        for name, value in noted.items():
            trial.set_user_attr(name, value)
        for name, value in excess.items():
            trial.set_constraint(name, value)

    def _worth(self, best: list[Trial], fold: int) -> float:
        """What the mean loss of the folds up to this one must not exceed for the trial to go on."""
        if not best or best[0].state != "complete" or len(best[0].losses) <= fold:
            return math.inf
        loss = statistics.mean(best[0].losses[: fold + 1])
        return loss + abs(loss) * FOLD_MARGIN

    def _again(self, trial: Any, same: Trial) -> float:
        """The result of an earlier trial of the same settings: nothing is trained twice."""
        for name in COPIED:
            trial.set_user_attr(name, getattr(same, name))
        for name, value in same.excess.items():
            trial.set_constraint(name, value)
        trial.set_user_attr("reason", f"{REPEATED} {same.number}")
        if same.state == "pruned":
            raise TrialPruned
        return same.loss


def _given_up(trial: Any, reason: str) -> TrialPruned:
    trial.set_user_attr("reason", reason)
    return TrialPruned(reason)
