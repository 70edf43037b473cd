"""Runs jobs as child processes of the scheduler, which do not outlive it.

A job that lost its scheduler could not tell anyone how it ended, and a second one might start
beside it. So the kernel kills it with the scheduler, and what it had done so far is its own to find
again: every stage of a retrain is resumable. What its own children left behind is found by the mark
in their environment.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batch.schedule.processes import (
    MARK,
    has_ended,
    kill_marked,
    limits,
    memory_of,
    signal_group,
)
from batch.schedule.runner import Cut, End, Launch
from tidemill.errors import ServiceError

GRACE_SECONDS = 20.0
MEMORY_SECONDS = 1.0
_POLL_SECONDS = 0.05


@dataclass(slots=True)
class _Child:
    """One attempt that runs; times are those of the passed `elapsed`."""

    launch: Launch
    process: subprocess.Popen[bytes]
    began: float
    looked: float
    cut: Cut = ""
    kill_at: float | None = None


class LocalRunner:
    """Starts children from the main thread only: the kernel binds their life to that thread.

    `elapsed` gives seconds from anywhere on, and never jumps.
    """

    def __init__(
        self, elapsed: Callable[[], float] = time.monotonic, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._elapsed, self._grace = elapsed, grace_seconds
        self._children: dict[int, _Child] = {}

    def start(self, launch: Launch) -> str:
        """See `Runner`."""
        try:
            launch.log.parent.mkdir(parents=True, exist_ok=True)
            with launch.log.open("ab") as log:
                process = subprocess.Popen(
                    launch.command,
                    env={**launch.environment, MARK: launch.mark},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # its own group, to be ended as a whole
                    preexec_fn=limits(launch.held),
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise ServiceError(f"{launch.command[0]} cannot be started: {error}") from error
        now = self._elapsed()
        self._children[launch.number] = _Child(launch, process, now, now)
        return f"process {process.pid}"

    def ended(self) -> list[End]:
        """See `Runner`; also where limits are watched."""
        now, found = self._elapsed(), []
        for number, child in list(self._children.items()):
            self._watch(child, now)
            if has_ended(child.process.pid):
                found.append(self._reap(number))
        return found

    def stop(self, number: int, cut: Cut) -> None:
        """See `Runner`: SIGTERM to the whole group, SIGKILL when that does not help."""
        child = self._children.get(number)
        if child is not None and not child.cut:
            self._stop(child, cut)

    def recover(self, launches: Sequence[Launch]) -> set[int]:
        """See `Runner`; the kernel killed them, so only what they left behind is ended."""
        for launch in launches:
            kill_marked(launch.mark)
        return set()

    def close(self) -> list[End]:
        """See `Runner`."""
        for number in self._children:
            self.stop(number, "stopped")
        found = []
        while self._children:
            found += self.ended()
            time.sleep(_POLL_SECONDS)
        return found

    def _stop(self, child: _Child, cut: Cut) -> None:
        child.cut, child.kill_at = cut, self._elapsed() + self._grace
        signal_group(child.process.pid, signal.SIGTERM)

    def _watch(self, child: _Child, now: float) -> None:
        """Stop what takes too long or too much, and kill what does not stop."""
        limit_ms, most = child.launch.time_limit_ms, child.launch.held.memory_bytes
        if child.kill_at is not None:
            if now >= child.kill_at:
                signal_group(child.process.pid, signal.SIGKILL)
        elif limit_ms is not None and now - child.began >= limit_ms / 1000:
            self._stop(child, "timed out")
        elif most is not None and now - child.looked >= MEMORY_SECONDS:
            child.looked = now
            if memory_of(child.process.pid) > most:
                # There is no time to be polite: what it takes is another's.
                child.cut = "out of memory"
                signal_group(child.process.pid, signal.SIGKILL)

    def _reap(self, number: int) -> End:
        child = self._children.pop(number)
        # Before its number is given back: nobody else's group can have it.
        signal_group(child.process.pid, signal.SIGKILL)
        kill_marked(child.launch.mark)
        code = child.process.wait()
        # What ended well just before it was to be stopped, ended well.
        return End(number, code, "" if code == 0 else child.cut)
