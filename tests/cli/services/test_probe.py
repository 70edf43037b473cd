"""The probes against servers that answer something else."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cli.services.ports import free_port
from cli.services.probe import answers_metadata, answers_ping


@contextmanager
def server_that_says(answer: bytes) -> Iterator[int]:
    """A server that sends `answer` to its first client and closes; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("probe", "answer", "expected"),
    [
        (answers_ping, b"+PONG\r\n", True),
        (answers_ping, b"-LOADING the data\r\n", False),
        (answers_ping, b"", False),
        (answers_metadata, struct.pack(">iii", 8, 1, 1), True),
        (answers_metadata, struct.pack(">iii", 8, 1, 0), False),
        (answers_metadata, struct.pack(">iii", 8, 2, 1), False),
        (answers_metadata, b"HTTP/1.1 400 Bad Request\r\n", False),
        (answers_metadata, b"", False),
    ],
)
def test_only_a_server_that_serves_counts(
    probe: Callable[[int], bool], answer: bytes, expected: bool
) -> None:
    """A server still loading, without a broker, or of another kind is not ready."""
    with server_that_says(answer) as port:
        assert expected == probe(port)


@pytest.mark.parametrize("probe", [answers_ping, answers_metadata])
def test_nobody_listening_is_an_os_error(probe: Callable[[int], bool]) -> None:
    """A port without a listener raises OSError."""
    with pytest.raises(OSError):
        probe(free_port())
