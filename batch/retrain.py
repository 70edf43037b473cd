"""One retrain: archive → dataset → gate → release → announcement; safe to start at any time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from batch.baselines import MODEL_FILE
from batch.dataset import Extract, Quarantined, extract
from batch.exit_codes import ExitCode
from batch.gate import Champion, GateReport, judge
from batch.progress import Progress, Silent
from batch.trainer import Trainer
from batch.training_set import Compute, TrainingSet
from features.archive.definitions import write_definition
from features.archive.events import Rules
from features.archive.point_in_time import vectors_at
from features.plan import compile_plan
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.errors import BusUnavailable
from tidemill.registry import MANIFEST, Manifest, Registry
from tidemill.schema import FeatureSchema, schema_of
from tidemill.wire import Announcement


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may choose.

    Cores (0: all), a time range (ms), who hears of progress, the worker's rules for events, where
    features are backfilled, and which examples were put aside.
    """

    threads: int = 0
    from_ms: int | None = None
    to_ms: int | None = None
    progress: Progress = Silent()
    rules: Rules = Rules()
    compute: Compute = vectors_at
    quarantined: Quarantined = Quarantined()


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """How a retrain ended: the release it published, and the gate's report if one was made."""

    exit_code: ExitCode
    release: str | None
    report: GateReport | None
    rows: int
    positives: int
    backfilled: int
    left_out: int

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why nothing was published, one sentence each."""
        return tuple(str(refusal) for refusal in self.report.refusals) if self.report else ()


def retrain(
    project: Project,
    home: Path,
    announce: Callable[[Announcement], None],
    clock: Clock,
    options: Options | None = None,
) -> RetrainResult:
    """Train on the archive and publish what passes the gate; the same data gives the same model.

    `announce` puts an announcement on the models topic; when it raises BusUnavailable the release
    stays published. Raises LockedError when another retrain of the project runs, ArtifactError when
    the champion is damaged.
    """
    options = options or Options()
    registry = Registry(home, project.name)
    plan = compile_plan(project)
    schema = plan.schema
    training = TrainingSet(home, plan, options.rules, options.compute)
    with registry.lock():
        write_definition(home, plan, clock.now_ms())
        options.progress.start("read the archive", 1)
        found = extract(training, options.from_ms, options.to_ms, options.quarantined)
        options.progress.advance()
        if not len(found.data):
            return _result(ExitCode.NOTHING_TO_TRAIN_ON, None, None, found)
        trainer = Trainer(project.trainer, schema, options.threads, options.progress, project.task)
        report = judge(project, found.data, trainer, _champion(registry, schema))
        if not report.passed:
            return _result(ExitCode.REFUSED, None, report, found)
        text = trainer.train(found.data.vectors, found.data.labels, "release", found.data.weights)
        manifest = _manifest(project, registry.next_name(), found, report, clock.now_ms())
        registry.publish(manifest, {MODEL_FILE: text})
        try:
            announce(_announcement(registry, manifest, project.learner.name))
        except BusUnavailable:
            return _result(ExitCode.NOT_ANNOUNCED, manifest.release, report, found)
        return _result(ExitCode.PUBLISHED, manifest.release, report, found)


def _champion(registry: Registry, schema: FeatureSchema) -> Champion | None:
    """The newest release, unless its vectors are others: then there is nothing to compare with."""
    newest = registry.newest()
    if newest is None:
        return None
    manifest = registry.manifest(newest)
    if manifest.schema != schema.hash:
        return None
    return Champion(newest, registry.read(newest, MODEL_FILE), manifest.trained_to_ms)


def _manifest(
    project: Project, release: str, found: Extract, report: GateReport, now_ms: int
) -> Manifest:
    schema, data = schema_of(project), found.data
    return Manifest(
        release=release,
        project=project.name,
        schema=schema.hash,
        features=list(schema.names),
        created_ms=now_ms,
        trained_from_ms=int(data.times.min()),
        trained_to_ms=int(data.label_times.max()) + 1,
        rows=len(data),
        offsets=found.offsets,
        metrics={
            "positives": int(data.labels.sum()),
            "backfilled": found.backfilled,
            **report.metrics(),
        },
        files={},
        parameters={"trainer": "LightGBM", **asdict(project.trainer)},
    )


def _announcement(registry: Registry, manifest: Manifest, learner: str) -> Announcement:
    data = (registry.folder / manifest.release / MANIFEST).read_bytes()
    return Announcement(
        kind="release",
        learner=learner,
        release=manifest.release,
        snapshot=0,
        sha256=hashlib.sha256(data).hexdigest(),
        time_ms=manifest.created_ms,
    )


def _result(
    code: ExitCode, release: str | None, report: GateReport | None, found: Extract
) -> RetrainResult:
    positives = int(found.data.labels.sum())
    rows = len(found.data)
    return RetrainResult(code, release, report, rows, positives, found.backfilled, found.left_out)
