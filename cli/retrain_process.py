"""Starts `tidemill retrain` beside the worker, one at a time, and logs how it ended."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from tidemill.clock import Clock

STOP_SECONDS = 10.0
_log = structlog.get_logger()


class RetrainProcess:
    """The retrain that drift starts: a child process with this command line and environment.

    `stamp` is a file that remembers when one was started, so that a cool-down outlives the worker.
    `done` is told the exit code, from another thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        stamp: Path,
        clock: Clock,
        done: Callable[[int], None] = lambda code: None,
    ) -> None:
        self._command, self._environment = tuple(command), dict(environment)
        self._stamp, self._clock, self._done = stamp, clock, done
        self._child: subprocess.Popen[bytes] | None = None

    def last_started_ms(self) -> int | None:
        """When one was started last, by this or an earlier process; None when never."""
        try:
            return int(self._stamp.read_text())
        except (OSError, ValueError):
            return None

    def start(self, reason: str) -> bool:
        """Start one and return; False while one runs or when it cannot be started."""
        if self._child is not None and self._child.poll() is None:
            return False
        try:
            # A session of its own: Ctrl-C at the worker must not cut a publication in half.
            self._child = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            _log.error("retrain not started", command=self._command, error=str(error))
            return False
        self._remember()
        _log.info("retrain started", reason=reason, pid=self._child.pid)
        threading.Thread(target=self._wait, args=(self._child,), daemon=True).start()
        return True

    def stop(self) -> None:
        """End what still runs; a release is published whole or not at all, so nothing is left."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _wait(self, child: subprocess.Popen[bytes]) -> None:
        code = child.wait()
        log = _log.info if code == 0 else _log.warning
        log("retrain ended", exit_code=code, pid=child.pid)
        self._done(code)

    def _remember(self) -> None:
        self._stamp.parent.mkdir(parents=True, exist_ok=True)
        written = self._stamp.with_name(f"{self._stamp.name}.{os.getpid()}")
        written.write_text(str(self._clock.now_ms()))
        written.replace(self._stamp)
