"""Where a study is kept: a journal file that survives kill -9, or a database by its URL."""

from __future__ import annotations

import fcntl
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tidemill.errors import ServiceError

JOURNAL = "study.journal"
HEARTBEAT_SECONDS = 30
_ALIVE = ".alive"


class Journal:
    """A study's file, shared by processes of one machine.

    A worker holds a lock on a file of its own as long as it lives: the kernel lets go of it even
    when the process is killed, so that others see at once whose trials nobody finishes.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.worker = path, uuid.uuid4().hex
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _FileLock(path)
        self._alive = self._sign()
        self._drop_torn_line()

    def storage(self) -> Any:
        """The storage for Optuna; each thread may have one."""
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        lock: Any = _FileLock(self.path)
        return JournalStorage(JournalFileBackend(str(self.path), lock_obj=lock))

    def lives(self, worker: str) -> bool:
        """True when the worker of this name still runs."""
        if worker == self.worker:
            return True
        try:
            with open(self._file(worker), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._file(worker).unlink(missing_ok=True)
        return False

    def alone(self) -> bool:
        """True when no other worker runs."""
        files = self.path.parent.glob(f"{self.path.name}.*{_ALIVE}")
        names = [
            file.name.removeprefix(f"{self.path.name}.").removesuffix(_ALIVE) for file in files
        ]
        return not any(name != self.worker and self.lives(name) for name in names)

    def close(self) -> None:
        """Let go of it; the study stays."""
        self._file(self.worker).unlink(missing_ok=True)
        os.close(self._alive)

    def _file(self, worker: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{worker}{_ALIVE}")

    def _sign(self) -> int:
        descriptor = os.open(self._file(self.worker), os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def _drop_torn_line(self) -> None:
        """Cut off what a killed process wrote of a line: the next one would be glued to it."""
        if not self.path.exists():
            return
        self._lock.acquire()
        try:
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                os.truncate(self.path, whole)
        finally:
            self._lock.release()


class _FileLock:
    """Optuna's lock of a journal by flock: its own lock files outlive a killed process."""

    def __init__(self, path: Path) -> None:
        self._path, self._held = path.with_name(f"{path.name}.lock"), -1

    def acquire(self) -> bool:
        """Wait until it is ours."""
        held = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(held, fcntl.LOCK_EX)
        self._held = held
        return True

    def release(self) -> None:
        """Let others have it."""
        os.close(self._held)


def database(url: str) -> Any:
    """A database for processes of several machines. Raises ServiceError when it cannot be used.

    A trial whose process has not been heard of for long is run again by another one.
    """
    from optuna.storages import RDBStorage, RetryFailedTrialCallback

    try:
        return RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None,
            heartbeat_interval=HEARTBEAT_SECONDS,
            failed_trial_callback=RetryFailedTrialCallback(inherit_intermediate_values=False),
        )
    except Exception as error:  # whatever the database's driver raises
        raise ServiceError(f"--storage {url}: {error}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log and without its warnings of what is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            with suppress(Exception):
                optuna.logging.set_verbosity(before)
