"""The work of `tidemill backfill`: a declaration's state from the archive into the store."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.broker import broker_of
from cli.compute import rules
from cli.kafka_bus import end_offsets, ensure_topics
from cli.wiring import connect_store, names_of
from features.evolution.state_backfill import StateBackfill
from features.evolution.state_book import StateBook
from features.plan import FeaturePlan, compile_plan
from features.store import OnlineStore
from streams.seeding import write_blobs, write_fences
from tidemill.clock import SystemClock
from tidemill.declaration import Project
from tidemill.errors import LockedError
from tidemill.settings import Settings
from tidemill.topics import UPDATES, Names

Bar = Callable[[int], None]


class Backfilled(msgspec.Struct, frozen=True):
    """What was done: nothing where the state was ready before (`made` is false)."""

    project: str
    schema: str
    state: str
    made: bool
    events: int
    entities: int
    seconds: float


async def backfill(project: Project, settings: Settings) -> Backfilled:
    """Make the state of a project file that none is there for; safe to run again after a crash.

    Raises LockedError while another backfill of this state runs.
    """
    broker = broker_of(settings)
    plan = compile_plan(project)
    names = names_of(plan, settings)
    async with connect_store(settings) as (_, store):
        book = StateBook(store, names)
        if plan.state in await book.states():
            # Its worker may be running: writing under its hands would undo what it applied.
            return Backfilled(project.name, plan.schema.hash, plan.state, False, 0, 0, 0.0)
        with _locked(settings.home, names):
            await ensure_topics(broker, names)
            updates = await end_offsets(broker, names, UPDATES)
            started = perf_counter()
            made = StateBackfill(settings.home, plan, rules(settings), SystemClock())
            entities = await _make(made, store, names, plan)
            await write_fences(store, names, made.reached, updates)
            await book.add(plan.state, SystemClock().now_ms())
    seconds = round(perf_counter() - started, 3)
    return Backfilled(
        project.name, plan.schema.hash, plan.state, True, made.total, entities, seconds
    )


async def _make(made: StateBackfill, store: OnlineStore, names: Names, plan: FeaturePlan) -> int:
    with _progress() as bar:
        made.run(bar("fold the archive's events", made.total))
        write = bar("write entities", made.replayer.entities)
        return await write_blobs(store, names, plan, made.replayer, write)


@contextmanager
def _progress() -> Iterator[Callable[[str, int], Bar]]:
    """Bars on stderr; nothing at all when it is not a terminal."""
    columns = (
        TextColumn("{task.description:>26}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bars:

        def bar(what: str, total: int) -> Bar:
            task = bars.add_task(what, total=total)
            return lambda count: bars.advance(task, count)

        yield bar


@contextmanager
def _locked(home: Path, names: Names) -> Iterator[None]:
    folder = home / "archive" / f"project={names.project}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f".backfill-{names.state}.lock", "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = f"another backfill of {names.project}, state {names.state}, is running"
            raise LockedError(found) from None
        yield


def in_words(done: Backfilled, file: Path) -> str:
    """What was done and what to do next."""
    head = f"{done.project}: state {done.state}"
    if not done.made:
        return f"{head} is ready, nothing to backfill; start its worker: tidemill worker {file}"
    return (
        f"{head}: {done.entities:,} entities of {done.events:,} archived events in "
        f"{done.seconds:.1f} s; start its worker beside the other: tidemill worker {file}"
    )


def summary(done: Backfilled) -> dict[str, Any]:
    """What was done, for scripts."""
    return msgspec.structs.asdict(done)
