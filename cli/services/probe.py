"""Ask a server on loopback whether it serves, in the few bytes its protocol needs."""

from __future__ import annotations

import socket
import struct

from cli.services.ports import LOOPBACK

_TIMEOUT_SECONDS = 1.0
_METADATA, _VERSION, _CORRELATION = 3, 1, 1
_NO_TOPICS = struct.pack(">i", 0)


def answers_ping(port: int) -> bool:
    """Whether a Redis-protocol server serves there (not while it loads its data).

    Raises OSError when nothing listens or no answer comes within a second.
    """
    with socket.create_connection((LOOPBACK, port), _TIMEOUT_SECONDS) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")


def answers_metadata(port: int) -> bool:
    """Whether a Kafka-protocol broker there names at least one live broker (Metadata, v1).

    An Apache Kafka node accepts connections before it has joined its own cluster; only then
    does the list hold it. Raises OSError when nothing listens or answers within a second.
    """
    client = b"tidemill"
    header = struct.pack(f">hhih{len(client)}s", _METADATA, _VERSION, _CORRELATION, 8, client)
    request = header + _NO_TOPICS
    with socket.create_connection((LOOPBACK, port), _TIMEOUT_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answer:
            head = answer.read(12)  # length, correlation id, number of brokers
    if len(head) < 12:
        return False
    _, correlation, brokers = struct.unpack(">iii", head)
    return bool(correlation == _CORRELATION and brokers > 0)
