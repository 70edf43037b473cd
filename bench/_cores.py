"""Which core runs what, and what a process and all its descendants have used and leave behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Cores:
    """The core of the service, and the core of all else: load, store and broker."""

    service: frozenset[int]
    others: frozenset[int]

    @property
    def apart(self) -> bool:
        """False on a machine with one core, where everything shares it."""
        return not self.service & self.others


def two_cores() -> Cores:
    """The first core that this process may use for the service, the last for all else."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(allowed[:1]), frozenset(allowed[-1:]))


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """This thread, and every process started meanwhile, runs on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class _Process:
    parent: int
    state: str
    seconds: float
    started: str  # an id may be given again; with the moment of the start it is unique


def family(pid: int) -> dict[int, str]:
    """A process and all that descend from it and have not ended: id and moment of its start."""
    found = _family(pid).items()
    return {each: process.started for each, process in found if process.state != "Z"}


def cpu_seconds(pid: int) -> float:
    """User and system time so far of a process, its descendants, and those that have ended."""
    return sum(process.seconds for process in _family(pid).values())


def end_all(members: Mapping[int, str]) -> None:
    """Kill what is left of processes that `family` saw, and wait until they are gone."""
    for pid in _left(members):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while _left(members) and time.monotonic() < deadline:
        time.sleep(0.02)


def _left(members: Mapping[int, str]) -> list[int]:
    return [
        pid
        for pid, started in members.items()
        if (found := _read(Path(f"/proc/{pid}"))) and found.started == started
        if found.state != "Z"
    ]


def _family(pid: int) -> dict[int, _Process]:
    everyone = {
        int(entry.name): process
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and (process := _read(entry))
    }
    children: dict[int, list[int]] = {}
    for each, process in everyone.items():
        children.setdefault(process.parent, []).append(each)
    found, waiting = {}, [pid]
    while waiting:
        each = waiting.pop()
        if each in everyone:
            found[each] = everyone[each]
            waiting += children.get(each, [])
    return found


def _read(entry: Path) -> _Process | None:
    """One process as proc(5) tells of it; None when it has ended."""
    try:
        fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    # Fields 14 to 17 of the page: user and system time, its own and of ended children.
    seconds = sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    return _Process(int(fields[1]), fields[0], seconds, fields[19])
