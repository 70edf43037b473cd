"""`tidemill lineage`: from a prediction to the data behind its model, and from data to its use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare

if TYPE_CHECKING:
    from batch.publish.lineage import DatasetLink, Lineage, ReleaseLink, RunLink


def lineage(
    file: ProjectFile,
    name: Annotated[
        str,
        typer.Argument(metavar="ID", help="Of a prediction, snapshot, release, run or dataset."),
    ],
    as_json: AsJson = False,
) -> None:
    """Say what hangs together with an id: prediction, snapshot, release, run, dataset, offsets.

    Exit codes: 0 found, 1 failed, 2 an id that is nowhere, or a mistake in project or settings.
    """
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from batch.publish.lineage import Lines
        from cli.wiring import registry_of

        found = Lines(registry_of(settings, project.name)).of(name)
        if as_json:
            typer.echo(json.dumps(msgspec.to_builtins(found)))
        else:
            typer.echo("\n".join(_in_words(found)))


def _in_words(found: Lineage) -> Iterator[str]:
    answer = found.prediction
    if answer is not None:
        yield (
            f"prediction {answer.id} for {answer.key or 'no key'}: {answer.score:.6g} at "
            f"{_time(answer.time)} (partition {answer.partition}, offset {answer.offset})"
        )
        for label in found.labels:
            yield f"  {label.kind} {label.label:g} at {_time(label.label_time)}"
        if not found.labels:
            yield "  no label yet"
        yield f"snapshot {answer.snapshot} of {answer.release}"
        if not found.releases:
            yield "  the prior: there was no release"
    elif found.kind == "snapshot":
        yield f"snapshot {found.snapshot} of {found.releases[0].release}"
    for release in found.releases:
        yield from _release(release)
    for run in found.runs:
        yield from _run(run)
    for dataset in found.datasets:
        yield from _dataset(dataset)


def _release(link: ReleaseLink) -> Iterator[str]:
    if link.problem:
        yield f"release {link.release}: {link.problem}"
    else:
        yield (
            f"release {link.release} ({link.role}): published {_time(link.created_ms)}, "
            f"{link.rows} rows" + (f", instead of {link.parent}" if link.parent else "")
        )
        yield f"  signed by {link.signed_by or 'nobody (from before signatures)'}"
        if link.forced:
            yield f"  forced by {link.forced}"
        yield f"  offsets: {_offsets(link.offsets)}"
        if not link.run:
            yield "  it names no run and no dataset"
    if link.answered is not None:
        first, last = _time(link.answered.first_ms), _time(link.answered.last_ms)
        yield f"  answered {link.answered.count} archived requests, {first} to {last}"


def _run(link: RunLink) -> Iterator[str]:
    if link.problem:
        yield f"run {link.run}: {link.problem}"
        return
    yield f"run {link.run}: {link.outcome}, {_time(link.started_ms)} to {_time(link.ended_ms)}"
    for reason in link.reasons:
        yield f"  refused: {reason}"


def _dataset(link: DatasetLink) -> Iterator[str]:
    if link.problem:
        yield f"dataset {link.dataset}: {link.problem}"
        return
    derived = f", derived from {link.parent}" if link.parent else ""
    span = f"{_time(link.from_ms)} to {_time(link.to_ms)}"
    yield f"dataset {link.dataset}: {link.rows} rows, {span}{derived}"
    yield f"  offsets: {_offsets(link.offsets)}"


def _offsets(offsets: dict[str, int]) -> str:
    shown = ", ".join(f"{name} {offset}" for name, offset in offsets.items())
    return shown or "none (everything came from history)"


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" if ms else "?"
