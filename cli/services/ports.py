"""Loopback ports: find a free one, and say clearly when a requested one is taken."""

from __future__ import annotations

import errno
import random
import socket

from tidemill.errors import ServiceError

LOOPBACK = "127.0.0.1"
# Below Linux's default range for outgoing connections (32768-60999): no client can hold such a
# port by chance, and polling one that nobody listens on cannot connect to itself.
_FIRST_PORT, _LAST_PORT = 20_000, 32_000
_TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now; OSError when it may never."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a connection of an earlier run still closing is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def free_port() -> int:
    """A loopback port nobody listens on now; another program may still take it first."""
    for port in random.sample(range(_FIRST_PORT, _LAST_PORT), _TRIES):
        if is_free(port):
            return port
    raise ServiceError(
        f"no free port: tried {_TRIES} between {_FIRST_PORT} and {_LAST_PORT} on {LOOPBACK}"
    )


def require_free(name: str, port: int) -> None:
    """Raise ServiceError, naming the port and what to do, unless `name` can listen on it."""
    if not 0 < port < 65_536:
        raise ServiceError(f"{name}: port: found {port}; allowed: 1 to 65535")
    try:
        free = is_free(port)
    except OSError as error:
        raise ServiceError(
            f"{name} cannot listen on {LOOPBACK}:{port}: {error.strerror}; choose another port"
        ) from error
    if not free:
        raise ServiceError(
            f"{name} cannot listen on {LOOPBACK}:{port}: another program uses this port; "
            f"stop that program (`ss -ltnp` shows it) or choose another port"
        )
