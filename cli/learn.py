"""`tidemill learn`: see whether learning goes on, and go on after the breaker has paused it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from tidemill.declaration import Project
from tidemill.errors import ServiceError
from tidemill.settings import Settings

if TYPE_CHECKING:
    from features.store import OnlineStore
    from tidemill.topics import Names

WAIT_SECONDS, LOOK_SECONDS = 30.0, 0.2
app = typer.Typer(
    help="See whether learning goes on; go on after it was paused.", no_args_is_help=True
)


@dataclass(frozen=True, slots=True)
class State:
    """What a learner does: `learning`, `paused` or `nothing` (no release yet)."""

    state: Literal["learning", "paused", "nothing"]
    release: str = ""
    snapshot: int = 0
    reason: str = ""
    message: str = ""
    since_ms: int = 0
    quarantined: int = 0
    first_offset: int = 0

    def __str__(self) -> str:
        if self.state == "nothing":
            return "no release yet: nothing is learned"
        where = f"release {self.release}, snapshot {self.snapshot}"
        if self.state == "learning":
            return f"learning on {where}"
        return (
            f"paused on {where}: {self.message}\n"
            f"{self.quarantined} examples put aside, from offset {self.first_offset} on; "
            "`tidemill learn resume --replay` learns them, `--skip` does not"
        )


@app.command()
def status(file: ProjectFile, as_json: AsJson = False) -> None:
    """Say whether learning goes on, and if not, why."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        found = asyncio.run(_status(project, settings))
        typer.echo(json.dumps(asdict(found)) if as_json else str(found))


@app.command()
def resume(
    file: ProjectFile,
    replay: Annotated[bool, typer.Option("--replay", help="Learn what was put aside.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Never learn what was put aside.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go on learning after the breaker has paused it; returns when the worker does.

    Exit codes: 0 learning goes on, 1 it was not paused or no worker answered, 2 a mistake.
    """
    with errors_as_exit_codes():
        if replay == skip:
            raise typer.BadParameter("found both or none; allowed: one of --replay and --skip")
        project, settings = prepare(file)
        found = asyncio.run(_resume(project, settings, "replay" if replay else "skip"))
        typer.echo(json.dumps(asdict(found)) if as_json else str(found))


async def _status(project: Project, settings: Settings) -> State:
    from cli.wiring import connect_store, names_of
    from features.plan import compile_plan

    async with connect_store(settings) as (_, store):
        return await _look(store, names_of(compile_plan(project), settings), project.learner.name)


async def _resume(project: Project, settings: Settings, action: Literal["replay", "skip"]) -> State:
    from cli.wiring import connect_store, names_of
    from features.plan import compile_plan
    from streams.quarantine import Order

    names, learner = names_of(compile_plan(project), settings), project.learner.name
    async with connect_store(settings) as (_, store):
        before = await _look(store, names, learner)
        if before.state != "paused":
            raise ServiceError(f"learn resume: found {before}; allowed: a paused learner")
        order = Order(action, before.since_ms)
        await store.write([(names.learn_order(learner), order.encode())])
        for _ in range(int(WAIT_SECONDS / LOOK_SECONDS)):
            found = await _look(store, names, learner)
            if found.since_ms != before.since_ms:
                return found
            await asyncio.sleep(LOOK_SECONDS)
    raise ServiceError(
        f"learn resume: no worker has taken the order up in {WAIT_SECONDS:g} s; "
        "it will, as soon as one runs"
    )


async def _look(store: OnlineStore, names: Names, learner: str) -> State:
    from learners.snapshot import Newest
    from streams.learn import Learn
    from streams.quarantine import Halt

    halt = Halt.found_in(await store.side(names.side(Learn.name, 0)))
    (data,) = await store.read([names.newest_snapshot(learner)])
    if data is None:
        return State("nothing")
    newest = Newest.decode(data)
    if halt is None:
        return State("learning", newest.release, newest.number)
    return State(
        "paused", newest.release, newest.number, halt.reason, halt.message, halt.began_ms,
        halt.examples, halt.start,
    )  # fmt: skip
