"""`tidemill retrain`: one retrain, made for cron."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from cli.compute import Dask
from cli.logs import log_to_stderr
from tidemill.declaration import Project
from tidemill.errors import TidemillError
from tidemill.settings import Settings


def retrain(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    threads: Annotated[int, typer.Option(help="Cores to use; 0 means all.", min=0)] = 0,
    dask: Dask = None,
    force: Annotated[
        str, typer.Option(metavar="WHO", help="Publish what the gate refuses; says who wants it.")
    ] = "",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do not go on with a run that was interrupted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train on the archive, compare with the champion, publish or say why not. Made for cron.

    A run that was interrupted within the last twelve hours is gone on with where it was.

    Exit codes: 0 published, 1 failed, 2 a mistake in project or settings, 3 refused by the gate,
    4 another retrain is running, 5 nothing to train on, 6 published but not announced.
    """
    with errors_as_exit_codes():
        project, settings = prepare(file)
        log_to_stderr()
        from batch.retrain import Options

        options = Options(threads=threads, forced_by=force, fresh=fresh)
        with _told(project, settings) as tell:
            result = _retrain(project, settings, options, dask)
            found = _summary(result) | _recorded(project, settings, result)
            tell(found)
        typer.echo(json.dumps(found) if as_json else _in_words(found))
        raise typer.Exit(found["exit_code"])


@contextmanager
def _told(project: Project, settings: Settings) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Whoever is to be notified hears of how it ends, also by an error."""
    from cli.notify import notify

    def tell(found: dict[str, Any]) -> None:
        notify(settings.notify, {"event": "retrain", "project": project.name, **found})

    try:
        yield tell
    except (TidemillError, OSError) as error:
        tell({"outcome": "failed", "reasons": [str(error)]})
        raise


def _recorded(project: Project, settings: Settings, result: Any) -> dict[str, Any]:
    """Hand the run to MLflow where that is declared; whether it has it, else why not."""
    if settings.mlflow is None:
        return {}
    from batch.publish.mlflow_runs import MlflowRuns
    from cli.wiring import registry_of

    sent = MlflowRuns(settings.mlflow, registry_of(settings, project.name)).send()
    said = {"mlflow": result.run in sent.runs}
    return said | ({"mlflow_error": sent.error} if sent.error else {})


def _retrain(project: Project, settings: Settings, options: Any, dask: str | None) -> Any:
    from dataclasses import replace
    from functools import partial

    from batch.retrain import retrain as run
    from cli.announce import announce
    from cli.broker import broker_of
    from cli.compute import compute_on, rules
    from cli.progress_bar import progress_bar
    from cli.quarantined import quarantined as put_aside
    from tidemill.clock import SystemClock
    from tidemill.signature import Keys

    broker_of(settings)  # a mistake is said before the training, not after it
    quarantined = asyncio.run(put_aside(project, settings))
    with progress_bar() as progress, compute_on(dask) as compute:
        options = replace(
            options, progress=progress, rules=rules(settings), compute=compute,
            quarantined=quarantined, dask=dask,
            keys=Keys(settings.home, settings.signing_key, settings.trusted_keys),
        )  # fmt: skip

        tell = partial(announce, project, settings)
        return run(project, settings.home, tell, SystemClock(), options)


def _summary(result: Any) -> dict[str, Any]:
    """How it ended, for people and scripts."""
    dataset = result.dataset
    return {
        "outcome": result.exit_code.name.lower(),
        "exit_code": int(result.exit_code),
        "run": result.run,
        "dataset": dataset.id if dataset else None,
        "release": result.release,
        "rows": dataset.rows if dataset else 0,
        "classes": dataset.classes if dataset else {},
        "backfilled": dataset.backfilled if dataset else 0,
        "left_out": sum(dataset.left_out.values()) if dataset else 0,
        "warnings": list(dataset.warnings) if dataset else [],
        "metrics": dict(result.report.metrics()) if result.report else {},
        "reasons": list(result.reasons),
    }


def _in_words(found: dict[str, Any]) -> str:
    release = f"release {found['release']}, " if found["release"] else ""
    lines = [f"{found['outcome']}: {release}{found['rows']} examples ({found['run']})"]
    lines += [f"  {name}: {value:.5g}" for name, value in found["metrics"].items()]
    lines += [f"  warning: {warning}" for warning in found["warnings"]]
    if "mlflow_error" in found:
        lines.append(f"  not in MLflow yet, the next retrain tries again: {found['mlflow_error']}")
    why = "nothing to do" if found["outcome"] == "nothing_to_train_on" else "refused"
    return "\n".join([*lines, *(f"  {why}: {reason}" for reason in found["reasons"])])
