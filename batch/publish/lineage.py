"""From a prediction to the data behind it, and from the data to what was made of it.

prediction → snapshot → release → run → dataset → offsets. What was deleted since is named, with
what the others still say of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from batch.datasets.store import DatasetStore
from batch.run import Runs
from features.archive.answers import Answered, FoundLabel, answered_by, find_labels
from features.archive.files import committed_offsets
from features.archive.predictions import FoundPrediction, find_prediction
from learners.prior import PRIOR
from tidemill.errors import InputError, TidemillError
from tidemill.registry import Registry
from tidemill.topics import PREDICTIONS

Kind = Literal["prediction", "snapshot", "release", "run", "dataset"]
_SNAPSHOT = re.compile(r"(r\d{4,})/(\d+)")
_RELEASE, _RUN = re.compile(r"r\d{4,}"), re.compile(r"run\d{4,}")
_DATASET = re.compile(r"d[0-9a-f]{12}")


class ReleaseLink(msgspec.Struct, frozen=True, kw_only=True):
    """A release; `problem` says why nothing more is known of it, `answered` what it scored."""

    release: str
    problem: str = ""
    role: str = ""
    signed_by: str = ""
    created_ms: int = 0
    schema: str = ""
    rows: int = 0
    offsets: dict[str, int] = {}
    parent: str = ""
    forced: str = ""
    run: str = ""
    dataset: str = ""
    answered: Answered | None = None


class RunLink(msgspec.Struct, frozen=True, kw_only=True):
    """A retrain; `problem` says why nothing more is known of it."""

    run: str
    problem: str = ""
    outcome: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    dataset: str = ""
    release: str = ""
    reasons: list[str] = []


class DatasetLink(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset; `problem` says why nothing more is known of it."""

    dataset: str
    problem: str = ""
    rows: int = 0
    from_ms: int = 0
    to_ms: int = 0
    offsets: dict[str, int] = {}
    parent: str = ""


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """What hangs together with `id`: of a prediction what it comes from, else both ways."""

    kind: Kind
    id: str
    prediction: FoundPrediction | None = None
    labels: list[FoundLabel] = []
    snapshot: int | None = None
    releases: list[ReleaseLink] = []
    runs: list[RunLink] = []
    datasets: list[DatasetLink] = []


class Lines:
    """Looks through what one project keeps; every call may block on the disk."""

    def __init__(self, registry: Registry) -> None:
        home, self._registry, self._project = registry.home, registry, registry.folder.name
        self._home = home
        self._runs = Runs(home, self._project)
        self._datasets = DatasetStore(home, self._project)

    def of(self, name: str) -> Lineage:
        """What hangs together with the id of a prediction, snapshot, release, run or dataset.

        Raises InputError for an id that is nowhere, saying where was looked.
        """
        ways: list[tuple[re.Pattern[str], Callable[[str], Lineage | None]]] = [
            (_SNAPSHOT, self._of_snapshot),
            (_RELEASE, self._of_release),
            (_RUN, self._of_run),
            (_DATASET, self._of_dataset),
            (re.compile(".*", re.DOTALL), self._of_prediction),
        ]
        for pattern, look in ways:
            found = look(name) if pattern.fullmatch(name) else None
            if found is not None:
                return found
        raise InputError("unknown_id", "lineage", repr(name), self._looked_through())

    def _looked_through(self) -> str:
        rows = sum(committed_offsets(self._home, self._project, PREDICTIONS).values())
        return (
            f"the id of one of {rows} archived predictions, {len(self._registry.names())} releases "
            f"(rNNNN, or rNNNN/SNAPSHOT), {len(self._runs.names())} runs and "
            f"{len(self._datasets.names())} datasets of {self._project}; what was scored a moment "
            "ago is archived a few seconds later"
        )

    def _of_prediction(self, name: str) -> Lineage | None:
        found = find_prediction(self._home, self._project, name)
        if found is None:
            return None
        names = [found.release] if found.release != PRIOR else []
        return self._up(
            Lineage(
                kind="prediction",
                id=name,
                prediction=found,
                labels=find_labels(self._home, self._project, name, found.time),
                snapshot=found.snapshot,
            ),
            [self._release(each) for each in names],
        )

    def _of_snapshot(self, name: str) -> Lineage | None:
        release, number = name.split("/")
        answered = answered_by(self._home, self._project, release, int(number))
        if answered is None:
            return None
        link = msgspec.structs.replace(self._release(release), answered=answered)
        return self._up(Lineage(kind="snapshot", id=name, snapshot=int(number)), [link])

    def _of_release(self, name: str) -> Lineage | None:
        link = self._with_answers(self._release(name))
        if link.problem and link.answered is None and name not in self._registry.names():
            return None
        return self._up(Lineage(kind="release", id=name), [link])

    def _of_run(self, name: str) -> Lineage | None:
        releases = [each for each in self._all_releases() if each.run == name]
        if not releases and name not in self._runs.names():
            return None
        run = self._run(name)
        datasets = _distinct([run.dataset, *(each.dataset for each in releases)])
        return Lineage(
            kind="run", id=name, runs=[run],
            releases=[self._with_answers(each) for each in releases],
            datasets=self._with_parents(datasets),
        )  # fmt: skip

    def _of_dataset(self, name: str) -> Lineage | None:
        releases = [each for each in self._all_releases() if each.dataset == name]
        runs = [each.id for each in self._runs.records() if each.dataset == name]
        runs = _distinct([*runs, *(each.run for each in releases)])
        if not releases and not runs and name not in self._datasets.names():
            return None
        derived = [each for each in self._all_datasets() if each.parent == name]
        return Lineage(
            kind="dataset", id=name, runs=[self._run(each) for each in runs],
            releases=[self._with_answers(each) for each in releases],
            datasets=[*self._with_parents([name]), *derived],
        )  # fmt: skip

    def _up(self, lineage: Lineage, releases: list[ReleaseLink]) -> Lineage:
        """With the releases, and with what they were made by and from."""
        runs = [self._run(each) for each in _distinct([link.run for link in releases])]
        datasets = _distinct([*(r.dataset for r in releases), *(run.dataset for run in runs)])
        return msgspec.structs.replace(
            lineage, releases=releases, runs=runs, datasets=self._with_parents(datasets)
        )

    def _all_releases(self) -> list[ReleaseLink]:
        return [self._release(name) for name in self._registry.names()]

    def _all_datasets(self) -> list[DatasetLink]:
        return [self._dataset(name) for name in self._datasets.names()]

    def _with_answers(self, link: ReleaseLink) -> ReleaseLink:
        found = answered_by(self._home, self._project, link.release)
        return msgspec.structs.replace(link, answered=found)

    def _release(self, name: str) -> ReleaseLink:
        if name not in self._registry.names():
            return ReleaseLink(release=name, problem="deleted")
        try:
            made, key = self._registry.manifest(name), self._registry.signed_by(name)
            role = self._registry.standings().role(name) or ""
        except TidemillError as error:
            return ReleaseLink(release=name, problem=str(error))
        return ReleaseLink(
            release=name, role=role, signed_by=key, created_ms=made.created_ms,
            schema=made.schema, rows=made.rows, offsets=made.offsets, parent=made.parent,
            forced=made.forced, run=made.run, dataset=made.dataset,
        )  # fmt: skip

    def _run(self, name: str) -> RunLink:
        if name not in self._runs.names():
            return RunLink(run=name, problem="deleted")
        try:
            found = self._runs.record(name)
        except TidemillError as error:
            return RunLink(run=name, problem=str(error))
        return RunLink(
            run=name, outcome=found.outcome or "not finished", started_ms=found.started_ms,
            ended_ms=found.ended_ms, dataset=found.dataset, release=found.release,
            reasons=found.reasons,
        )  # fmt: skip

    def _dataset(self, name: str) -> DatasetLink:
        if name not in self._datasets.names():
            return DatasetLink(dataset=name, problem="deleted")
        try:
            found = self._datasets.manifest(name)
        except TidemillError as error:
            return DatasetLink(dataset=name, problem=str(error))
        return DatasetLink(
            dataset=name, rows=found.rows, from_ms=found.from_ms, to_ms=found.to_ms,
            offsets=found.offsets, parent=found.parent,
        )  # fmt: skip

    def _with_parents(self, names: Sequence[str]) -> list[DatasetLink]:
        """The datasets, each followed by those it was derived from."""
        links: list[DatasetLink] = []
        waiting = list(names)
        while waiting:
            link = self._dataset(waiting.pop(0))
            links.append(link)
            if link.parent and link.parent not in [each.dataset for each in links]:
                waiting.insert(0, link.parent)
        return links


def _distinct(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))
