"""Our search as `bench tune` runs it: a process like the peers', given the same rows.

`python -m bench._tune_ours` with a `Tuning` as JSON; `options` name the families that are searched.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tidemill as tm
from batch.datasets.dataset import Dataset
from batch.progress import Silent
from batch.scoring import predict_all
from batch.search.folds import folds_of, growth
from batch.search.search import SearchOptions, search
from batch.search.space import grown
from batch.trainers.families import new_trainer
from batch.trainers.trainer import TrainingRows
from bench.peers.tuning import Incumbent, Rows, Scores, Stopwatch, Tuning, hand_back
from learners.release import read_model
from tidemill.clock import SystemClock
from tidemill.declaration import Project
from tidemill.schema import schema_of
from tidemill.search import family_of
from tidemill.tasks import BINARY
from tidemill.trainer_kinds import TrainerKind

FAMILIES = (tm.LightGBM(), tm.LinearModel())


def project_of(rows: Rows, search_for: tm.Search) -> Project:
    """A declaration whose vectors are these: every column comes with the request."""
    names = [str(name) for name in rows.names]
    categorical = dict(zip(names, rows.categorical.tolist(), strict=True))
    request = tm.Request({"row": str} | dict.fromkeys(names, float))
    return Project(
        name="tune",
        events=(),
        request=request,
        features=tuple(
            tm.RequestFeature(name, request[name], categorical=categorical[name]) for name in names
        ),
        label=tm.Label(key=("row",), wait="7d"),
        learner=tm.Linear(),  # starts from whatever family is found
        search=search_for,
    )


def dataset_of(rows: Rows) -> Dataset:
    """The rows as a dataset has them, in the order in which their labels came."""
    count = len(rows.labels)
    unknown = np.full(count, np.nan)
    data = Dataset(
        keys=np.full(count, "", object),
        vectors=rows.vectors,
        labels=rows.labels.astype(np.float64),
        times=rows.times,
        label_times=rows.label_times,
        scores=unknown,
        baselines=unknown,
        live=np.zeros(count, bool),
        weights=np.ones(count),
    )
    return data.take(np.argsort(rows.label_times, kind="stable"))


def settings_of(told: dict[str, Any]) -> TrainerKind:
    """The settings that the search's history tells as JSON."""
    families = {family_of(each): each for each in FAMILIES}
    found: TrainerKind = replace(families[told["family"]], **told["settings"])
    return found


def incumbents_of(history: list[dict[str, Any]]) -> list[Incumbent]:
    """The trials of the search's history that would have been shipped, had it ended then."""
    trials = {each["trial"]: each for each in history}
    found: list[Incumbent] = []
    for point in history:
        chosen = trials.get(point["chosen"])
        if chosen is not None and (not found or chosen["trial"] != found[-1].settings["trial"]):
            told = {name: chosen[name] for name in ("trial", "origin", "family", "settings")}
            found.append(Incumbent(point["seconds"], chosen["loss"], told))
    return found


def main(argument: str) -> None:
    """Search, then train every incumbent on all rows."""
    tuning = Tuning.of(argument)
    tuning.keep_to_cores()
    rows = Rows.read(tuning)
    declared = tm.Search(
        families=FAMILIES, time=f"{round(tuning.seconds * 1000)}ms", seed=tuning.seed
    )
    project, data = project_of(rows, declared), dataset_of(rows)
    known = TrainingRows(data.vectors, data.labels, data.weights)
    options = SearchOptions(threads=tuning.cores, progress=Silent(), clock=SystemClock())
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        found = search(project, data, Path(folder), options)
    seconds = watch.seconds
    # In very little time no trial is seen through: what the search returns is all there is.
    incumbents = incumbents_of(found.report["history"]) or [Incumbent(seconds, found.score, {})]
    longer = growth(len(data), folds_of(data, declared.folds, BINARY))

    def refit(incumbent: Incumbent) -> Scores:
        # What the search returns is what is shipped; had it ended earlier, it would have been this.
        last = incumbent is incumbents[-1]
        shipped = found.settings if last else grown(settings_of(incumbent.settings), longer)
        trainer = new_trainer(shipped, schema_of(project), BINARY, tuning.cores)
        model = read_model(trainer.train(known), project)
        return predict_all(model, rows.tested)

    hand_back(tuning, rows, seconds, incumbents, refit)


if __name__ == "__main__":
    main(sys.argv[1])
