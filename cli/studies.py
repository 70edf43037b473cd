"""`tidemill studies`: what finished searches of all projects found, which later ones start from."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.command import AsJson, errors_as_exit_codes
from tidemill.errors import SettingsError
from tidemill.settings import read_settings

if TYPE_CHECKING:
    from batch.search.memory import StudyRecord

app = typer.Typer(
    help="What finished searches found; later ones start from it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def studies() -> None:
    """What finished searches found; later ones start from it."""


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """All studies under TIDEMILL_HOME, oldest first."""
    with errors_as_exit_codes():
        records = _records()
        if as_json:
            import msgspec

            typer.echo(json.dumps(msgspec.to_builtins(records)))
            return
        for record in records:
            best = record.best[0]
            when = datetime.fromtimestamp(record.ended_ms / 1000, UTC)
            typer.echo(
                f"{record.id}  {when:%Y-%m-%d %H:%M}  {record.rows} rows  {record.trials} trials  "
                f"loss {record.loss:.6f}  {best.family}"
            )


@app.command()
def show(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="The study's id.")],
    as_json: AsJson = False,
) -> None:
    """One study: the data it was of, and its best settings."""
    with errors_as_exit_codes():
        records = _records()
        record = next((each for each in records if each.id == study), None)
        if record is None:
            known = ", ".join(each.id for each in records) or "none yet"
            raise SettingsError(f"STUDY: found {study}; allowed: {known}")
        import msgspec

        found = msgspec.to_builtins(record)
        typer.echo(json.dumps(found) if as_json else json.dumps(found, indent=1))


def _records() -> list[StudyRecord]:
    from batch.search.memory import Memory

    return Memory(read_settings().home).records()
