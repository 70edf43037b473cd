"""The dataset command: the training set of a declaration as a Parquet file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from cli.compute import compute_on, rules
from tidemill.errors import SettingsError

Dask = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Backfill features on this Dask scheduler."),
]


def dataset(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Requests from this time on.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="TIME", help="Requests before this time.")
    ] = None,
    dask: Dask = None,
    as_json: AsJson = False,
) -> None:
    """Write the labelled examples with the vectors of this declaration as Parquet.

    Logged vectors are reused; features that are new or changed are computed for each prediction
    from what was known when it was made.
    """
    with errors_as_exit_codes():
        span = moment_ms("--from", from_), moment_ms("--to", to)
        if not out.resolve().parent.is_dir():
            raise SettingsError(f"--out: found {out}; allowed: a file in an existing folder")
        project, settings = prepare(file)
        from batch.dataset import extract
        from batch.export import write_dataset
        from batch.training_set import TrainingSet
        from features.plan import compile_plan

        plan = compile_plan(project)
        with compute_on(dask) as compute:
            found = extract(TrainingSet(settings.home, plan, rules(settings), compute), *span)
        write_dataset(found.data, plan.schema, out)
        numbers = {
            "file": str(out), "rows": len(found.data), "positives": int(found.data.labels.sum()),
            "features": len(plan.schema.names), "schema": plan.schema.hash,
            "backfilled": found.backfilled, "left_out": found.left_out,
        }  # fmt: skip
        typer.echo(json.dumps(numbers) if as_json else _in_words(numbers))


def _in_words(numbers: dict[str, Any]) -> str:
    return (
        "{file}: {rows} examples ({positives} positive), {features} features; backfilled "
        "{backfilled}, left out {left_out}".format_map(numbers)
    )


def moment_ms(option: str, text: str | None) -> int | None:
    """A date or time of an option (ISO 8601, UTC without an offset) as ms. Raises SettingsError."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        allowed = "a date or time such as 2013-05-01 or 2013-05-01T12:00+02:00"
        raise SettingsError(f"{option}: found {text!r}; allowed: {allowed}") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return round(found.timestamp() * 1000)
