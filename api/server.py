"""Run the app on a socket: bind first, serve until SIGTERM or SIGINT, then end cleanly."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tidemill.errors import ServiceError

_BACKLOG = 2048
_GRACE_SECONDS = 10


class _Server(uvicorn.Server):
    """Uvicorn without its signal handling, which ends the process by the signal it caught."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `serve`."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ServiceError naming the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        used = error.errno == errno.EADDRINUSE
        found = "in use by another process" if used else error.strerror
        raise ServiceError(f"port {port} on {host}: {found}; allowed: a free port") from None
    return listener


async def serve(app: Any, host: str, port: int) -> None:
    """Serve until a signal; returns when open requests are finished and the app has shut down.

    Raises ServiceError when the port cannot be had or the app did not start.
    """
    await serve_on(app, bind(host, port))


async def serve_on(app: Any, listener: socket.socket) -> None:
    """`serve` on a socket that already listens (and is closed at the end)."""
    config = uvicorn.Config(
        app, http="httptools", ws="none", lifespan="on", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, date_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )  # fmt: skip
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    try:
        await server.serve(sockets=[listener])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        listener.close()
    if not server.started:
        raise ServiceError("the api did not start; its log says why")
