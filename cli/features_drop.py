"""The work of `tidemill features drop`: a state that nothing serves leaves the store."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from cli.wiring import connect_store
from features.evolution.state_book import StateBook
from features.redis.states import RedisStates
from tidemill.declaration import Project
from tidemill.errors import DeclarationError
from tidemill.settings import Settings
from tidemill.topics import Names

_STATE = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A state that was removed, and how many keys that were."""

    state: str
    keys: int


async def drop(project: Project, settings: Settings, state: str) -> Dropped:
    """Remove a state; raises DeclarationError for the one that serves and for what is none."""
    names = Names(project.name, settings.partitions, state)
    async with connect_store(settings) as (client, store):
        book = StateBook(store, names)
        active, ready = await book.active(), await book.states()
        others = sorted(each for each in ready if active is None or each != active.state)
        allowed = f"a state that does not serve: {', '.join(others) or 'there is none'}"
        if not _STATE.fullmatch(state) or (active is not None and active.state == state):
            raise DeclarationError("STATE", state, allowed)
        await book.remove(state)  # no worker may begin with what is being deleted
        columns = (SpinnerColumn(), TextColumn("removing state {task.fields[state]}"),
                   TextColumn("{task.completed} keys"))  # fmt: skip
        console = Console(stderr=True)
        with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bars:
            task = bars.add_task("remove", total=None, state=state)
            removed = await RedisStates(client).remove(
                names, lambda count: bars.advance(task, count)
            )
    return Dropped(state, removed)
