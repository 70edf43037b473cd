"""`tidemill gate`: judge any model file as a retrain would, and publish nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from cli.compute import Dask
from tidemill.declaration import Project
from tidemill.errors import SettingsError
from tidemill.settings import Settings

if TYPE_CHECKING:
    from batch.gate.champion import Champion
    from batch.gate.report import GateReport
    from features.plan import FeaturePlan
    from learners.release import ModelFile

ModelPath = Annotated[
    Path, typer.Option("--model", metavar="FILE", help="A model made by hand (*.txt: LightGBM).")
]
LabelledPath = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="JSON of prediction ids and the labels people gave them."),
]


def gate(
    file: ProjectFile,
    model: ModelPath,
    labelled: LabelledPath = None,
    dask: Dask = None,
    as_json: AsJson = False,
) -> None:
    """Judge a model file as a retrain's candidate would be, against the same champion and rows.

    It must not have been trained on the holdout, whose dates are in the report. Nothing is
    published. Exit codes: 0 it would be published, 1 failed, 2 a mistake in project, settings or
    files, 3 refused, 5 nothing is labelled yet.
    """
    with errors_as_exit_codes():
        project, settings = prepare(file)
        report = _judge(project, settings, _model(model), labelled, dask)
        if as_json:
            typer.echo(json.dumps(report.as_json()))
        else:
            from cli.gate_words import show

            show(report)
        raise typer.Exit(0 if report.passed else 3)


def _judge(
    project: Project,
    settings: Settings,
    model: ModelFile,
    labelled: Path | None,
    dask: str | None,
) -> GateReport:
    from batch.datasets.build import build
    from batch.datasets.store import DatasetStore
    from batch.gate.evidence import Evidence, read_labelled, read_slices
    from batch.gate.gate import judge
    from batch.gate.split import older_and_newer
    from batch.training_set import TrainingSet
    from cli.compute import compute_on, rules
    from cli.progress_bar import progress_bar
    from cli.quarantined import quarantined
    from features.plan import compile_plan

    labels, plan = _labels(labelled), compile_plan(project)
    aside = asyncio.run(quarantined(project, settings))
    store = DatasetStore(settings.home, project.name)
    with progress_bar() as progress, compute_on(dask) as compute:
        training = TrainingSet(settings.home, plan, rules(settings), compute)
        data = store.read(build(training, project.dataset, store, aside, progress).id)
        start = older_and_newer(project, data).start_ms
        evidence = Evidence(
            slices=read_slices(settings.home, project, data, start),
            labelled=read_labelled(training, labels) if labels else None,
        )
        progress.start("gate", 1)
        return judge(project, data, model, _champion(plan, settings), evidence)


def _champion(plan: FeaturePlan, settings: Settings) -> Champion | None:
    from batch.gate.champion import Champion
    from cli.wiring import registry_of

    registry = registry_of(settings, plan.project.name)
    name = registry.champion(plan.schema.hash)
    return None if name is None else Champion.read(registry, name)


def _model(path: Path) -> ModelFile:
    """The file's bytes; what it holds is said by how its name ends, as in a release."""
    from learners.release import LINEAR_FILE, NET_FILE, OWN_FILE, TREES_FILE, ModelFile

    names = {Path(n).suffix: n for n in (TREES_FILE, LINEAR_FILE, NET_FILE, OWN_FILE)}
    if path.suffix not in names:
        raise SettingsError(f"--model: found {path}; allowed: a file ending in {', '.join(names)}")
    try:
        return ModelFile(names[path.suffix], path.read_bytes())
    except OSError as error:
        raise SettingsError(f"--model: found {path} ({error.strerror}); allowed: a file") from error


def _labels(path: Path | None) -> dict[str, float]:
    import msgspec

    if path is None:
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        allowed = 'JSON such as {"prediction id": 1}'
        raise SettingsError(f"--labelled: found {path} ({error}); allowed: {allowed}") from error
