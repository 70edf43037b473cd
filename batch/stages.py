"""The stages of a retrain, each leaving files that the next attempt finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

import tidemill
from batch.compression.compress import compress, compressed_alike
from batch.datasets.build import build
from batch.datasets.dataset import Dataset, Quarantined
from batch.datasets.manifest import DatasetManifest
from batch.datasets.store import DatasetStore
from batch.gate.champion import Champion
from batch.gate.evidence import Evidence, read_slices
from batch.gate.gate import judge
from batch.gate.report import GateReport
from batch.gate.split import older_and_newer
from batch.progress import Progress, Silent
from batch.run import Run
from batch.search.search import SearchOptions, search
from batch.trainers.families import new_trainer, settings_as_json, settings_from_json
from batch.trainers.trainer import TrainingRows
from batch.training_set import Compute, TrainingSet
from features.archive.events import Rules
from features.archive.point_in_time import vectors_at
from features.plan import FeaturePlan
from learners.release import ModelFile, release_files
from tidemill.clock import Clock
from tidemill.registry import Manifest, Registry
from tidemill.signature import Keys
from tidemill.trainer_kinds import LightGBM, OwnModel, TrainerKind
from tidemill.wire import Announcement

Announce = Callable[[Announcement], None]
Files = Mapping[str, bytes]
SETTLED_ON = 0.85  # of the older rows; on the rest it is settled how models are made smaller


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may choose.

    Cores (0: all), who hears of progress, the worker's rules for events, where features are
    backfilled, and which examples were put aside. On the workers of a scheduler `dask` trees are
    trained, and settings searched. `forced_by` publishes what the gate
    refuses, under that name; with `fresh` an interrupted run is not gone on with. `keys` sign the
    release.
    """

    threads: int = 0
    progress: Progress = field(default_factory=Silent)
    rules: Rules = Rules()
    compute: Compute = vectors_at
    quarantined: Quarantined = Quarantined()
    dask: str | None = None
    forced_by: str = ""
    fresh: bool = False
    keys: Keys | None = None


@dataclass(frozen=True, slots=True)
class Stages:
    """What a run is about; every stage is called in the order in which it stands here."""

    plan: FeaturePlan
    registry: Registry
    run: Run
    options: Options
    clock: Clock

    def champion(self) -> Champion | None:
        """The release that serves this schema until the run publishes its own.

        Where another one has become it since the run began, what was made with the one before is
        forgotten. A release for other vectors is nothing to compare with.
        """
        now = self.registry.champion(self.plan.schema.hash) or ""

        def look() -> Files:
            return {"champion.txt": now.encode()}

        name = self.run.stage("champion", look)["champion.txt"].decode()
        if name != now and self._own_release is None:
            self.run.forget("champion", "compression", "candidate", "gate", "release")
            name = self.run.stage("champion", look)["champion.txt"].decode()
        if not name:
            return None
        return Champion.read(self.registry, name)

    def dataset(self) -> tuple[DatasetManifest, Dataset]:
        """What is trained on and judged with. Raises InputError where there is nothing."""
        options, project = self.options, self.plan.project
        store = DatasetStore(self.registry.home, project.name, self.clock)

        def make() -> Files:
            training = TrainingSet(self.registry.home, self.plan, options.rules, options.compute)
            made = build(training, project.dataset, store, options.quarantined, options.progress)
            return {"dataset.txt": made.id.encode()}

        name = self.run.stage("dataset", make)["dataset.txt"].decode()
        if not store.folder(name).is_dir() and self._own_release is None:  # removed since
            self.run.forget("dataset", "search", "compression", "candidate", "gate", "release")
            name = self.run.stage("dataset", make)["dataset.txt"].decode()
        self.run.note(dataset=name)
        return store.manifest(name), store.read(name)

    def settings(self, data: Dataset) -> TrainerKind:
        """What to train with: as declared, or as a search over the older rows found."""
        project = self.plan.project

        def find() -> Files:
            if project.search is None:
                return {"settings.json": settings_as_json(project.trainer)}
            options = SearchOptions(
                threads=self.options.threads, progress=self.options.progress, clock=self.clock,
                earlier=self.registry.home, dask=self.options.dask,
            )  # fmt: skip
            older = older_and_newer(project, data).older
            found = search(project, older, self.run.stage_folder("search"), options)
            return {
                "settings.json": settings_as_json(found.settings),
                "search.json": msgspec.json.format(msgspec.json.encode(found.report)),
            }

        written = self.run.stage("search", find)["settings.json"]
        return settings_from_json(written, project.trainers)

    def candidate(
        self, settings: TrainerKind, data: Dataset, champion: Champion | None
    ) -> ModelFile:
        """A model of what was known before the holdout: what the gate judges."""
        split = older_and_newer(self.plan.project, data)
        rows, before = rows_of(split.older), _unseen(champion, split.start_ms)
        smaller = self._smaller(settings, split.older, champion)

        def make() -> Files:
            model = self._trained("candidate", settings, rows, before)
            return {f"candidate.{model.name}": smaller(model, rows).data}

        return _model_in(self.run.stage("candidate", make), "candidate.")

    def _smaller(
        self, settings: TrainerKind, older: Dataset, champion: Champion | None
    ) -> Callable[[ModelFile, TrainingRows], ModelFile]:
        """How models of this run are made smaller, settled on the newest of the older rows.

        The gate's holdout takes no part: what is judged there must not have been chosen there.
        Raises GateRefused where the targets are required and not reached.
        """
        declared, threads = self.plan.project.compression, self.options.threads
        if declared is None:
            return lambda model, rows: model

        def settle() -> Files:
            cut = int(np.quantile(older.label_times, SETTLED_ON))
            known, newest = older.label_times < cut, older.label_times >= cut
            rows, before = rows_of(older.take(known)), _unseen(champion, cut)
            model = self._trained("to be made smaller", settings, rows, before)
            done = compress(
                model, rows, rows_of(older.take(newest)), declared, self.plan.project,
                threads=threads, progress=self.options.progress,
            )  # fmt: skip
            return {"compression.json": msgspec.json.format(msgspec.json.encode(done.report))}

        said = msgspec.json.decode(self.run.stage("compression", settle)["compression.json"])
        return lambda model, rows: compressed_alike(model, rows, said, threads)

    def judged(self, candidate: ModelFile, data: Dataset, champion: Champion | None) -> GateReport:
        """What the gate says."""

        def judge_it() -> Files:
            self.options.progress.start("gate", 1)
            project = self.plan.project
            from_ms = older_and_newer(project, data).start_ms
            slices = read_slices(self.registry.home, project, data, from_ms)
            report = judge(project, data, candidate, champion, Evidence(slices=slices))
            if not report.passed:
                report = replace(report, forced_by=self.options.forced_by)
            self.options.progress.advance()
            readable = msgspec.json.format(msgspec.json.encode(report.as_json()))
            return {"gate.msgpack": msgspec.msgpack.encode(report), "gate.json": readable}

        written = self.run.stage("gate", judge_it)["gate.msgpack"]
        return msgspec.msgpack.decode(written, type=GateReport)

    def release(self, settings: TrainerKind, data: Dataset, champion: Champion | None) -> ModelFile:
        """A model of all rows, made as the candidate was."""
        rows = rows_of(data)
        smaller = self._smaller(settings, older_and_newer(self.plan.project, data).older, champion)

        def make() -> Files:
            model = self._trained("release", settings, rows, champion)
            return {f"release.{model.name}": smaller(model, rows).data}

        return _model_in(self.run.stage("release", make), "release.")

    def published(
        self,
        model: ModelFile,
        settings: TrainerKind,
        made_of: tuple[DatasetManifest, Dataset],
        report: GateReport,
    ) -> str:
        """The release's name."""

        def publish() -> Files:
            # An attempt before may have published, and been killed before it could say so.
            name = self._own_release
            if name is None:
                manifest = self._manifest(settings, made_of, report)
                name = self.registry.publish(manifest, release_files(model)).release
            return {"release.txt": name.encode()}

        release = self.run.stage("publish", publish)["release.txt"].decode()
        self.run.note(release=release)
        return release

    def announced(self, release: str, announce: Announce) -> None:
        """Worker and api are told. Raises BusUnavailable."""

        def tell() -> Files:
            learner = self.plan.project.learner.name
            announce(self.registry.announcement(release, learner, self.clock.now_ms()))
            return {}

        self.run.stage("announce", tell)

    @property
    def _own_release(self) -> str | None:
        """What this run has published, if it came so far."""
        return self.registry.release_of(self.run.id, self.run.record.started_ms)

    def _trained(
        self, stage: str, settings: TrainerKind, rows: TrainingRows, champion: Champion | None
    ) -> ModelFile:
        options, plan = self.options, self.plan
        before = champion.model if champion else None
        if options.dask is not None and isinstance(settings, LightGBM):
            from batch.trainers.trees_on_dask import TreesOnDask, connect_trees

            with connect_trees(options.dask) as cluster:
                return TreesOnDask(
                    settings, plan.schema, plan.project.task, cluster=cluster,
                    progress=options.progress, champion=before,
                ).train(rows, stage)  # fmt: skip
        checkpoints = self.run.stage_folder("checkpoints")
        trainer = new_trainer(
            settings, plan.schema, plan.project.task, options.threads, options.progress, before,
            checkpoints,
        )  # fmt: skip
        model = trainer.train(rows, stage)
        shutil.rmtree(checkpoints, ignore_errors=True)  # of a large net they are large
        return model

    def _manifest(
        self,
        settings: TrainerKind,
        made_of: tuple[DatasetManifest, Dataset],
        report: GateReport,
    ) -> Manifest:
        schema = self.plan.schema
        dataset, data = made_of
        return Manifest(
            release=self.registry.next_name(),
            project=self.plan.project.name,
            schema=schema.hash,
            features=list(schema.names),
            # Not before its run began, by whatever clock: by that the run knows it again.
            created_ms=max(self.clock.now_ms(), self.run.record.started_ms),
            trained_from_ms=int(data.times.min()),
            trained_to_ms=int(data.label_times.max()) + 1,
            rows=dataset.rows,
            offsets=dataset.offsets,
            metrics={
                "positives": int(data.labels.sum()),
                "backfilled": dataset.backfilled,
                **report.metrics(),
            },
            files={},
            parameters=_parameters(settings),
            run=self.run.id,
            dataset=dataset.id,
            parent=report.champion_release or "",
            forced=report.forced_by,
            version=tidemill.__version__,
        )


def _unseen(champion: Champion | None, from_ms: int) -> Champion | None:
    """The champion, where it has not seen these labels: to go on from it is to look no further."""
    return champion if champion and champion.trained_to_ms <= from_ms else None


def rows_of(data: Dataset) -> TrainingRows:
    """What a trainer takes of a dataset."""
    return TrainingRows(data.vectors, data.labels, data.weights)


def _model_in(files: Files, prefix: str) -> ModelFile:
    name = next(name for name in files if name.startswith(prefix))
    return ModelFile(name.removeprefix(prefix), files[name])


def _parameters(settings: TrainerKind) -> dict[str, float | int | str]:
    if isinstance(settings, OwnModel):
        return {"trainer": settings.name, **dict(settings.settings)}
    plain: dict[str, Any] = asdict(settings)
    shown = {
        name: value if type(value) in (int, float, str) else str(value)
        for name, value in plain.items()
    }
    return {"trainer": type(settings).__name__, **shown}
