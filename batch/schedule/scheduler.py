"""The scheduler: one turn after the other it notes ends, fires cron, plans and starts.

Whatever it does is in the queue before it is done: a job is entered as running before its process
begins. Killed at any moment, the next one finds running jobs that are no more, ends what they left
behind and has each run again once.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import structlog

from batch.schedule.entries import Schedule
from batch.schedule.job import Held, Job, JobRequest
from batch.schedule.kinds import KINDS
from batch.schedule.planner import Plan, plan
from batch.schedule.processes import MARK
from batch.schedule.queue import PLACES, PROJECTS, WAITS, JobQueue
from batch.schedule.runner import LATER_MS, Cut, End, Launch, Runner, Verdict, judge
from batch.schedule.ticks import DAY_MS, due
from tidemill.clock import Clock
from tidemill.errors import ServiceError

LOGS = "jobs"
_CORES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)  # fmt: skip
_log = structlog.get_logger()


def _nobody(job: Job) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a scheduler is given from outside.

    home: holds the queue and the jobs' logs; environment: what every job finds
    program: starts `tidemill`; ended: told every job that has ended for good
    """

    home: Path
    environment: Mapping[str, str]
    clock: Clock
    random: Random
    ended: Callable[[Job], None] = _nobody
    program: tuple[str, ...] = field(default=(sys.executable, "-m", "tidemill"))


class Scheduler:
    """Works on one queue with one runner; not to be used from several threads."""

    def __init__(
        self, schedule: Schedule, queue: JobQueue, runner: Runner, surroundings: Surroundings
    ) -> None:
        self._schedule, self._queue, self._runner = schedule, queue, runner
        self._around = surroundings
        self._places: dict[int, str] = {}
        self._told: dict[str, Mapping[Any, Any]] = {}
        self._begun = False

    @property
    def schedule(self) -> Schedule:
        """What it goes by."""
        return self._schedule

    def use(self, schedule: Schedule) -> None:
        """Go by this file from the next turn on; what runs, runs on."""
        self._schedule = schedule

    def begin(self) -> None:
        """Take over what an earlier scheduler left, once; before that nothing is started.

        Raises ServiceError where nobody can say what still runs.
        """
        if self._begun:
            return
        left = self._queue.jobs("running")
        kept = self._runner.recover([self._launch(job) for job in left])
        for job in left:
            if job.id not in kept:
                self._note(End(job.id, None, "lost"))
        self._begun = True

    def turn(self) -> Plan:
        """Do what there is to do now. Raises ServiceError where the queue cannot be written."""
        self.begin()
        for end in self._runner.ended():
            self._note(end)
        self._fire()
        running = self._queue.jobs("running")
        for job in running:
            if job.order:
                cut: Cut = "cancelled" if job.order == "cancel" else "preempted"
                self._runner.stop(job.id, cut)
        found = plan(
            self._around.clock.now_ms(), self._queue.jobs("waiting"), running, self._schedule.quotas
        )
        self._carry_out(found)
        self._tell(WAITS, found.waits)
        self._tell(PLACES, dict(self._places))
        self._tell(PROJECTS, {name: self._retrain(name) for name in self._schedule.projects})
        return found

    def close(self) -> None:
        """End what runs; it waits in the queue for the next scheduler."""
        for end in self._runner.close():
            self._note(end)

    def _tell(self, name: str, fact: Mapping[Any, Any]) -> None:
        """Have the queue say so, if it does not already."""
        if self._told.get(name) != fact:
            self._queue.tell(name, fact)
            self._told[name] = fact

    def _retrain(self, project: str) -> JobRequest:
        """What drift starts: what cron would, if it retrains this project."""
        requests = [entry.request for entry in self._schedule.cron.values()]
        wanted = (project, "retrain", True)
        alike = (r for r in requests if (r.project, r.kind, r.production) == wanted)
        return next(alike, JobRequest(project, "retrain", production=True))

    def _fire(self) -> None:
        now, ticks = self._around.clock.now_ms(), self._queue.ticks()
        for name, entry in self._schedule.cron.items():
            last = ticks.get(name)
            if last is None or last > now + DAY_MS:  # new, or noted by a clock that was wrong
                self._queue.fire(name, now, None, now)
            elif (tick := due(entry.cron, last, now)) is not None:
                job = self._queue.fire(name, tick, entry.request, now)
                _log.info("cron", entry=name, job=job.id if job else None, tick_ms=tick)

    def _carry_out(self, found: Plan) -> None:
        now = self._around.clock.now_ms()
        for number, why in found.never.items():
            self._end(number, "waiting", Verdict("failed", why), None)
        for job in found.stops:
            if self._queue.change(job.id, "running", order="preempt"):
                _log.info("preempted", job=job.id)
                self._runner.stop(job.id, "preempted")
        for job, held in found.starts:
            self._start(job, held, now)

    def _start(self, job: Job, held: Held, now: int) -> None:
        entered = self._queue.change(
            job.id, "waiting", state="running", held=held, attempt=job.attempt + 1, started_ms=now,
        )  # fmt: skip
        if entered is None:  # an operator cancelled it meanwhile
            return
        try:
            where = self._runner.start(self._launch(entered))
            self._places[job.id] = "; ".join([where, *_in_words(held)])
        except ServiceError as error:
            _log.error("job not started", job=job.id, error=str(error))
            # No fault of the job's: it waits until it can be started.
            again = now + int(LATER_MS * self._around.random.uniform(0.5, 1))
            self._settle(entered, Verdict("later", str(error), again), None)
            return
        _log.info("job started", job=job.id, what=job.request.what, attempt=entered.attempt)

    def _launch(self, job: Job) -> Launch:
        request, entry = job.request, self._schedule.projects.get(job.request.project)
        file = entry.file if entry else Path("unknown")
        held = job.held
        command = KINDS[request.kind].command(
            self._around.program, file, request.arguments, max(len(held.cores), 1)
        )
        devices = ",".join(each for ids in held.gpus.values() for each in ids)
        environment = {
            **self._around.environment,
            **(entry.environment if entry else {}),
            **dict.fromkeys(_CORES, str(max(len(held.cores), 1))),
            # Also where it has none: what was not asked for is another's.
            "CUDA_VISIBLE_DEVICES": devices,
        }
        environment.pop(MARK, None)
        home = self._around.home.absolute()
        mark = f"{home}:{job.id}:{job.attempt}"
        log = home / LOGS / str(job.id) / f"{job.attempt}.log"
        limit = request.time_limit_ms
        return Launch(job.id, mark, command, environment, held, log, limit)

    def _note(self, end: End) -> None:
        job = self._queue.job(end.number)
        if job is None or job.state != "running":
            return
        verdict = judge(job, end, self._around.clock.now_ms(), self._around.random)
        log = _log.info if verdict.outcome == "done" else _log.warning
        log("job ended", job=job.id, what=job.request.what, outcome=verdict.outcome,
            exit_code=end.exit_code, meaning=verdict.meaning)  # fmt: skip
        self._settle(job, verdict, end.exit_code)

    def _settle(self, job: Job, verdict: Verdict, code: int | None) -> None:
        """Enter what an attempt came to: the end, or another wait."""
        self._places.pop(job.id, None)
        if verdict.again_ms is None:
            self._end(job.id, "running", verdict, code)
            return
        self._queue.change(
            job.id, "running", state="waiting", ready_ms=verdict.again_ms, held=Held(), order="",
            **_counted(job, verdict), outcome=verdict.outcome, exit_code=code,
            meaning=verdict.meaning,
        )  # fmt: skip

    def _end(self, number: int, state: Any, verdict: Verdict, code: int | None) -> None:
        ended = self._queue.change(
            number, state, state="ended", ended_ms=self._around.clock.now_ms(), held=Held(),
            order="", outcome=verdict.outcome, exit_code=code, meaning=verdict.meaning,
        )  # fmt: skip
        if ended is not None:
            self._around.ended(ended)
        for old in self._queue.forget():
            shutil.rmtree(self._around.home / LOGS / str(old), ignore_errors=True)


def _counted(job: Job, verdict: Verdict) -> dict[str, int]:
    return {
        "failures": job.failures + verdict.failed,
        "interruptions": job.interruptions + verdict.interrupted,
    }


def _in_words(held: Held) -> list[str]:
    cores = "core" if len(held.cores) == 1 else "cores"
    gpus = [f"{label} {', '.join(ids)}" for label, ids in held.gpus.items() if ids]
    return [f"{cores} {', '.join(map(str, held.cores))}", *gpus]
