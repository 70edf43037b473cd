"""Several processes of one service: started, watched, started again, and ended together.

They share their port: each has a listening socket of its own on it (SO_REUSEPORT), and the kernel
gives each of them its part of the connections. Nothing else is shared.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog

from cli.services.process import die_with, outcome

_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait before one that ended is started again, and for one that is to end.

    The wait doubles with each end that comes within `settled_seconds` of the start. Who is told to
    end has `drain_seconds` for what is under way.
    """

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    settled_seconds: float = 60.0
    drain_seconds: float = 40.0

    def wait(self, early_ends: int) -> float:
        """Seconds to wait after so many early ends in a row."""
        return min(self.first_seconds * 2.0 ** min(early_ends, 32), self.longest_seconds)


@dataclass(frozen=True, slots=True)
class Group:
    """What is run: the command of process 0, 1, …, how many of them, and their environment.

    A command gets a file descriptor too; its process writes a byte to it once it serves.
    """

    command: Callable[[int, int], Sequence[str]]
    count: int
    environment: Mapping[str, str]


class Supervisor:
    """Keeps the processes of a group running until it is told to stop. Main thread only."""

    def __init__(
        self, group: Group, policy: RestartPolicy, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._group, self._policy, self._now = group, policy, now
        self._stopping, self._served = asyncio.Event(), asyncio.Event()
        self._running: dict[int, Process] = {}

    async def run(self) -> int:
        """Run them until `stop`; returns the exit code for this process.

        The first is started before the others: what keeps it from serving, such as a mistake in the
        project, would keep them as well; then it is said once, and its exit code is ours.
        """
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(self._keep(0))
            serves = tasks.create_task(self._served.wait())
            await asyncio.wait((first, serves), return_when=asyncio.FIRST_COMPLETED)
            if first.done():
                serves.cancel()
                return first.result()
            others = [tasks.create_task(self._keep(n)) for n in range(1, self._group.count)]
        return max(task.result() for task in (first, *others))

    def stop(self) -> None:
        """Tell all of them to end; `run` returns when they have. Never blocks."""
        self._stopping.set()
        for process in self._running.values():
            _tell_to_end(process)

    async def _keep(self, number: int) -> int:
        """Run one, again and again; the exit code it ended with for good."""
        early_ends = 0
        while True:
            began = self._now()
            code = await self._run_once(number)
            if self._stopping.is_set() or not self._served.is_set():
                return _exit_code(code, self._stopping.is_set())
            settled = self._now() - began >= self._policy.settled_seconds
            early_ends = 0 if settled else early_ends + 1
            wait = self._policy.wait(early_ends)
            _LOG.error("process_ended", process=number, outcome=outcome(code), restart_seconds=wait)
            if await self._told_to_stop_within(wait):
                return 0

    async def _run_once(self, number: int) -> int:
        """Start one and wait for its end; its exit code, 1 for one that cannot be started."""
        with self._heard(number) as speaking:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._group.command(number, speaking),
                    env=dict(self._group.environment),
                    stdin=DEVNULL,
                    pass_fds=(speaking,),
                    # Ctrl-C reaches the whole terminal group; here the order of ends is decided.
                    start_new_session=True,
                    # Left behind it would hold the port against whoever comes next.
                    preexec_fn=die_with(os.getpid(), signal.SIGTERM),
                )
            except (OSError, subprocess.SubprocessError) as error:
                _LOG.error("process_not_started", process=number, error=str(error))
                return 1
            self._running[number] = process
            if self._stopping.is_set():  # told while it was being started
                _tell_to_end(process)
            try:
                return await self._end_of(process)
            finally:
                del self._running[number]

    async def _end_of(self, process: Process) -> int:
        """Its exit code; once told to stop it has a limited time."""
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await asyncio.wait((ended,), timeout=self._policy.drain_seconds)
        if not ended.done():
            _LOG.error("process_killed", pid=process.pid, seconds=self._policy.drain_seconds)
            process.kill()
        return await ended

    async def _told_to_stop_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        return False

    @contextmanager
    def _heard(self, number: int) -> Iterator[int]:
        """What a process writes to, once it serves, and we listen to."""
        listening, speaking = os.pipe()
        loop = asyncio.get_running_loop()

        def hear() -> None:
            loop.remove_reader(listening)
            if os.read(listening, 1):
                _LOG.info("process_serves", process=number)
                self._served.set()

        loop.add_reader(listening, hear)
        try:
            yield speaking
        finally:
            loop.remove_reader(listening)
            os.close(listening)
            os.close(speaking)


def _tell_to_end(process: Process) -> None:
    with suppress(ProcessLookupError):  # it has ended, and nobody has asked yet
        process.terminate()


def _exit_code(code: int, told: bool) -> int:
    """What this process ends with; who was told to end before it listened to signals did so."""
    if told and code == -signal.SIGTERM:
        return 0
    return code if code >= 0 else 1
