"""A job: what was asked for, and what has become of it so far."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["waiting", "running", "ended"]
Order = Literal["", "cancel", "preempt"]


class Resources(msgspec.Struct, frozen=True):
    """What a job needs, or what there is: whole cores, bytes of memory, GPUs by label.

    As a need, memory None means whatever its project may have.
    """

    cores: int = 1
    memory_bytes: int | None = None
    gpus: dict[str, int] = {}


class JobRequest(msgspec.Struct, frozen=True):
    """What is to be run for which project, and what it may take.

    A production job goes before every experiment. A point of `priority` is worth an hour of
    waiting. `attempts` is how often it is tried in all where trying again can help.
    """

    project: str
    kind: str
    arguments: tuple[str, ...] = ()
    production: bool = False
    priority: int = 0
    need: Resources = Resources()
    attempts: int = 3
    time_limit_ms: int | None = None

    @property
    def what(self) -> str:
        """The command in words."""
        return " ".join((self.kind, *self.arguments))


class Held(msgspec.Struct, frozen=True):
    """What a running job was given: numbers of cores, identifiers of GPUs by label, memory."""

    cores: tuple[int, ...] = ()
    memory_bytes: int | None = None
    gpus: dict[str, tuple[str, ...]] = {}


class Job(msgspec.Struct, frozen=True):
    """One entry of the queue.

    attempt: how often it was started; names the log file
    failures: how many of these count against `request.attempts`
    interruptions: how often it was cut short by no fault of its own
    ready_ms: it is not started before
    order: what an operator or the plan wants of it while it runs
    outcome, exit_code, meaning: of the newest attempt that ended
    """

    id: int
    request: JobRequest
    origin: str
    submitted_ms: int
    ready_ms: int
    state: State = "waiting"
    attempt: int = 0
    failures: int = 0
    interruptions: int = 0
    started_ms: int | None = None
    ended_ms: int | None = None
    held: Held = Held()
    order: Order = ""
    outcome: str = ""
    exit_code: int | None = None
    meaning: str = ""
