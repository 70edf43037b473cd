"""The `tidemill dataset` commands: make, list, look at, compare and export training sets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.command import AsJson, ProjectFile, check_out, errors_as_exit_codes, prepare
from cli.compute import Dask
from tidemill.dataset_rule import DatasetRule, Match, Share
from tidemill.declaration import Project
from tidemill.errors import ArtifactError, SettingsError
from tidemill.settings import Settings

if TYPE_CHECKING:
    from batch.datasets.manifest import DatasetManifest
    from batch.datasets.store import DatasetStore

app = typer.Typer(
    help="Make training sets from the archive, look at them and compare them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The dataset's id.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Requests from this time on.")
]
To = Annotated[str | None, typer.Option(metavar="TIME", help="Requests before this time.")]


@app.callback()
def dataset() -> None:
    """Make training sets from the archive, look at them and compare them."""


@app.command()
def build(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    from_: From = None,
    to: To = None,
    last: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Only the newest so much of requests.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPRESSION", help="Only rows for which this is true.")
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="As many negatives as positives per value of this."),
    ] = None,
    negatives: Annotated[
        float | None, typer.Option(help="With --match: so many negatives for each positive, or 1.")
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=SHARE", help="Take so many of a label's rows, reweighted."),
    ] = None,
    bad_cases: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="Weigh bad cases so much more.")
    ] = None,
    gap: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Between training rows and holdout.")
    ] = None,
    matured: Annotated[
        bool | None, typer.Option("--matured", help="Only requests whose label is final.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option(metavar="ID", help="Take the rows of this dataset.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draw others.")] = None,
    dask: Dask = None,
    as_json: AsJson = False,
) -> None:
    """Make a dataset; options take the place of what the project's own rule says.

    The same archive and rule give the same id and the same bytes. Exit codes: 0 made, 1 failed, 2 a
    mistake in project, settings or options, 5 nothing that is labelled fits the rule.
    """
    with errors_as_exit_codes():
        if negatives is not None and not match:
            raise SettingsError(f"--negatives: found {negatives:g}; allowed: with --match FIELD")
        many = 1.0 if negatives is None else negatives
        given = {
            **_span(from_, to),
            "last": last,
            "where": where,
            "match": Match(tuple(match), many) if match else None,
            "shares": tuple(map(_share, share)) if share else None,
            "bad_cases": bad_cases, "gap": gap, "matured": matured, "parent": parent, "seed": seed,
        }  # fmt: skip
        project, settings = prepare(file)
        made = _build(project, settings, _rule(project.dataset, given), dask)
        _show(made, as_json)


@app.command("list")
def list_(file: ProjectFile, as_json: AsJson = False) -> None:
    """List the project's datasets, newest last."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from batch.datasets.store import DatasetStore
        from cli.dataset_words import listed

        store = DatasetStore(settings.home, project.name)
        found = [_listed(store, name) for name in store.names()]
        typer.echo(json.dumps(found) if as_json else listed(found))


@app.command()
def show(
    file: ProjectFile,
    name: Id,
    check: Annotated[bool, typer.Option("--check", help="Check every file's digest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a dataset: its rule, rows, classes, split and what its features are like."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from batch.datasets.store import DatasetStore

        store = DatasetStore(settings.home, project.name)
        _show(store.check(name) if check else store.manifest(name), as_json, features=True)


@app.command()
def diff(
    file: ProjectFile,
    first: Annotated[str, typer.Argument(metavar="A", help="A dataset's id.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one's.")],
    as_json: AsJson = False,
) -> None:
    """Compare two datasets: rule, rows, classes, and which features moved."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from batch.datasets.difference import compare_datasets
        from batch.datasets.store import DatasetStore
        from cli.dataset_words import compared

        store = DatasetStore(settings.home, project.name)
        found = compare_datasets(store.manifest(first), store.manifest(second))
        typer.echo(json.dumps(found.as_json()) if as_json else compared(found))


@app.command()
def export(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    name: Annotated[
        str | None, typer.Option("--dataset", metavar="ID", help="Of this one, not a new one.")
    ] = None,
    from_: From = None,
    to: To = None,
    dask: Dask = None,
    as_json: AsJson = False,
) -> None:
    """Write a dataset as one Parquet file; without --dataset one is made by the project's rule.

    Logged vectors are reused; features that are new or changed are computed for each prediction
    from what was known when it was made.
    """
    with errors_as_exit_codes():
        span = _span(from_, to)
        check_out("--out", out)
        project, settings = prepare(file)
        from batch.datasets.export import write_dataset
        from batch.datasets.store import DatasetStore
        from cli.dataset_words import exported

        store = DatasetStore(settings.home, project.name)
        if name is None:
            name = _build(project, settings, _rule(project.dataset, span), dask).id
        manifest = store.manifest(name)
        write_dataset(manifest, store.parts(manifest), out)
        found = exported(manifest, out)
        words = "{file}: {rows} examples ({positives} positive), {features} features; backfilled "
        words += "{backfilled}, left out {left_out}"
        typer.echo(json.dumps(found) if as_json else words.format_map(found))


def _build(
    project: Project, settings: Settings, rule: DatasetRule, dask: str | None
) -> DatasetManifest:
    import asyncio

    from batch.datasets.build import build as make
    from batch.datasets.store import DatasetStore
    from batch.training_set import TrainingSet
    from cli.compute import compute_on, rules
    from cli.progress_bar import progress_bar
    from cli.quarantined import quarantined
    from features.plan import compile_plan

    aside = asyncio.run(quarantined(project, settings))
    store = DatasetStore(settings.home, project.name)
    with progress_bar() as progress, compute_on(dask) as compute:
        plan = compile_plan(project)
        training = TrainingSet(settings.home, plan, rules(settings), compute)
        return make(training, rule, store, aside, progress)


def _listed(store: DatasetStore, name: str) -> dict[str, Any]:
    """One line's worth of a dataset, or why it cannot be read."""
    from cli.dataset_words import summary

    try:
        return summary(store.manifest(name))
    except ArtifactError as error:
        return {"id": name, "damaged": str(error)}


def _show(manifest: DatasetManifest, as_json: bool, features: bool = False) -> None:
    from cli.dataset_words import as_data, in_words

    typer.echo(json.dumps(as_data(manifest)) if as_json else in_words(manifest, features))


def _rule(declared: DatasetRule, given: dict[str, Any]) -> DatasetRule:
    """The project's rule with what an option says in its place."""
    from dataclasses import replace

    given = {name: value for name, value in given.items() if value is not None}
    if "from_ms" in given or "parent" in given:
        given.setdefault("last", None)
    elif "last" in given:
        given["from_ms"] = None
    return replace(declared, **given)


def _span(from_: str | None, to: str | None) -> dict[str, int | None]:
    return {"from_ms": moment_ms("--from", from_), "to_ms": moment_ms("--to", to)}


def _share(text: str) -> Share:
    label, _, share = text.partition("=")
    try:
        return Share(float(label), float(share))
    except ValueError:
        allowed = "a label and a number, such as 0=0.1"
        raise SettingsError(f"--share: found {text!r}; allowed: {allowed}") from None


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
