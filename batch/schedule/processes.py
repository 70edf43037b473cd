"""The processes of a job as the kernel tells of them (Linux; elsewhere none is found)."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from batch.schedule.job import Held

MARK = "TIDEMILL_JOB"
"""The variable by which every process of an attempt is known, whatever became of its parents."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PROC = Path("/proc")
_PARENT, _SESSION, _RSS = 1, 3, 21  # fields of /proc/PID/stat after the name in brackets (proc(5))
_PAGE = resource.getpagesize()


def memory_of(leader: int) -> int:
    """Bytes that a job's processes have in use together: the leader's session and offspring.

    torchrun gives each of its workers a session of its own; one whose parent is gone has its own
    session still.
    """
    resident, parents, ours = {}, {}, {leader}
    for process in _all():
        with suppress(OSError, ValueError, IndexError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            number = int(process.name)
            resident[number], parents[number] = int(fields[_RSS]) * _PAGE, int(fields[_PARENT])
            if int(fields[_SESSION]) == leader:
                ours.add(number)
    # Numbers wrap around, so a child's may be below its parent's: look until nothing is found.
    while found := {n for n, parent in parents.items() if parent in ours} - ours:
        ours |= found
    return sum(resident.get(number, 0) for number in ours)


def kill_marked(mark: str) -> int:
    """Kill every process of an attempt, also those that left its session; returns how many."""
    wanted, killed = f"{MARK}={mark}".encode(), 0
    for process in _all():
        with suppress(OSError):
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
    return killed


def signal_group(leader: int, number: int) -> None:
    """Signal a job's process group, if it is still there."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def has_ended(pid: int) -> bool:
    """Whether a child has ended; it stays a zombie, so that its number is nobody else's yet."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is not None


def limits(held: Held) -> Callable[[], None]:
    """To be called in the child before it becomes the command: its end with ours, and its limits.

    RLIMIT_DATA, not RLIMIT_AS: numba, torch, Arrow's pools and CUDA reserve many times the address
    space they ever write to. With a GPU not even that: its driver's mappings are not the job's.
    """
    on_linux, parent = sys.platform == "linux", os.getpid()
    # Loaded here, before the fork: between fork and exec the child must not take a lock.
    prctl = ctypes.CDLL(None, use_errno=True).prctl if on_linux else None
    bounded = held.memory_bytes is not None and not held.gpus
    most = held.memory_bytes or 0

    def in_child() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            # A parent that died before the call above will send no signal any more.
            if os.getppid() != parent:
                os._exit(1)
            if held.cores:
                os.sched_setaffinity(0, held.cores)
        if bounded:
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    return in_child


def _all() -> Iterator[Path]:
    with suppress(OSError):
        for entry in _PROC.iterdir():
            if entry.name.isdecimal():
                yield entry
