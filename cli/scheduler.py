"""The scheduler command: one process per home that starts jobs until it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer

from cli.command import AsJson, errors_as_exit_codes
from cli.logs import log_to_stderr
from cli.notify import Hook
from tidemill.clock import Clock, SystemClock
from tidemill.errors import DeclarationError, ServiceError
from tidemill.loading import load_project
from tidemill.settings import Settings, read_settings

if TYPE_CHECKING:
    from batch.schedule.entries import Schedule
    from batch.schedule.job import Job
    from batch.schedule.queue import JobQueue
    from batch.schedule.runner import Runner
    from batch.schedule.scheduler import Scheduler

TURN_SECONDS = 0.5
_log = structlog.get_logger()


def scheduler(
    file: Annotated[Path, typer.Argument(metavar="SCHEDULE", help="The schedule, a TOML file.")],
    check: Annotated[bool, typer.Option("--check", help="Only check the file.")] = False,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when no job waits or runs any more.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start jobs by cron, drift or hand, within quotas, until SIGTERM; SIGHUP reads the file again.

    Exit codes: 0 told to stop or idle, 1 failed, 2 a mistake in the schedule or a project, 4
    another scheduler runs.
    """
    with errors_as_exit_codes():
        settings = read_settings()
        schedule = read(file)
        if check:
            typer.echo(json.dumps(summary(schedule)) if as_json else in_words(summary(schedule)))
            return
        log_to_stderr()
        run(file, schedule, settings, until_idle)


def read(file: Path) -> Schedule:
    """The schedule, its project files checked. Raises DeclarationError."""
    from batch.schedule.entries import cores_of_machine, read_schedule

    schedule = read_schedule(file, cores_of_machine())
    for name, entry in schedule.projects.items():
        found = load_project(entry.file).name
        if found != name:
            raise DeclarationError(
                f"projects.{name}", found, "the name that its file declares", str(file)
            )
    return schedule


def run(file: Path, schedule: Schedule, settings: Settings, until_idle: bool = False) -> None:
    """Work until a signal, or until there is nothing to do. Raises LockedError, ServiceError."""
    from batch.schedule.queue import JobQueue, only_scheduler
    from batch.schedule.scheduler import Scheduler, Surroundings

    clock, hook, home = SystemClock(), Hook(settings.notify), settings.home
    environment = {**os.environ, "TIDEMILL_HOME": str(home.absolute())}
    with only_scheduler(home), closing(JobQueue(home)) as queue, _signals() as signals:
        around = Surroundings(
            home, environment, clock, Random(), lambda job: hook.tell(told(job, home))
        )
        works = Scheduler(schedule, queue, _runner(schedule), around)
        _log.info("scheduler started", schedule=str(file), home=str(home))
        try:
            _Loop(works, queue, file, clock, environment).run(signals, hook, until_idle)
        finally:
            works.close()
            hook.finish()


@dataclass(frozen=True, slots=True)
class _Signals:
    """What the process was told."""

    stop: threading.Event
    again: threading.Event


class _Loop:
    """One turn after the other, and what goes on beside them."""

    def __init__(  # noqa: PLR0913  what is put together here
        self, works: Scheduler, queue: JobQueue, file: Path, clock: Clock, environment: Any
    ) -> None:
        from cli.jobs_store import JobsPublisher

        self._works, self._queue, self._file = works, queue, file
        self._publisher = JobsPublisher(environment, clock)
        self._failing = False

    def run(self, signals: _Signals, hook: Hook, until_idle: bool) -> None:
        """Until told to stop."""
        while not signals.stop.is_set():
            if signals.again.is_set():
                signals.again.clear()
                self._read_again()
            self._turn()
            hook.look()
            if until_idle and not self._queue.jobs("waiting", "running"):
                return
            signals.stop.wait(TURN_SECONDS)

    def _turn(self) -> None:
        """One turn; a full disk or a locked queue is said once and waited for."""
        try:
            self._works.turn()
            self._publisher.publish(self._works.schedule, self._queue)
        except ServiceError as error:
            if not self._failing:
                _log.error("scheduler waits", error=str(error))
            self._failing = True
        else:
            if self._failing:
                _log.info("scheduler goes on")
            self._failing = False

    def _read_again(self) -> None:
        try:
            self._works.use(read(self._file))
            _log.info("schedule read again", schedule=str(self._file))
        except DeclarationError as error:
            _log.error("schedule not read again", error=str(error))


def told(job: Job, home: Path) -> dict[str, Any]:
    """A job's end as the notification has it."""
    return {
        "event": "job",
        "id": job.id,
        "project": job.request.project,
        "what": job.request.what,
        "production": job.request.production,
        "origin": job.origin,
        "outcome": job.outcome,
        "exit_code": job.exit_code,
        "meaning": job.meaning,
        "attempts": job.attempt,
        "started_ms": job.started_ms,
        "ended_ms": job.ended_ms,
        "log": str(log_of(job, home)),
    }


def log_of(job: Job, home: Path) -> Path:
    """The log file of a job's newest attempt."""
    from batch.schedule.scheduler import LOGS

    return home.absolute() / LOGS / str(job.id) / f"{job.attempt}.log"


def summary(schedule: Schedule) -> dict[str, Any]:
    """What a schedule says, for people and scripts."""
    return {
        "cores": len(schedule.quotas.cores),
        "projects": sorted(schedule.projects),
        "cron": {
            name: {"at": e.cron.line, "timezone": e.cron.zone, "project": e.request.project,
                   "what": e.request.what}
            for name, e in schedule.cron.items()
        },
        "dask": schedule.dask,
    }  # fmt: skip


def in_words(found: dict[str, Any]) -> str:
    """The summary as lines."""
    lines = [f"{found['cores']} cores for {', '.join(found['projects'])}"]
    for name, each in found["cron"].items():
        lines.append(
            f"  {name}: {each['project']} {each['what']} at {each['at']} {each['timezone']}"
        )
    return "\n".join(lines)


def _runner(schedule: Schedule) -> Runner:
    from batch.schedule.dask_runner import DaskRunner
    from batch.schedule.local_runner import LocalRunner

    if schedule.dask is None:
        return LocalRunner()
    return DaskRunner(schedule.dask, LocalRunner() if schedule.dask_fallback else None)


@contextmanager
def _signals() -> Iterator[_Signals]:
    """SIGTERM and SIGINT stop, SIGHUP reads the file again, inside the block."""
    signals = _Signals(threading.Event(), threading.Event())
    wanted = {
        signal.SIGTERM: signals.stop,
        signal.SIGINT: signals.stop,
        signal.SIGHUP: signals.again,
    }
    before = {
        number: signal.signal(number, lambda *_, event=event: event.set())
        for number, event in wanted.items()
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
