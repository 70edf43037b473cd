"""The port to whatever runs jobs, and how a job's end becomes what the queue does next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, Protocol

from batch.schedule.job import Held, Job
from batch.schedule.kinds import KINDS, Again

Cut = Literal["", "cancelled", "preempted", "stopped", "lost", "timed out", "out of memory"]
"""Why an attempt did not end by itself."""

FIRST_WAIT_MS, LONGEST_WAIT_MS = 30_000, 3_600_000
LATER_MS = 60_000
MOST_INTERRUPTIONS = 20


@dataclass(frozen=True, slots=True)
class Launch:
    """One attempt: a command line with its whole environment, what it may take, and its log.

    `mark` names the attempt among all of all homes.
    """

    number: int
    mark: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    held: Held
    log: Path
    time_limit_ms: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended: its exit code (the negative number of a signal), if anyone knows it."""

    number: int
    exit_code: int | None
    cut: Cut = ""


class Runner(Protocol):
    """Runs attempts; no call waits for a job, all raise ServiceError where it cannot be reached."""

    def start(self, launch: Launch) -> str:
        """Start an attempt; returns in words where it runs."""
        ...

    def ended(self) -> list[End]:
        """The attempts that ended since the last call; each is told once."""
        ...

    def stop(self, number: int, cut: Cut) -> None:
        """Have a job end, in order at first; how it did is told like any other end."""
        ...

    def recover(self, launches: Sequence[Launch]) -> set[int]:
        """After a crash: which of these still run and are ours again; of the others none does."""
        ...

    def close(self) -> list[End]:
        """End everything that would not be found again; blocks until it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a job: the outcome in a word, in words, and when it is tried again (ms)."""

    outcome: str
    meaning: str
    again_ms: int | None = None
    failed: bool = False
    interrupted: bool = False


def judge(job: Job, end: End, now_ms: int, random: Random) -> Verdict:
    """What an end means for a job: done, again after a wait, or given up."""
    if end.cut == "cancelled" or (job.order == "cancel" and end.exit_code != 0):
        return Verdict("cancelled", "cancelled by an operator")
    if end.cut in ("preempted", "stopped", "lost"):
        return _interrupted(job, end, now_ms)
    if end.cut == "out of memory":
        return Verdict("failed", "it took more memory than it may: raise the job's `memory`")
    meaning, again, good = _of_code(job, end)
    if again == "later":
        return Verdict("later", meaning, now_ms + _spread(LATER_MS, random))
    if again == "retry" and job.failures + 1 < job.request.attempts:
        wait = min(FIRST_WAIT_MS * 2**job.failures, LONGEST_WAIT_MS)
        return Verdict("retry", meaning, now_ms + _spread(wait, random), failed=True)
    return Verdict("done" if good else "failed", meaning, failed=not good)


def _of_code(job: Job, end: End) -> tuple[str, Again, bool]:
    if end.cut == "timed out":
        return "took longer than its time limit", "retry", False
    if end.exit_code is None or end.exit_code < 0:
        return f"killed by signal {-(end.exit_code or 0)}", "retry", False
    code = KINDS[job.request.kind].meaning(end.exit_code)
    return code.meaning, code.again, code.good


def _interrupted(job: Job, end: End, now_ms: int) -> Verdict:
    """No fault of the job's, unless it keeps happening: then it may be what brings us down."""
    if job.interruptions + 1 >= MOST_INTERRUPTIONS:
        return Verdict("failed", f"interrupted {MOST_INTERRUPTIONS} times", interrupted=True)
    return Verdict("interrupted", f"{end.cut}; goes on where it was", now_ms, interrupted=True)


def _spread(wait_ms: int, random: Random) -> int:
    """Between half and the whole wait, so that what failed together does not come together."""
    return int(wait_ms * random.uniform(0.5, 1))
