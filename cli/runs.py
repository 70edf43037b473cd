"""`tidemill runs`: which retrains ran, how far each came, and how it ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare

app = typer.Typer(
    help="Which retrains ran, how far each came, how it ended.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_runs(
    file: ProjectFile,
    last: Annotated[int, typer.Option(help="Only so many, the newest.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs, oldest first."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from batch.run import Runs

        runs = Runs(settings.home, project.name)
        records = {record.id: record for record in runs.records()}
        names = runs.names()[-last:]
        if as_json:
            found = [records.get(name, {"id": name, "outcome": "damaged"}) for name in names]
            typer.echo(msgspec.json.encode(found).decode())
            return
        table = Table("run", "began", "took", "outcome", "release", "dataset")
        for name in names:
            each = records.get(name)
            if each is None:
                table.add_row(name, "", "", "damaged: its run.json cannot be read")
                continue
            took = f"{(each.ended_ms - each.started_ms) / 1000:.0f} s" if each.ended_ms else ""
            # Without an outcome it runs, or was cut off: only its process could say which.
            ended = "failed in" if each.error else "in, or cut off in,"
            outcome = each.outcome or f"{ended} {each.stage}"
            began = datetime.fromtimestamp(each.started_ms / 1000, UTC)
            table.add_row(
                each.id, f"{began:%Y-%m-%d %H:%M:%S}", took, outcome, each.release, each.dataset
            )
        Console().print(table)


@app.command()
def show(
    file: ProjectFile,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its name, such as run0001.")],
    as_json: AsJson = False,
) -> None:
    """Show one run: its stages, how long each took, what came of it and why."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from batch.run import Runs

        runs = Runs(settings.home, project.name)
        record = runs.record(runs.check_name(run))
        if as_json:
            typer.echo(json.dumps(msgspec.to_builtins(record)))
            return
        ended = record.outcome or f"in {record.stage}, or cut off there"
        typer.echo(f"{record.id}: {ended}; begun {record.attempts} times")
        if record.error:
            typer.echo(f"  failed: {record.error}")
        for name in ("dataset", "release"):
            if getattr(record, name):
                typer.echo(f"  {name} {getattr(record, name)}")
        for reason in record.reasons:
            typer.echo(f"  refused: {reason}")
        for stage in record.stages:
            typer.echo(f"  {stage.name}: {stage.seconds:.1f} s, {', '.join(stage.files) or '-'}")
        typer.echo(f"  files: {runs.folder / record.id}")
