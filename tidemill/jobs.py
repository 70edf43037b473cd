"""What the scheduler says of its queue: the document behind `/v1/jobs`.

Times are milliseconds since 1970-01-01 UTC, of the scheduler's clock.
"""

from __future__ import annotations

import msgspec


class Part(msgspec.Struct, frozen=True):
    """Base of the parts: JSON objects.

    `what` is the command as it would be typed, `origin` who asked: `cron NAME`, `drift`, `hand`.
    """

    id: int
    what: str
    production: bool
    priority: int
    origin: str
    attempt: int


class WaitingJob(Part, frozen=True):
    """A job that waits; `why` says for what, `until_ms` until when it is not even tried."""

    submitted_ms: int
    why: str
    until_ms: int | None = None


class RunningJob(Part, frozen=True):
    """A job that runs; `place` names the cores, GPUs or cluster it has."""

    started_ms: int
    place: str
    stopping: bool = False


class EndedJob(Part, frozen=True):
    """A job that ended; `meaning` says its exit code in words."""

    started_ms: int | None
    ended_ms: int
    outcome: str
    exit_code: int | None
    meaning: str


class JobsReport(msgspec.Struct, frozen=True):
    """One project's jobs; `seen_ms` is null where no scheduler ever told of any."""

    seen_ms: int | None = None
    waiting: list[WaitingJob] = []
    running: list[RunningJob] = []
    ended: list[EndedJob] = []
