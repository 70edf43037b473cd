"""The `tidemill features` commands: look into the feature store and load it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare

app = typer.Typer(
    help="Look into the feature store and load it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def features() -> None:
    """Look into the feature store and load it."""


@app.command()
def load(
    project_file: ProjectFile,
    file: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="The rows.")],
    row: Annotated[
        str | None, typer.Option(help="Which static row it is, if the project has several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replace a static row's table by the rows of a Parquet file, all at once."""
    with errors_as_exit_codes():
        project, settings = prepare(project_file)
        import uvloop

        from cli.features_load import in_words, summary
        from cli.features_load import load as run

        found = summary(uvloop.run(run(project, settings, file, row)))
        typer.echo(json.dumps(found) if as_json else in_words(found))


@app.command()
def size(
    project_file: ProjectFile,
    keys: Annotated[int, typer.Option(help="Look at so many keys at most.", min=1)] = 1_000_000,
    entities: Annotated[int, typer.Option(help="Project to so many.", min=1)] = 100_000_000,
    floats: Annotated[int, typer.Option(help="Of so many floats each.", min=1)] = 5_000,
    as_json: AsJson = False,
) -> None:
    """Say what the project takes in the store, and what many entities would take. Read only."""
    with errors_as_exit_codes():
        project, settings = prepare(project_file)
        import uvloop

        from cli.features_size import Outlook, in_words, summary
        from cli.features_size import size as run

        found = summary(uvloop.run(run(project, settings, keys)), Outlook(entities, floats))
        typer.echo(json.dumps(found) if as_json else in_words(found))


@app.command()
def show(
    project_file: ProjectFile,
    entity: Annotated[str, typer.Argument(metavar="ENTITY", help="The entity's name.")],
    ids: Annotated[
        list[str],
        typer.Argument(metavar="ID", help="Its key; several fields joined by | or one by one."),
    ],
    at: Annotated[
        str | None, typer.Option(help="The moment: ISO 8601 with an offset, or ms. Now if not set.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show one entity's features at a time, their age, and the tiles they come from."""
    with errors_as_exit_codes():
        project, settings = prepare(project_file)
        import uvloop

        from cli.features_show import as_text, in_words
        from cli.features_show import show as run

        view = uvloop.run(run(project, settings, entity, ids, at))
        typer.echo(as_text(view) if as_json else in_words(view))


@app.command()
def drop(
    project_file: ProjectFile,
    state: Annotated[
        str, typer.Argument(metavar="STATE", help="The state, as `tidemill plan` names it.")
    ],
    as_json: AsJson = False,
) -> None:
    """Remove the feature state of a declaration that serves no more from the store."""
    with errors_as_exit_codes():
        project, settings = prepare(project_file)
        import uvloop

        from cli.features_drop import drop as run

        dropped = uvloop.run(run(project, settings, state))
        words = f"state {dropped.state}: {dropped.keys:,} keys removed"
        typer.echo(json.dumps(asdict(dropped)) if as_json else words)
