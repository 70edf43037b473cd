"""One retrain: archive → dataset → search → candidate → gate → release → announcement.

Safe to start at any time and to kill at any point: a run that was cut off is gone on with by the
next retrain that asks for the same, and what it had finished is not done again.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

import tidemill
from batch.datasets.manifest import DatasetManifest
from batch.exit_codes import ExitCode
from batch.gate.champion import Champion
from batch.gate.gate import refused_before_training
from batch.gate.report import GateReport
from batch.run import Runs
from batch.stages import Announce, Options, Stages
from features.archive.definitions import write_definition
from features.plan import compile_plan
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.errors import BusUnavailable, GateRefused, NoExamples, TidemillError
from tidemill.registry import Registry


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """How a retrain ended: the release it published, the dataset and the gate's report if made.

    `reasons` say why nothing was published, one sentence each.
    """

    exit_code: ExitCode
    run: str
    reasons: tuple[str, ...] = ()
    release: str | None = None
    report: GateReport | None = None
    dataset: DatasetManifest | None = None


def retrain(
    project: Project,
    home: Path,
    announce: Announce,
    clock: Clock,
    options: Options | None = None,
) -> RetrainResult:
    """Train on the archive and publish what passes the gate; the same data gives the same model.

    `announce` puts an announcement on the models topic; when it raises BusUnavailable the release
    stays published. Raises LockedError when another retrain of the project runs, ArtifactError when
    the champion is damaged, TrainingFailed when no model comes of it, InputError for examples that
    the declaration cannot use, OSError when the disk is full.
    """
    options = options or Options()
    registry = Registry(home, project.name, options.keys)
    with registry.lock():
        run = Runs(home, project.name).begin(_key(project, options), clock, options.fresh)
        stages = Stages(compile_plan(project), registry, run, options, clock)
        try:
            result = _go_through(stages, announce)
        except NoExamples as error:
            result = RetrainResult(ExitCode.NOTHING_TO_TRAIN_ON, run.id, (str(error),))
        except (TidemillError, OSError) as error:
            with suppress(OSError):  # of a full disk, say
                run.note(error=str(error))
            raise
        run.end(result.exit_code.name.lower(), result.reasons)
        return result


def _go_through(stages: Stages, announce: Announce) -> RetrainResult:
    plan, run = stages.plan, stages.run.id
    write_definition(stages.registry.home, plan, stages.clock.now_ms())
    champion = stages.champion()
    dataset, data = stages.dataset()
    report = refused_before_training(plan.project, data, champion)
    if report is not None:
        return _refused(run, report, dataset)
    settings = stages.settings(data)
    while True:
        try:
            candidate = stages.candidate(settings, data, champion)
        except GateRefused as error:
            return RetrainResult(ExitCode.REFUSED, run, error.reasons, None, None, dataset)
        report = stages.judged(candidate, data, champion)
        if not report.passed and not stages.options.forced_by:
            return _refused(run, report, dataset)
        model = stages.release(settings, data, champion)
        judged_against, champion = champion, stages.champion()
        if _name(champion) == _name(judged_against):  # else an operator has ordered another
            break
    release = stages.published(model, settings, (dataset, data), report)
    code = ExitCode.PUBLISHED
    try:
        stages.announced(release, announce)
    except BusUnavailable:
        code = ExitCode.NOT_ANNOUNCED
    return RetrainResult(code, run, (), release, report, dataset)


def _name(champion: Champion | None) -> str:
    return champion.release if champion else ""


def _refused(run: str, report: GateReport, dataset: DatasetManifest) -> RetrainResult:
    reasons = tuple(str(refusal) for refusal in report.refusals)
    return RetrainResult(ExitCode.REFUSED, run, reasons, None, report, dataset)


def _key(project: Project, options: Options) -> str:
    """What this retrain is asked to do, and by which code: another does not go on with its run."""
    asked = {
        "version": tidemill.__version__,
        "schema": compile_plan(project).schema.hash,
        "declared": [
            project.dataset, project.trainer, project.search, project.compression,
            project.learner, project.gate, project.bad_cases, project.slices, project.label,
        ],
        "rules": options.rules,
        "skipped": [options.quarantined.skipped, options.quarantined.since],
        "forced": options.forced_by,
    }  # fmt: skip
    data = msgspec.json.encode(asked, enc_hook=_named, order="deterministic")
    return hashlib.sha256(data).hexdigest()[:16]


def _named(part: object) -> str:
    """A function or an expression of a declaration."""
    return str(getattr(part, "__qualname__", part))


__all__ = ["Options", "RetrainResult", "retrain"]
