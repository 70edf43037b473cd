"""The work of `tidemill features load`: a file's rows into the store, with a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.store_client import store_client
from features.redis.store import RedisStore
from features.redis.tables import RedisTables
from features.static.file import StaticFile
from features.static.load import Loaded, StaticLoader
from features.static.rows import StaticPlan, static_plans
from tidemill.checks import check_one_of
from tidemill.clock import SystemClock
from tidemill.declaration import Project
from tidemill.errors import DeclarationError
from tidemill.settings import Settings
from tidemill.topics import Names


@dataclass(frozen=True, slots=True)
class TimedLoad:
    """What was loaded, and the seconds it took without the wait before the old rows went."""

    loaded: Loaded
    seconds: float


async def load(project: Project, settings: Settings, file: Path, row: str | None) -> TimedLoad:
    """Load a file into the static row `row`, which may be None when there is only one."""
    plan = _chosen(project, row)
    rows = StaticFile(file, plan.row, project.request)
    names = Names(project.name, settings.partitions)
    client = store_client(settings)
    try:
        tables = RedisTables(names, client)
        loader = StaticLoader(names, RedisStore(client), tables, SystemClock())
        started = perf_counter()
        with _progress(f"loading {plan.row.name}", rows.rows) as advance:
            loaded = await loader.load(rows, plan, advance)
        return TimedLoad(loaded, perf_counter() - started - loader.grace_seconds)
    finally:
        await client.aclose()


def _chosen(project: Project, row: str | None) -> StaticPlan:
    plans = {plan.row.name: plan for plan in static_plans(project)}
    if not plans:
        raise DeclarationError("Project.features", "no StaticRow", "one that the file belongs to")
    if row is None:
        if len(plans) > 1:
            raise DeclarationError("--row", "nothing", "one of " + ", ".join(plans))
        return next(iter(plans.values()))
    check_one_of("--row", row, plans)
    return plans[row]


@contextmanager
def _progress(what: str, rows: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr; nothing at all when it is not a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task(what, total=rows)
        yield lambda count: bars.advance(task, count)


def summary(timed: TimedLoad) -> dict[str, Any]:
    """What was loaded, for people and scripts."""
    loaded = timed.loaded
    return {
        "row": loaded.row,
        "version": loaded.version,
        "rows": loaded.rows,
        "bytes": loaded.bytes,
        "removed": loaded.removed,
        "seconds": round(timed.seconds, 3),
    }


def in_words(found: dict[str, Any]) -> str:
    """The summary as one line."""
    return (
        f"{found['row']}: {found['rows']} rows, {found['bytes']} bytes, version {found['version']} "
        f"in {found['seconds']} s; {found['removed']} old rows removed"
    )
