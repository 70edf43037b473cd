"""The claim on a data directory: one server at a time, for as long as that server lives."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from tidemill.errors import LockedError, ServiceError

# After a kill -9 the previous server needs a moment to go; a running one does not go at all.
LOCK_FILE = "lock"
_WAIT_SECONDS = 2.0
_POLL_SECONDS = 0.02


class DirectoryClaim:
    """An exclusive lock on a data directory.

    `descriptor` is handed to the server, which holds the lock by merely having it open: the
    directory stays claimed until the last process that writes there is gone, even when the one
    that took the claim was killed.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def release(self) -> None:
        """Give up this process's hold; calling it again does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def claim_directory(directory: Path, wait_seconds: float = _WAIT_SECONDS) -> DirectoryClaim:
    """Create `directory` if needed and claim it, waiting at most `wait_seconds`.

    Raises LockedError when another process holds it, ServiceError when it cannot be used.
    """
    lock_file = directory / LOCK_FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ServiceError(f"data directory {directory}: {error.strerror}") from error
    try:
        _lock(descriptor, directory, time.monotonic() + wait_seconds)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except BaseException:
        os.close(descriptor)
        raise
    return DirectoryClaim(descriptor)


def _lock(descriptor: int, directory: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockedError(_in_use(descriptor, directory)) from None
        except OSError as error:
            raise ServiceError(f"data directory {directory}: {error.strerror}") from error
        time.sleep(_POLL_SECONDS)


def _in_use(descriptor: int, directory: Path) -> str:
    holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    owner = f"process {holder}" if holder else "another process"
    return (
        f"data directory {directory} is in use, claimed by {owner}; "
        f"stop that process or choose another directory"
    )
