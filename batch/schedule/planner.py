"""Which jobs start now: a function of the queue, the quotas and the time, and of nothing else.

All production jobs come before all experiments, and within a class a point of priority counts as
an hour of waiting, so that none waits for ever behind younger ones. Jobs are looked at in that
order. One that lacks room on the machine stops all after it; one that lacks room in its project's
quota stops that project's, and keeps free on the machine what its quota has left for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from batch.schedule.job import Held, Job, Resources
from batch.schedule.kinds import KINDS
from batch.schedule.resources import Room, held_as_need, left_of
from batch.schedule.runner import LONGEST_WAIT_MS

PRIORITY_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Quotas:
    """What the jobs of this machine may take: in all, and those of each project.

    cores: numbers of the machine's cores; gpus: their identifiers by label
    preempt: experiments are stopped for a production job that lacks room
    """

    cores: tuple[int, ...]
    memory_bytes: int | None = None
    gpus: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    projects: Mapping[str, Room] = field(default_factory=dict)
    preempt: bool = False

    @property
    def machine(self) -> Room:
        """What there is."""
        counts = {label: len(ids) for label, ids in self.gpus.items()}
        return Room(len(self.cores), self.memory_bytes, counts)

    def need_of(self, job: Job) -> Resources:
        """What a job takes; one that does not name its memory takes all that is allowed."""
        need, quota = job.request.need, self.projects.get(job.request.project, Room())
        if need.memory_bytes is not None:
            return need
        limits = [each for each in (quota.memory_bytes, self.memory_bytes) if each is not None]
        return Resources(need.cores, min(limits, default=None), need.gpus)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now: start these, stop those for them, and why the others wait.

    `never` are jobs that ask for more than there is, with the reason.
    """

    starts: tuple[tuple[Job, Held], ...] = ()
    stops: tuple[Job, ...] = ()
    waits: Mapping[int, str] = field(default_factory=dict)
    never: Mapping[int, str] = field(default_factory=dict)


def rank(job: Job) -> tuple[bool, int, int]:
    """The order in which jobs are looked at, the first the lowest."""
    waited_from = job.submitted_ms - job.request.priority * PRIORITY_MS
    return not job.request.production, waited_from, job.id


def plan(now_ms: int, waiting: Sequence[Job], running: Sequence[Job], quotas: Quotas) -> Plan:
    """What starts now, never more than the quotas allow; the same question has the same answer."""
    return _Planning(now_ms, running, quotas).plan(sorted(waiting, key=rank))


class _Planning:
    """What is left while jobs are looked at one after the other."""

    def __init__(self, now_ms: int, running: Sequence[Job], quotas: Quotas) -> None:
        self._now_ms, self._running, self._quotas = now_ms, running, quotas
        taken = [held_as_need(job.held) for job in running]
        self._machine = left_of(quotas.machine, taken)
        self._projects = {
            name: left_of(room, (held_as_need(j.held) for j in self._of(name)))
            for name, room in quotas.projects.items()
        }
        self._cores = [c for c in quotas.cores if all(c not in j.held.cores for j in running)]
        self._gpus = {
            label: [d for d in ids if all(d not in j.held.gpus.get(label, ()) for j in running)]
            for label, ids in quotas.gpus.items()
        }
        self._alone = {(j.request.project, j.request.kind) for j in running}
        self._starts: list[tuple[Job, Held]] = []
        self._stops: tuple[Job, ...] = ()
        self._waits: dict[int, str] = {}
        self._never: dict[int, str] = {}
        self._closed: dict[str, int] = {}
        self._full_for: int | None = None

    def plan(self, waiting: Sequence[Job]) -> Plan:
        """Look at every job."""
        for job in waiting:
            if why := self._look(job):
                self._waits[job.id] = why
        return Plan(tuple(self._starts), self._stops, self._waits, self._never)

    def _of(self, project: str) -> list[Job]:
        return [job for job in self._running if job.request.project == project]

    def _look(self, job: Job) -> str:
        """Start a job, or say why it waits."""
        project, need = job.request.project, self._quotas.need_of(job)
        if project not in self._projects:
            return f"the schedule names no project {project}"
        if why := self._impossible(project, need):
            self._never[job.id] = why
            return why
        # A moment that is farther off was noted by a clock that was wrong.
        if self._now_ms < job.ready_ms <= self._now_ms + LONGEST_WAIT_MS:
            return "backoff" if job.failures else "not yet"
        if KINDS[job.request.kind].alone and (project, job.request.kind) in self._alone:
            return f"another {job.request.kind} of {project} runs"
        if self._full_for is not None:
            return f"after job {self._full_for}"
        if project in self._closed:
            return f"after job {self._closed[project]}"
        if lack := self._projects[project].lacks(need):
            self._close(job, need)
            return f"quota of {project}: needs {lack}"
        if lack := self._machine.lacks(need):
            self._full_for = job.id
            self._make_room(job, need)
            return f"this machine: needs {lack}"
        self._start(job, need)
        return ""

    def _impossible(self, project: str, need: Resources) -> str:
        quota = self._quotas.projects[project].lacks(need)
        if quota:
            return f"never fits into the quota of {project}: needs {quota}"
        machine = self._quotas.machine.lacks(need)
        return f"never fits on this machine: needs {machine}" if machine else ""

    def _close(self, job: Job, need: Resources) -> None:
        """The project's others wait, and what its quota has left stays free on the machine."""
        project = job.request.project
        self._closed[project] = job.id
        self._machine = self._machine.less(self._projects[project].at_most(need))
        self._make_room(job, need)

    def _start(self, job: Job, need: Resources) -> None:
        project = job.request.project
        self._machine = self._machine.less(need)
        self._projects[project] = self._projects[project].less(need)
        self._alone.add((project, job.request.kind))
        cores, self._cores = self._cores[: need.cores], self._cores[need.cores :]
        gpus = {}
        for label, count in need.gpus.items():
            ids = self._gpus[label]
            gpus[label], self._gpus[label] = tuple(ids[:count]), ids[count:]
        self._starts.append((job, Held(tuple(cores), need.memory_bytes, gpus)))

    def _make_room(self, job: Job, need: Resources) -> None:
        """Stop as few of the newest experiments as it takes, or none where it would not do."""
        if not self._quotas.preempt or not job.request.production or self._stops:
            return
        project = job.request.project
        # What already stops leaves its room anyway.
        stopping = [each for each in self._running if each.order]
        experiments = [e for e in self._running if not e.request.production and not e.order]
        chosen: list[Job] = []
        for each in (None, *sorted(experiments, key=rank, reverse=True)):
            chosen += [each] if each is not None else []
            gone = {e.id for e in (*stopping, *chosen)}
            if self._fits_without(gone, project, need):
                self._stops = tuple(chosen)
                return

    def _fits_without(self, gone: set[int], project: str, need: Resources) -> bool:
        left = [job for job in self._running if job.id not in gone]
        starts = [(job.request.project, held) for job, held in self._starts]
        taken = [(job.request.project, job.held) for job in left] + starts
        machine = left_of(self._quotas.machine, (held_as_need(held) for _, held in taken))
        own = (held_as_need(held) for name, held in taken if name == project)
        quota = left_of(self._quotas.projects[project], own)
        return not machine.lacks(need) and not quota.lacks(need)
