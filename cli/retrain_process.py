"""The retrain that drift starts: by the scheduler if one runs, else beside the worker."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import structlog

from tidemill.clock import Clock
from tidemill.errors import ServiceError

STOP_SECONDS, QUEUE_SECONDS = 10.0, 0.5
_log = structlog.get_logger()


class RetrainProcess:
    """A child process with this command line and environment, one at a time, its end logged.

    `stamp` is a file that remembers when one was started, so that a cool-down outlives the worker.
    `enqueue` is asked first: True says that a scheduler sees to it. `done` is told the exit code of
    a child, from another thread.
    """

    def __init__(  # noqa: PLR0913  what to run, and who hears of it
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        stamp: Path,
        clock: Clock,
        done: Callable[[int], None] = lambda code: None,
        enqueue: Callable[[str], bool] = lambda reason: False,
    ) -> None:
        self._enqueue = enqueue
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
        if self._enqueue(reason):
            self._remember()
            return True
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


def queue_for(project: str, home: Path, clock: Clock) -> Callable[[str], bool]:
    """What puts a retrain into the queue of the home's scheduler.

    It answers False where no scheduler runs, where it does not know the project, or where the
    queue cannot be written; True also where such a retrain waits already.
    """

    def enqueue(reason: str) -> bool:
        from batch.schedule.queue import JobQueue, scheduler_runs

        if not scheduler_runs(home):
            return False
        try:
            # The worker's loop waits for this call.
            with closing(JobQueue(home, QUEUE_SECONDS)) as queue:
                request = queue.projects().get(project)
                if request is None:
                    _log.warning("the scheduler knows no such project", project=project)
                    return False
                job = queue.add_if_none_waits(request, "drift", clock.now_ms())
        except ServiceError as error:
            _log.error("retrain not queued", error=str(error))
            return False
        _log.info("retrain queued", reason=reason, job=job.id if job else "one waits already")
        return True

    return enqueue
