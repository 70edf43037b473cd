"""Bounds on how a caller sends a request: the head's size, and the time for head and body.

The server has neither; a caller that sends a byte now and then would hold a connection for ever.
Looking once a second costs a request nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import structlog

from api.http.hot import HotRoutes
from api.http.protocol import HotProtocol

SWEEP_SECONDS, HEAD_LIMIT_BYTES = 1.0, 32_768
TIMER_SECONDS = 0.001  # no timer of a loop is better
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a request may take to arrive, and how large its path, query and headers may be."""

    request_seconds: float = 10.0
    head_limit_bytes: int = HEAD_LIMIT_BYTES


class BoundedProtocol(HotProtocol):
    """A protocol that closes a connection whose head comes in pieces and grows too large.

    The piece in which a head begins may hold the end of another request, and is not counted: it is
    at most what the socket gives at once, 256 KiB.
    """

    head_limit_bytes = HEAD_LIMIT_BYTES
    _head_bytes = 0
    _answered = 0.0  # when, by the time of the loop

    def data_received(self, data: bytes) -> None:
        """What the socket gave."""
        before = self.scope
        super().data_received(data)
        if self.scope is before and self.scope is not None and self._head_is_coming():
            self._head_bytes += len(data)
            if self._head_bytes > self.head_limit_bytes and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()
        elif self._head_bytes:
            self._head_bytes = 0

    def _head_is_coming(self) -> bool:
        return self.cycle is None or self.cycle.scope is not self.scope

    def on_response_complete(self) -> None:
        """Wait for the next request.

        The timer that closes an idle connection is set anew only where what came took it away: to
        do so for each answer would cost more than to send it.
        """
        self._answered = self.loop.time()
        if self.timeout_keep_alive_task is None:
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for its time, or look again when it may have been."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing() or not self.cycle.response_complete:
            return  # an answer that is still to come sets the timer
        rest = self._answered + self.timeout_keep_alive - self.loop.time()
        if rest > TIMER_SECONDS:
            again = self.timeout_keep_alive_handler
            self.timeout_keep_alive_task = self.loop.call_later(rest, again)
        else:
            super().timeout_keep_alive_handler()


def bounded_protocol(bounds: Bounds, hot: HotRoutes | None = None) -> type[asyncio.Protocol]:
    """The protocol with this bound on heads, which answers these routes by a shorter way."""
    told = {"head_limit_bytes": bounds.head_limit_bytes, "hot": hot}
    return type("BoundedProtocol", (BoundedProtocol,), told)


class Patience:
    """Ends connections whose request has not arrived, or whose answer was not read, in time."""

    def __init__(self, connections: Collection[Any], seconds: float) -> None:
        self._connections, self._seconds = connections, seconds
        self._since: dict[tuple[Any, Any], float] = {}

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep(loop.time())

    def sweep(self, now: float) -> None:
        """End those that were waited for too long at `now` (seconds)."""
        waiting: dict[tuple[Any, Any], float] = {}
        for connection in list(self._connections):
            if not _waits_for_caller(connection):
                continue
            place = (connection, connection.cycle)
            began = waiting[place] = self._since.get(place, now)
            if now - began > self._seconds:
                _LOG.info("caller_too_slow", seconds=self._seconds)
                connection.transport.abort()
        self._since = waiting


def _waits_for_caller(connection: Any) -> bool:
    """True while a head or a body is awaited, or the caller does not read what it asked for.

    Uvicorn itself ends a connection that is idle.
    """
    cycle = connection.cycle
    if cycle is None or connection.flow.write_paused:
        return True
    if cycle.response_complete:
        return connection.timeout_keep_alive_task is None
    return bool(cycle.more_body)
