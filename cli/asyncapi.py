"""`tidemill asyncapi`: the AsyncAPI document of a project's topics."""

from __future__ import annotations

import json

import typer

from cli.command import ProjectFile, errors_as_exit_codes, prepare


def asyncapi(file: ProjectFile) -> None:
    """Print the AsyncAPI 3.0 document of the project's topics as JSON."""
    with errors_as_exit_codes():
        from tidemill.asyncapi import asyncapi as document

        project, settings = prepare(file)
        typer.echo(json.dumps(document(project, settings.partitions), indent=2))
