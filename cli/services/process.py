"""A child server process that never outlives its parent, even when that is killed with -9."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tidemill.errors import ServiceError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.002, 0.05
_LOG_LINES, _LOG_BYTES = 12, 8_192


@dataclass(frozen=True)
class Launch:
    """What to run, where, and how to know that it is ready.

    name: as users call the server, in every message
    arguments: the command line
    directory: its working directory
    log_file: receives stdout and stderr; the log of the start before is kept as `*.previous`
    environment: its whole environment
    ready: answers whether the server serves; may block for a second; an OSError means no
    start_seconds: how long it may take to become ready
    stop_seconds: how long it may take to end by itself before it is killed
    """

    name: str
    arguments: tuple[str, ...]
    directory: Path
    log_file: Path
    environment: Mapping[str, str]
    ready: Callable[[], bool] = lambda: True
    start_seconds: float = 10.0
    stop_seconds: float = 10.0


class ServerProcess:
    """One server as a child process, started once and stopped once.

    On Linux the kernel kills the child when the *thread* that started it ends, so only the main
    thread may start one. On other systems an orderly exit of the parent is what stops it.
    """

    def __init__(self, launch: Launch, keep_open: tuple[int, ...] = ()) -> None:
        """`keep_open`: file descriptors that the child inherits."""
        self.launch = launch
        self._keep_open = keep_open
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's process id; ServiceError when it was not started or was stopped."""
        if self._child is None:
            raise ServiceError(f"{self.launch.name} is not running")
        return self._child.pid

    def start(self) -> None:
        """Start the child and return once it is ready.

        Raises ServiceError, with the last lines of its log, when it ends or is not ready in time.
        """
        self._child = spawn(self.launch, self._keep_open)
        try:
            self._wait_until_ready(time.monotonic() + self.launch.start_seconds)
        except BaseException:
            self.stop()
            raise

    def require_running(self) -> None:
        """Raise ServiceError, with the last lines of its log, when the child has ended."""
        code = None if self._child is None else self._child.poll()
        if code is not None:
            raise failure(self.launch, f"ended by itself ({outcome(code)})")

    def stop(self) -> None:
        """End the child in order, or kill it after `stop_seconds`; nothing if it is gone."""
        child, self._child = self._child, None
        if child is None:
            return
        try:
            child.terminate()
            child.wait(self.launch.stop_seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Also when a second interrupt cuts the wait short: nothing may be left behind.
            child.kill()
            child.wait()

    def _wait_until_ready(self, deadline: float) -> None:
        pause = _FIRST_POLL_SECONDS
        while not self._is_ready():
            self._require_started()
            if time.monotonic() >= deadline:
                waited = f"{self.launch.start_seconds:g} s"
                raise failure(self.launch, f"was not ready after {waited}")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL_SECONDS)
        # Another program that took the port first would answer the probe just as well.
        self._require_started()

    def _is_ready(self) -> bool:
        try:
            return self.launch.ready()
        except OSError:
            return False

    def _require_started(self) -> None:
        code = None if self._child is None else self._child.poll()
        if code is not None:
            raise failure(self.launch, f"did not start ({outcome(code)})")


def run_to_end(launch: Launch, keep_open: tuple[int, ...] = ()) -> None:
    """Run a short command to its end; ServiceError when it fails or needs `start_seconds`."""
    child = spawn(launch, keep_open)
    try:
        code = child.wait(launch.start_seconds)
    except subprocess.TimeoutExpired:
        raise failure(launch, f"did not end after {launch.start_seconds:g} s") from None
    finally:
        child.kill()
        child.wait()
    if code != 0:
        raise failure(launch, f"failed ({outcome(code)})")


def spawn(launch: Launch, keep_open: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start the child, bound to the life of this process; ServiceError when it cannot start."""
    on_linux = sys.platform == "linux"
    if on_linux and threading.current_thread() is not threading.main_thread():
        raise ServiceError(
            f"{launch.name} must be started from the main thread: "
            f"the kernel ends it together with the thread that started it"
        )
    try:
        if launch.log_file.exists():
            launch.log_file.replace(launch.log_file.with_name(launch.log_file.name + ".previous"))
        with launch.log_file.open("wb") as log:
            return subprocess.Popen(
                launch.arguments,
                cwd=launch.directory,
                env=dict(launch.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=keep_open,
                # Ctrl-C reaches the whole terminal group; the parent decides the order of ends.
                start_new_session=True,
                preexec_fn=die_with(os.getpid()) if on_linux else None,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceError(f"{launch.name} cannot be started: {error}") from error


def failure(launch: Launch, what: str) -> ServiceError:
    """The error "`name` `what`", with the end of the child's log."""
    lines = last_lines(launch.log_file)
    if not lines:
        return ServiceError(f"{launch.name} {what}; its log {launch.log_file} is empty")
    excerpt = "".join(f"\n  {line}" for line in lines)
    return ServiceError(f"{launch.name} {what}; the end of {launch.log_file}:{excerpt}")


def outcome(code: int) -> str:
    """How a child ended, in words, from the code that its parent sees."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def last_lines(log_file: Path) -> list[str]:
    """The last lines of a log file; none when it cannot be read."""
    try:
        with log_file.open("rb") as log:
            log.seek(max(0, log_file.stat().st_size - _LOG_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-_LOG_LINES:]


def die_with(parent: int, number: int = signal.SIGKILL) -> Callable[[], None]:
    """What a child does before it begins, so that the kernel signals it when its parent is gone."""
    # Loaded here, before the fork: between fork and exec the child must not take a lock.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]
    prctl.restype = ctypes.c_int

    def in_child() -> None:
        if prctl(_PR_SET_PDEATHSIG, number) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        # A parent that died before the call above will send no signal any more.
        if os.getppid() != parent:
            os._exit(1)

    return in_child
