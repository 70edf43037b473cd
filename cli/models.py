"""`tidemill models`: the releases of a project, what separates them, and which one answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from cli.announce import announce
from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from cli.export import export
from cli.login import login_name
from tidemill.clock import SystemClock
from tidemill.declaration import Project
from tidemill.errors import BusUnavailable, TidemillError
from tidemill.registry import Registry
from tidemill.roles import RoleChange
from tidemill.schema import schema_of
from tidemill.settings import Settings

if TYPE_CHECKING:
    from batch.publish.orders import Order

NOT_ANNOUNCED = 6
_SHOWN_IMPORTANCE = 10
app = typer.Typer(help="The releases of a project: compare them, say which one answers.")
app.command()(export)
Release = Annotated[str, typer.Argument(metavar="RELEASE", help="Its name, such as r0001.")]
By = Annotated[str, typer.Option(metavar="WHO", help="Who wants it; the login name by default.")]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever reads it later.")]
Force = Annotated[bool, typer.Option("--force", help="Also one that was retired.")]


@app.command("list")
def list_models(file: ProjectFile, as_json: AsJson = False) -> None:
    """List the releases, oldest first, with their roles."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from cli.wiring import registry_of

        registry = registry_of(settings, project.name)
        standings = registry.standings()
        found = [
            _listed(registry, name, standings.role(name) or "") | {"share": standings.share(name)}
            for name in registry.names()
        ]
        if as_json:
            typer.echo(json.dumps(found))
            return
        table = Table("release", "role", "published", "rows", "metrics", "run", "dataset")
        for each in found:
            table.add_row(
                each["release"], each["role"], _time(each.get("created_ms", 0)),
                str(each.get("rows", "")), each.get("problem") or _first_metrics(each["metrics"]),
                each.get("run", ""), each.get("dataset", ""),
            )  # fmt: skip
        Console().print(table)


@app.command()
def show(file: ProjectFile, release: Release, as_json: AsJson = False) -> None:
    """Show one release: its manifest, who signed it, and every change of its role."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from cli.wiring import registry_of

        registry = registry_of(settings, project.name)
        manifest = msgspec.to_builtins(registry.manifest(registry.check_name(release)))
        standings = registry.standings()
        changes = [c for c in standings.changes if release in (c.release, c.instead_of)]
        found = {
            **manifest, "role": standings.role(release), "signed_by": registry.signed_by(release),
            "changes": msgspec.to_builtins(changes),
        }  # fmt: skip
        typer.echo(json.dumps(found) if as_json else _shown(found, changes))


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
        for name in (before, after):
            registry.check_name(name)
        found = msgspec.to_builtins(differences(registry, before, after))
        typer.echo(json.dumps(found) if as_json else _differences_in_words(found))


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
    from batch.publish.orders import promote as give

    _order(
        file, lambda registry, _, order: give(registry, release, order), (by, why, force), as_json
    )


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
    from batch.publish.orders import roll_back as give

    _order(
        file,
        lambda registry, schema, order: give(registry, schema, release, order),
        (by, why, force),
        as_json,
    )


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
    from batch.publish.orders import challenge as give

    _order(
        file,
        lambda registry, _, order: give(registry, release, share, order),
        (by, why, force),
        as_json,
    )


@app.command()
def retire(
    file: ProjectFile, release: Release, by: By = "", why: Why = "", as_json: AsJson = False
) -> None:
    """Take a release out for good: it is never champion again unless it is forced to.

    Exit codes: as of `models promote`.
    """
    from batch.publish.orders import retire as give

    _order(
        file,
        lambda registry, schema, order: give(registry, schema, release, order),
        (by, why, False),
        as_json,
    )


def _order(
    file: Path,
    give: Callable[[Registry, str, Order], RoleChange | None],
    said: tuple[str, str, bool],
    as_json: bool,
) -> None:
    """Carry an order out, announce it, and have MLflow know of it."""
    with errors_as_exit_codes():
        from batch.publish.orders import Order
        from cli.wiring import registry_of

        project, settings = prepare(file)
        registry = registry_of(settings, project.name)
        by, why, force = said
        now = SystemClock().now_ms()
        change = give(registry, schema_of(project).hash, Order(by or login_name(), now, why, force))
        found = _carried_out(project, settings, registry, change)
        typer.echo(json.dumps(found) if as_json else _order_in_words(found))
        raise typer.Exit(NOT_ANNOUNCED if change and found["not_announced"] else 0)


def _carried_out(
    project: Project, settings: Settings, registry: Registry, change: RoleChange | None
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "change": msgspec.to_builtins(change),
        "champion": registry.champion(schema_of(project).hash),
        "not_announced": "",
        "mlflow": None,
    }
    if change is None:
        return found
    found["not_announced"] = _announced(project, settings, registry, change)
    if settings.mlflow is not None:
        from batch.publish.mlflow_runs import MlflowRuns

        sent = MlflowRuns(settings.mlflow, registry).send()
        found["mlflow"] = {"recorded": sent.complete, "error": sent.error}
    return found


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


def _listed(registry: Registry, name: str, role: str) -> dict[str, Any]:
    try:
        manifest = registry.manifest(name)
    except TidemillError as error:
        return {"release": name, "role": role, "problem": str(error)}
    return {
        "release": name, "role": role, "created_ms": manifest.created_ms, "rows": manifest.rows,
        "schema": manifest.schema, "metrics": manifest.metrics, "run": manifest.run,
        "dataset": manifest.dataset, "parent": manifest.parent, "forced": manifest.forced,
        "signed_by": registry.signed_by(name),
    }  # fmt: skip


def _first_metrics(metrics: dict[str, float]) -> str:
    shown = {n: v for n, v in metrics.items() if n.startswith("gate_candidate_")} or metrics
    return ", ".join(f"{n.removeprefix('gate_candidate_')} {v:.4g}" for n, v in shown.items())


def _shown(found: dict[str, Any], changes: list[RoleChange]) -> str:
    head = (
        f"{found['release']} of {found['project']}: {found['role']}; signed by "
        f"{found['signed_by'] or 'nobody (from before signatures)'}"
    )
    lines = [head, f"  published {_time(found['created_ms'])}, {found['rows']} rows"]
    for name in ("run", "dataset", "parent", "forced", "version", "schema"):
        lines += [f"  {name} {found[name]}"] if found[name] else []
    for group in ("offsets", "parameters", "metrics", "files"):
        lines += [f"  {group}:", *(f"    {n}: {v}" for n, v in found[group].items())]
    return "\n".join([*lines, "  roles:", *(f"    {_change(change)}" for change in changes)])


def _change(change: RoleChange) -> str:
    by = f" by {change.by}" if change.by else ""
    instead = f" instead of {change.instead_of}" if change.instead_of else ""
    forced = ", forced" if change.forced else ""
    why = f": {change.why}" if change.why else ""
    action = change.action.replace("_", " ")
    share = f" for {change.share:.1%} of the requests" if change.share else ""
    watched = f", {change.watched} watched beside it" if change.watched else ""
    what = f"{action}{share}{instead}{watched}"
    return f"{_time(change.time_ms)} {change.release} {what}{by}{forced}{why}"


def _differences_in_words(found: dict[str, Any]) -> str:
    lines = [f"{found['before']} → {found['after']}"]
    for group in ("provenance", "parameters", "metrics", "offsets"):
        pairs = found[group].items()
        lines += [f"  {group}:"] if pairs else []
        lines += [f"    {name}: {_value(a)} → {_value(b)}" for name, (a, b) in pairs]
    for sign in ("added", "removed"):
        names = found[f"features_{sign}"]
        lines += [f"  features {sign}: {', '.join(names)}"] if names else []
    lines += ["  features in another order"] if found["reordered"] else []
    changes = found["importance"][:_SHOWN_IMPORTANCE]
    lines += ["  share of gain, what changed most:"] if changes else []
    lines += [f"    {c['feature']}: {_share(c['before'])} → {_share(c['after'])}" for c in changes]
    return "\n".join(lines) if len(lines) > 1 else f"{lines[0]}: no difference"


def _value(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value) or "–"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _order_in_words(found: dict[str, Any]) -> str:
    if found["change"] is None:
        return f"nothing to do; the champion is {found['champion']}"
    change = msgspec.convert(found["change"], RoleChange)
    lines = [_change(change), f"the champion is {found['champion']}"]
    if found["not_announced"]:
        lines.append(
            f"not announced: {found['not_announced']}; a worker that runs finds it within seconds"
        )
    if found["mlflow"]:
        done = found["mlflow"]["recorded"]
        lines.append("recorded in MLflow" if done else f"not recorded: {found['mlflow']['error']}")
    return "\n".join(lines)


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" if ms else ""
