"""One project's jobs as the console and `tidemill jobs list` show them."""

from __future__ import annotations

from typing import Any

from batch.schedule.job import Job
from batch.schedule.planner import rank
from batch.schedule.queue import JobQueue
from tidemill.jobs import EndedJob, JobsReport, RunningJob, WaitingJob

ENDED_SHOWN, WAITING_SHOWN = 20, 100
NOBODY = "no scheduler runs"


def report(
    queue: JobQueue, now_ms: int, project: str | None = None, alive: bool = True
) -> JobsReport:
    """The jobs of one project or of all, and why each waits; the newest end first.

    `alive`: a scheduler runs. Raises ServiceError.
    """
    waits, places = (queue.waits(), queue.places()) if alive else ({}, {})
    waiting, running, ended = (
        [job for job in queue.jobs(state) if project in (None, job.request.project)]
        for state in ("waiting", "running", "ended")
    )
    unseen = "to be looked at" if alive else NOBODY
    shown = sorted(waiting, key=rank)[:WAITING_SHOWN]
    return JobsReport(
        now_ms,
        [_waiting(job, now_ms, waits.get(job.id, unseen)) for job in shown],
        [_running(job, places.get(job.id, "")) for job in running],
        [_ended(job) for job in sorted(ended, key=_when, reverse=True)[:ENDED_SHOWN]],
    )


def _common(job: Job) -> dict[str, Any]:
    request = job.request
    return {
        "id": job.id,
        "what": f"{request.project}: {request.what}",
        "production": request.production,
        "priority": request.priority,
        "origin": job.origin,
        "attempt": job.attempt,
    }


def _waiting(job: Job, now_ms: int, why: str) -> WaitingJob:
    until = job.ready_ms if job.ready_ms > now_ms else None
    if until is not None and job.meaning:
        why = f"tried again after: {job.meaning}"
    return WaitingJob(**_common(job), submitted_ms=job.submitted_ms, why=why, until_ms=until)


def _running(job: Job, place: str) -> RunningJob:
    began = job.started_ms or job.submitted_ms
    return RunningJob(**_common(job), started_ms=began, place=place, stopping=bool(job.order))


def _ended(job: Job) -> EndedJob:
    return EndedJob(
        **_common(job),
        started_ms=job.started_ms,
        ended_ms=_when(job),
        outcome=job.outcome,
        exit_code=job.exit_code,
        meaning=job.meaning,
    )


def _when(job: Job) -> int:
    return job.ended_ms or job.submitted_ms
