"""`tidemill models`: the releases of a project, what separates them, and which one answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console

from cli import model_words
from cli.announce import announce
from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from cli.export import export
from cli.login import By, login_name
from tidemill.clock import SystemClock
from tidemill.declaration import Project
from tidemill.errors import BusUnavailable
from tidemill.registry import Registry
from tidemill.roles import RoleChange
from tidemill.schema import schema_of
from tidemill.settings import Settings

if TYPE_CHECKING:
    from batch.publish.orders import Order

NOT_ANNOUNCED = 6
app = typer.Typer(
    help="The releases of a project: compare them, say which one answers.", no_args_is_help=True
)
app.command()(export)
Release = Annotated[str, typer.Argument(metavar="RELEASE", help="Its name, such as r0001.")]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever reads it later.")]
Force = Annotated[bool, typer.Option("--force", help="Also one that was retired.")]


@app.command("list")
def list_(file: ProjectFile, as_json: AsJson = False) -> None:
    """List the releases, oldest first, with their roles."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from batch.publish.listing import releases
        from cli.wiring import registry_of

        found = releases(registry_of(settings, project.name))
        if as_json:
            typer.echo(json.dumps(found))
        else:
            Console().print(model_words.listed(found))


@app.command()
def show(file: ProjectFile, release: Release, as_json: AsJson = False) -> None:
    """Show one release: its manifest, who signed it, and every change of its role."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from batch.publish.listing import changes
        from cli.wiring import registry_of

        registry = registry_of(settings, project.name)
        manifest = registry.manifest(registry.check_name(release))
        found: dict[str, Any] = {
            **msgspec.to_builtins(manifest), "role": registry.standings().role(release),
            "signed_by": registry.signed_by(release),
            "changes": msgspec.to_builtins(changes(registry, release)),
        }  # fmt: skip
        typer.echo(json.dumps(found) if as_json else model_words.shown(found))


@app.command()
def diff(
    file: ProjectFile,
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="One release.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Another.")],
    as_json: AsJson = False,
) -> None:
    """Say what separates two releases: parameters, metrics, features, data, use of features."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from batch.publish.differences import differences
        from cli.wiring import registry_of

        registry = registry_of(settings, project.name)
        names = [registry.check_name(name) for name in (before, after)]
        found = msgspec.to_builtins(differences(registry, *names))
        typer.echo(json.dumps(found) if as_json else model_words.compared(found))


@app.command()
def promote(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    release: Release,
    by: By = "",
    why: Why = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make a release the champion: the learner starts from it, catches up, and it answers.

    Exit codes: 0 done or nothing to do, 1 failed, 2 a mistake or an order that is not allowed, 6
    done but not announced (a worker that runs finds it within seconds).
    """

    def give(registry: Registry, _: str, order: Order) -> RoleChange | None:
        from batch.publish import orders

        return orders.promote(registry, release, order)

    _order(file, give, (by, why, force), as_json)


@app.command()
def rollback(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    release: Annotated[
        str | None, typer.Argument(metavar="RELEASE", help="The champion before, by default.")
    ] = None,
    by: By = "",
    why: Why = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Go back to an older release; the one that answered is out until it is promoted.

    Exit codes: as of `models promote`.
    """

    def give(registry: Registry, schema: str, order: Order) -> RoleChange | None:
        from batch.publish import orders

        return orders.roll_back(registry, schema, release, order)

    _order(file, give, (by, why, force), as_json)


@app.command()
def challenge(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    release: Release,
    share: Annotated[
        float, typer.Option(help="The share of requests it answers; 0: it is only scored.")
    ] = 0.0,
    by: By = "",
    why: Why = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Set a release beside the champion: scored on every request, compared, promoted if better.

    Exit codes: as of `models promote`.
    """

    def give(registry: Registry, _: str, order: Order) -> RoleChange | None:
        from batch.publish import orders

        return orders.challenge(registry, release, share, order)

    _order(file, give, (by, why, force), as_json)


@app.command()
def retire(
    file: ProjectFile, release: Release, by: By = "", why: Why = "", as_json: AsJson = False
) -> None:
    """Take a release out for good: it is never champion again unless it is forced to.

    Exit codes: as of `models promote`.
    """

    def give(registry: Registry, schema: str, order: Order) -> RoleChange | None:
        from batch.publish import orders

        return orders.retire(registry, schema, release, order)

    _order(file, give, (by, why, False), as_json)


def _order(
    file: Path,
    give: Callable[[Registry, str, Order], RoleChange | None],
    said: tuple[str, str, bool],
    as_json: bool,
) -> None:
    """Carry an order out, announce it, and have MLflow know of it.

    `give` enters it, for the schema that the project file declares; `said` is who wants it, why,
    and whether by force.
    """
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from batch.publish.orders import Order
        from cli.wiring import registry_of

        registry, schema = registry_of(settings, project.name), schema_of(project).hash
        by, why, force = said
        order = Order(by or login_name(), SystemClock().now_ms(), why, force)
        change = give(registry, schema, order)
        found: dict[str, Any] = {
            "change": msgspec.to_builtins(change),
            "champion": registry.champion(schema),
            **_told(project, settings, registry, change),
        }
        typer.echo(json.dumps(found) if as_json else model_words.carried_out(found))
        raise typer.Exit(NOT_ANNOUNCED if found["not_announced"] else 0)


def _told(
    project: Project, settings: Settings, registry: Registry, change: RoleChange | None
) -> dict[str, Any]:
    """Why worker and api could not be told of a change, and whether MLflow was."""
    if change is None:
        return {"not_announced": "", "mlflow": None}
    not_announced = _announced(project, settings, registry, change)
    if settings.mlflow is None:
        return {"not_announced": not_announced, "mlflow": None}
    from batch.publish.mlflow_runs import MlflowRuns

    sent = MlflowRuns(settings.mlflow, registry).send()
    recorded = {"recorded": sent.complete, "error": sent.error}
    return {"not_announced": not_announced, "mlflow": recorded}


def _announced(project: Project, settings: Settings, registry: Registry, change: RoleChange) -> str:
    """Tell worker and api; why that could not be done, else nothing."""
    if settings.kafka is None:
        return "TIDEMILL_KAFKA is not set"
    announcement = registry.announcement(change.release, project.learner.name, change.time_ms)
    try:
        announce(project, settings, announcement)
    except BusUnavailable as error:
        return str(error)
    return ""
