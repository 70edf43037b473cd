"""Tells a command of the operator's own how a retrain or a job ended: TIDEMILL_NOTIFY.

The command gets one JSON object on its standard input and has a time limit. Whatever becomes of it
is logged and changes nothing: a pager that is down must not make a retrain look failed.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

LIMIT_SECONDS = 30.0
_POLL_SECONDS = 0.02
_log = structlog.get_logger()


def notify(command: str | None, result: Mapping[str, Any]) -> None:
    """Tell and wait for the command's end, at most its limit; nothing without a command."""
    hook = Hook(command)
    hook.tell(result)
    hook.finish()


class Hook:
    """Starts the command for each result, and ends those that take too long."""

    def __init__(self, command: str | None, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._command, self._limit = command, limit_seconds
        self._children: list[tuple[subprocess.Popen[bytes], float]] = []

    def tell(self, result: Mapping[str, Any]) -> None:
        """Start the command with this result and return."""
        if not self._command:
            return
        try:
            # A file, not a pipe: the command need not read it for us to go on.
            with tempfile.TemporaryFile() as told:
                told.write(json.dumps(result).encode())
                told.seek(0)
                child = subprocess.Popen(
                    shlex.split(self._command),
                    stdin=told,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:
            _log.error("notification failed", command=self._command, error=str(error))
            return
        self._children.append((child, time.monotonic() + self._limit))

    def look(self) -> bool:
        """Note what has ended and kill what is late; whether any still runs."""
        left = []
        for child, deadline in self._children:
            if child.poll() is None and time.monotonic() < deadline:
                left.append((child, deadline))
            else:
                self._end(child)
        self._children = left
        return bool(left)

    def finish(self) -> None:
        """Wait until all have ended or are late."""
        while self.look():
            time.sleep(_POLL_SECONDS)

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            _log.error("notification took too long", command=self._command, seconds=self._limit)
        elif child.returncode != 0:
            _log.error("notification failed", command=self._command, exit_code=child.returncode)
