"""The retrain command's work: a progress bar where someone looks, an announcement at the end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from batch.dataset import Quarantined
from batch.exit_codes import ExitCode
from batch.retrain import Options, RetrainResult
from batch.retrain import retrain as run_retrain
from cli.compute import compute_on, rules
from cli.kafka_bus import ensure_topics
from cli.wiring import connect_producer, connect_store, names_of
from features.plan import compile_plan
from streams.learn import Learn
from streams.quarantine import Halt
from streams.snapshots import newest_snapshot
from tidemill.clock import SystemClock
from tidemill.declaration import Project
from tidemill.errors import SettingsError
from tidemill.settings import Settings
from tidemill.topics import MODELS, Names
from tidemill.wire import Announcement


class ProgressBar:
    """Shows a job's stages one under the other."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: Any = None

    def start(self, stage: str, steps: int) -> None:
        """Finish the bar of the stage before and begin a new one."""
        self._finish()
        self._task = self._bars.add_task(stage, total=steps)

    def advance(self, steps: int = 1) -> None:
        """Move the bar on."""
        self._bars.advance(self._task, steps)

    def _finish(self) -> None:
        if self._task is not None:
            self._bars.update(self._task, completed=self._bars.tasks[-1].total)


@contextmanager
def _progress() -> Iterator[ProgressBar]:
    """Bars on stderr; nothing at all when it is not a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:>20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bars:
        yield ProgressBar(bars)


def retrain(
    project: Project, settings: Settings, threads: int, dask: str | None = None
) -> RetrainResult:
    """Retrain once and announce what was published; `dask` is where features are backfilled."""
    if settings.kafka is None:
        raise SettingsError("TIDEMILL_KAFKA: found nothing; allowed: the address of the broker")
    broker, names = settings.kafka, Names(project.name, settings.partitions)

    def announce(announcement: Announcement) -> None:
        asyncio.run(_announce(broker, names, announcement))

    quarantined = asyncio.run(_quarantined(project, settings))
    with _progress() as progress, compute_on(dask) as compute:
        options = Options(
            threads=threads, progress=progress, rules=rules(settings), compute=compute,
            quarantined=quarantined,
        )  # fmt: skip
        return run_retrain(project, settings.home, announce, SystemClock(), options)


async def _quarantined(project: Project, settings: Settings) -> Quarantined:
    """What the learner has put aside, as the store says; nothing where no store is set.

    Raises StoreUnavailable: a model of poisoned examples is worse than none.
    """
    if settings.redis is None:
        return Quarantined()
    plan = compile_plan(project)
    names = names_of(plan, settings)
    async with connect_store(settings) as (_, store):
        newest = await newest_snapshot(store, names, project.learner.name)
        halt = Halt.found_in(await store.side(names.side(Learn.name, 0)))
    skipped = newest.skipped if newest else []
    return Quarantined(tuple(skipped), halt.start if halt else None)


async def _announce(broker: str, names: Names, announcement: Announcement) -> None:
    await ensure_topics(broker, names)
    key = announcement.learner.encode()
    async with connect_producer(broker, names) as producer:
        await producer.send_many(MODELS, [(key, announcement.encode())], 0)


def summary(result: RetrainResult) -> dict[str, Any]:
    """How it ended, for people and scripts."""
    return {
        "outcome": result.exit_code.name.lower(),
        "release": result.release,
        "rows": result.rows,
        "positives": result.positives,
        "backfilled": result.backfilled,
        "left_out": result.left_out,
        "metrics": dict(result.report.metrics()) if result.report else {},
        "reasons": list(result.reasons),
    }


__all__ = ["ExitCode", "retrain", "summary"]
