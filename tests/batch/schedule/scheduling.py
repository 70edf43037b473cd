"""Jobs and quotas for the tests of the scheduler."""

from __future__ import annotations

from typing import Any

from batch.schedule.job import Held, Job, JobRequest, Resources
from batch.schedule.planner import Quotas
from batch.schedule.resources import Room

NOW = 1_400_000_000_000
MINUTE, HOUR = 60_000, 3_600_000


def request(project: str = "flights", kind: str = "skew", **other: Any) -> JobRequest:
    """What a test asks for: cores and memory may be given by name."""
    need = Resources(other.pop("cores", 1), other.pop("memory", None), other.pop("gpus", {}))
    return JobRequest(project, kind, need=need, **other)


def job(number: int, state: str = "waiting", **other: Any) -> Job:
    """A job submitted `number` milliseconds after NOW, unless said otherwise."""
    own = {"submitted_ms", "ready_ms", "held", "order", "failures", "attempt", "interruptions"}
    mine = {name: other.pop(name) for name in own & set(other)}
    mine = {"submitted_ms": NOW + number, "ready_ms": NOW, "held": Held()} | mine
    return Job(number, request(**other), "hand", state=state, **mine)


def quotas(cores: int = 4, memory: int | None = None, **other: Any) -> Quotas:
    """A machine with two projects, whose quotas may be given by name."""
    names = ("flights", "cards")
    rooms = {name: other.pop(name, Room()) for name in names}
    return Quotas(tuple(range(cores)), memory, projects=rooms, **other)
