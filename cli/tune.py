"""`tidemill tune`: search a trainer's settings on the archive, and publish nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from tidemill.declaration import Project
from tidemill.errors import SettingsError
from tidemill.search import SAMPLERS, Search
from tidemill.settings import Settings

if TYPE_CHECKING:
    from batch.search.search import Found, SearchOptions

MOST_SECONDS = 30 * 24 * 60 * 60
Trials = Annotated[int | None, typer.Option(help="End after so many trials.", min=1)]
Seconds = Annotated[
    int | None, typer.Option(help="End after so many seconds.", min=1, max=MOST_SECONDS)
]
Sampler = Annotated[str | None, typer.Option(help=f"One of {', '.join(SAMPLERS)}.")]
Storage = Annotated[
    str | None,
    typer.Option(metavar="URL", help="A database's URL or a file that several tunes share."),
]
Plots = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where the study, its report and plots go.")
]
Dask = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Train on this Dask scheduler.")]


def tune(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    trials: Trials = None,
    seconds: Seconds = None,
    sampler: Sampler = None,
    storage: Storage = None,
    jobs: Annotated[int, typer.Option(help="Trials at once.", min=1, max=1000)] = 1,
    threads: Annotated[int, typer.Option(help="Cores to use; 0 means all.", min=0)] = 0,
    plots: Plots = None,
    dask: Dask = None,
    as_json: AsJson = False,
) -> None:
    """Search the settings of the project's trainers on all rows before the gate's holdout.

    Run again it goes on where it was stopped, also by kill -9; more trials or seconds prolong it.
    Exit codes: 0 found, 1 failed, 2 a mistake in project or settings, 5 nothing is labelled yet.
    """
    with errors_as_exit_codes():
        project, settings = prepare(file)
        project = replace(project, search=_declared(project, trials, seconds, sampler))
        folder = plots or settings.home / "searches" / project.name
        from batch.search.search import SearchOptions
        from tidemill.clock import SystemClock

        options = SearchOptions(
            threads=threads, jobs=jobs, clock=SystemClock(), storage=storage, dask=dask,
            earlier=settings.home,
        )  # fmt: skip
        try:
            found = _search(project, settings, folder, options)
        except OSError as error:
            raise SettingsError(f"{folder}: {error.strerror}; allowed: a disk with room") from error
        summary = summary_of(found, folder)
        typer.echo(json.dumps(summary) if as_json else in_words(summary))


def _declared(
    project: Project, trials: int | None, seconds: int | None, sampler: str | None
) -> Search:
    """What the project declares, with what the command line says instead."""
    search = project.search or Search(families=(project.trainer,))
    said: dict[str, Any] = {"trials": trials, "sampler": sampler}
    said["time"] = None if seconds is None else f"{seconds}s"
    return replace(search, **{name: value for name, value in said.items() if value is not None})


def _search(project: Project, settings: Settings, folder: Path, options: SearchOptions) -> Found:
    from batch.datasets.build import build
    from batch.datasets.store import DatasetStore
    from batch.gate.split import older_and_newer
    from batch.search.search import search
    from batch.training_set import TrainingSet
    from cli.compute import compute_on, rules
    from cli.progress_bar import progress_bar
    from cli.quarantined import quarantined
    from features.plan import compile_plan

    aside = asyncio.run(quarantined(project, settings))
    store = DatasetStore(settings.home, project.name)
    with progress_bar() as progress, compute_on(options.dask) as compute:
        training = TrainingSet(settings.home, compile_plan(project), rules(settings), compute)
        data = store.read(build(training, project.dataset, store, aside, progress).id)
        rows = older_and_newer(project, data).older
        return search(project, rows, folder, replace(options, progress=progress))


def summary_of(found: Found, folder: Path) -> dict[str, Any]:
    """What was found, for people and scripts."""
    report = found.report
    names = (
        "study", "sampler", "ended", "seconds", "core_seconds", "trials", "complete", "pruned",
        "failed", "infeasible", "families", "borrowed", "importance",
    )  # fmt: skip
    best = report["best"]
    return {name: report[name] for name in names} | {
        "loss": found.score,
        "trainer": repr(found.settings),
        "family": best["family"],
        "settings": best["settings"],
        "origin": best["origin"],
        "model_bytes": best["model_bytes"],
        "folder": str(folder),
    }


def in_words(found: dict[str, Any]) -> str:
    """The best, how it was found, and what it began with."""
    lines = [
        f"best of {found['trials']} trials: loss {found['loss']:.6f} ({found['origin']})",
        f"  {found['trainer']}",
        f"  {found['complete']} seen through, {found['pruned']} given up, {found['failed']} failed,"
        f" {found['infeasible']} beyond the gate's limits; {found['seconds']:.0f} s, ended by "
        f"{found['ended']}",
    ]
    lines += [
        f"  began with {each['project']}'s best ({each['family']}, loss {each['loss']:.6f}, "
        f"distance {each['distance']:.2f})"
        for each in found["borrowed"]
    ]
    for family, shares in found["importance"].items():
        told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        lines.append(f"  what decided in {family}: {told}")
    return "\n".join([*lines, f"  report and plots: {found['folder']}"])
