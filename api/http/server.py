"""Run the app on a socket: bind first, serve until SIGTERM or SIGINT, then end cleanly."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from api.http.patience import Bounds, Patience, bounded_protocol
from tidemill.errors import ServiceError

_BACKLOG = 2048
_GRACE_SECONDS = 10


class _Server(uvicorn.Server):
    """Uvicorn without its signal handling, which ends the process by the signal it caught."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._listening()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `serve`."""
        yield


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ServiceError naming the port.

    A `shared` one does not listen yet: other processes have sockets on the same port, and the
    kernel would give it connections before there is anybody to answer them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        if not shared:
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


async def serve_on(
    app: Any,
    listener: socket.socket,
    listening: Callable[[], None] = lambda: None,
    *,
    admin: socket.socket | None = None,
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
) -> None:
    """`serve` on a socket of `bind` (which is closed at the end); says when it is `listening`.

    `admin` is the socket of the admin port, where there is one. What an app has as `hot` is
    answered without ASGI.
    """
    protocol = bounded_protocol(bounds, getattr(app, "hot", None))
    config = uvicorn.Config(
        app, http=protocol, ws="none", lifespan="on", log_config=None,
        access_log=False, proxy_headers=False, server_header=False, date_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS, backlog=_BACKLOG,
    )  # fmt: skip
    server, sockets = _Server(config, listening), [listener, *([admin] if admin else [])]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    patience = Patience(server.server_state.connections, bounds.request_seconds)
    sweeping = loop.create_task(patience.run(), name="slow callers")
    try:
        with suppress(SystemExit):  # of an app that did not start: said below, as all else is
            await server.serve(sockets=sockets)
    finally:
        sweeping.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        for each in sockets:
            each.close()
    if not server.started:
        raise ServiceError("the api did not start; its log says why")
