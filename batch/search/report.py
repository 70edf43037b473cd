"""What a search did, as JSON and as two plots."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batch.search.budget import Budget
from batch.search.importance import importances
from batch.search.plots import bars, history
from batch.search.study import Study
from batch.search.trials import Trial, preferred, ranked
from tidemill.durable import write_whole
from tidemill.search import Search

REPORT, HISTORY, IMPORTANCE = "search.json", "history.svg", "importance.svg"


def report_of(
    search: Search, study: Study, trials: Sequence[Trial], budget: Budget, ended: str
) -> dict[str, Any]:
    """Numbers and names that say what was tried, what was best and where it began."""
    best = preferred(trials)[0]
    families = {}
    for trial in reversed(ranked(trials)):
        families[trial.family] = trial.loss
    return {
        "study": study.name,
        "sampler": search.sampler,
        "fidelity": search.fidelity,
        "folds": search.folds,
        "seed": search.seed,
        "ended": ended,
        "seconds": round(budget.seconds(), 3),
        "core_seconds": round(budget.core_seconds(), 3),
        "trials": len(trials),
        **{
            state: sum(trial.state == state for trial in trials)
            for state in ("complete", "pruned", "failed")
        },
        "infeasible": sum(not trial.feasible for trial in trials),
        "best": best.as_json(),
        "lowest_loss": ranked(trials)[0].loss,
        "families": families,
        "borrowed": study.notes.get("borrowed", []),
        "history": points(trials, study.started_ms),
        "importance": importances(trials),
    }


def points(trials: Sequence[Trial], started_ms: int) -> list[dict[str, Any]]:
    """Each trial in the order they ended: after how many seconds, its loss, the best by then.

    `best` is the lowest loss of all, `chosen` the trial that would have been if that were the end.
    """
    found, best = [], math.inf
    ended = sorted(trials, key=lambda each: (each.ended_ms, each.number))
    for count, trial in enumerate(ended, 1):
        if trial.state == "complete" and trial.feasible:
            best = min(best, trial.loss)
        chosen = preferred(ended[:count])
        found.append(
            {
                "seconds": (trial.ended_ms - started_ms) / 1000,
                "trial": trial.number,
                "state": trial.state,
                "family": trial.family,
                "origin": trial.origin,
                "loss": trial.loss if math.isfinite(trial.loss) else None,
                "best": best if math.isfinite(best) else None,
                "chosen": chosen[0].number if chosen else None,
                "settings": trial.settings,
            }
        )
    return found


def write_report(
    folder: Path, report: dict[str, Any], trials: Sequence[Trial], started_ms: int
) -> None:
    """Write the report, all trials and the plots into the folder. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = report | {"every_trial": [trial.as_json() for trial in trials]}
    write_whole(folder / REPORT, (json.dumps(whole, indent=1) + "\n").encode())
    write_whole(folder / HISTORY, history(points(trials, started_ms)).encode())
    write_whole(folder / IMPORTANCE, bars(report["importance"]).encode())
