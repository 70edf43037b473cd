"""The audit commands: whether the audit log is whole, and what stands in it."""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from tidemill.audit import AuditEntry, AuditLog

app = typer.Typer(help="The audit log: who changed or tried what.", no_args_is_help=True)


@app.command()
def verify(
    file: ProjectFile,
    head: Annotated[
        str | None, typer.Option(help="A hash noted before, which must still be in the log.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that no line was changed, removed or put in. Exit codes: 0 whole, 1 not, 2 a mistake.

    Prints the hash of the last line: noted elsewhere, it also finds lines cut off at the end.
    """
    with errors_as_exit_codes():
        project, settings = prepare(file)
        found = AuditLog(settings.home, project.name).verify(head)
        if as_json:
            typer.echo(json.dumps({"entries": found.entries, "head": found.head}))
        else:
            typer.echo(f"{found.entries} entries hang together; the last has {found.head}")


@app.command()
def show(
    file: ProjectFile,
    last: Annotated[int, typer.Option(help="How many, the newest last.", min=1)] = 20,
    action: Annotated[str | None, typer.Option(help="Only these, such as role.")] = None,
    as_json: AsJson = False,
) -> None:
    """The newest entries, each checked."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        entries = AuditLog(settings.home, project.name).entries()
        wanted = (entry for entry in entries if action is None or entry.action == action)
        shown = deque(wanted, maxlen=last)
        if as_json:
            typer.echo(msgspec.json.encode(list(shown)).decode())
        else:
            typer.echo("\n".join(map(_in_words, shown)) or "nothing yet")


def _in_words(entry: AuditEntry) -> str:
    time = datetime.fromtimestamp(entry.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    detail = ", ".join(f"{name}: {value}" for name, value in entry.detail.items())
    head = f"{entry.number:>6}  {time}  {entry.action} {entry.subject} by {entry.actor}"
    # What came from outside must not steer the terminal.
    return "".join(c if c.isprintable() else "?" for c in f"{head}  {detail}".rstrip())
