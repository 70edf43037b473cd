"""Requests at moments fixed beforehand, however long the answers take: load that does not wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

import httptools

Answered = Callable[[object, int, bytes, float], None]
"""Is called with what was sent along, status (0: no answer), body, and milliseconds since due."""
NO_ANSWER = 0
GRACE_SECONDS = 30.0


class _Line(asyncio.Protocol):
    """One kept connection with at most one request under way."""

    def __init__(self, loop: OpenLoop) -> None:
        self._loop = loop
        self._parts: list[bytes] = []
        self._under_way: tuple[object, float] | None = None
        self._transport: Any = None
        self._parser: Any = None

    def send(self, what: object, request: bytes, due: float) -> None:
        """Send a request; its answer goes to the loop."""
        self._under_way = (what, due)
        self._transport.write(request)

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport, self._parser = transport, httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._end(NO_ANSWER)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._end(self._parser.get_status_code())

    def _end(self, status: int) -> None:
        body, found = b"".join(self._parts), self._under_way
        self._parts.clear()
        self._under_way = None
        if found is not None:
            self._loop.ended(self, found, status, body)


class OpenLoop:
    """Posts JSON to one path over so many connections; what finds none free waits, and is timed.

    Nothing is sent twice: a connection that is lost answers with status 0 and stays away.
    """

    def __init__(self, host: str, port: int, path: str, answered: Answered) -> None:
        self._host, self._port, self._answered = host, port, answered
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._lines: list[_Line] = []
        # The longest unused first: a server closes connections that say nothing for seconds.
        self._free: deque[_Line] = deque()
        self._waiting: deque[tuple[object, bytes, float]] = deque()
        self.sent = self.answered = 0

    async def open(self, lines: int) -> None:
        """Connect."""
        loop = asyncio.get_running_loop()
        for _ in range(lines):
            _, line = await loop.create_connection(lambda: _Line(self), self._host, self._port)
            self._lines.append(line)
        self._free = deque(self._lines)

    def post(self, what: object, body: bytes, due: float) -> None:
        """Send a body that was due at this moment of `perf_counter`."""
        self.sent += 1
        request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        if self._free:
            self._free.popleft().send(what, request, due)
        else:
            self._waiting.append((what, request, due))

    def ended(self, line: _Line, found: tuple[object, float], status: int, body: bytes) -> None:
        """A line has its answer, or none to expect any more."""
        what, due = found
        self.answered += 1
        if status != NO_ANSWER and self._waiting:
            line.send(*self._waiting.popleft())
        elif status != NO_ANSWER:
            self._free.append(line)
        self._answered(what, status, body, (perf_counter() - due) * 1000)

    async def close(self) -> None:
        """Wait for what is under way, then drop the connections."""
        deadline = perf_counter() + GRACE_SECONDS
        while self.answered < self.sent and perf_counter() < deadline:
            await asyncio.sleep(0.01)
        for line in self._lines:
            line.close()
