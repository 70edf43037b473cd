"""What earlier studies found best, by how alike their data was: a new search starts from there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from batch.search.meta_features import distance
from batch.search.trials import preferred
from tidemill.declaration import Project
from tidemill.durable import write_whole
from tidemill.tasks import Task

if TYPE_CHECKING:
    from batch.search.budget import Budget
    from batch.search.study import Study  # loads Optuna, which no list of studies needs

MOST_BEST = 3  # trials that a study is remembered by


class Found(msgspec.Struct, frozen=True):
    """One of a study's best trials."""

    family: str
    parameters: dict[str, float | int | str | bool]
    fixed: dict[str, float | int | str | bool]
    settings: dict[str, Any]
    loss: float


class StudyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A finished study: on what data, and what did best."""

    id: str
    project: str
    task: str
    started_ms: int
    ended_ms: int
    seconds: float
    trials: int
    rows: int
    loss: float
    meta: dict[str, float]
    best: list[Found]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An earlier study and how far its data is from ours."""

    record: StudyRecord
    distance: float


class Memory:
    """The records of finished studies of all projects under one home, a file each."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "studies"

    def records(self) -> list[StudyRecord]:
        """All that can be read, oldest first; a damaged file is passed over."""
        found = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []:
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=StudyRecord))
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                continue
        return sorted(found, key=lambda record: (record.started_ms, record.id))

    def keep(self, record: StudyRecord) -> None:
        """Remember a study; one of the same id is replaced. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(record))
        write_whole(self.folder / f"{record.id}.json", data)

    def nearest(self, meta: Mapping[str, float], task: Task, count: int) -> list[Neighbour]:
        """The studies of the task on the most similar data, nearest first, then newest."""
        alike = [record for record in self.records() if record.task == task.kind and record.best]
        found = [Neighbour(record, distance(meta, record.meta)) for record in alike]
        found.sort(key=lambda each: (each.distance, -each.record.ended_ms, each.record.id))
        return found[:count]


def record_of(
    study: Study, project: Project, meta: Mapping[str, float], budget: Budget
) -> StudyRecord:
    """What is remembered of a study that found something."""
    trials = study.trials()
    best = preferred(trials)
    return StudyRecord(
        id=study.name,
        project=project.name,
        task=project.task.kind,
        started_ms=study.started_ms,
        ended_ms=max(trial.ended_ms for trial in trials),
        seconds=budget.seconds(),
        trials=len(trials),
        rows=round(math.exp(meta["log_rows"])),
        loss=best[0].loss,
        meta=dict(meta),
        best=[
            Found(each.family, each.parameters, each.fixed, each.settings, each.loss)
            for each in best[:MOST_BEST]
        ],
    )
