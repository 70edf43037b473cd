"""A small HTTP/1.1 client for driving load: kept connections, callbacks, no task per request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import httptools

from tidemill.errors import ServiceError

DEADLINE_SECONDS = 30.0
NO_ANSWER = 0


class Reply:
    """One answer; `status` is NO_ANSWER when the connection failed."""

    __slots__ = ("body", "milliseconds", "status")

    def __init__(self, status: int, body: bytes, milliseconds: float) -> None:
        self.status, self.body, self.milliseconds = status, body, milliseconds

    @property
    def good(self) -> bool:
        """True for 200 and 202."""
        return self.status in (200, 202)


class _Lane(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._transport: Any = None
        self._parser: Any = None
        self._parts: list[bytes] = []
        self._started = 0.0
        self.place: int | None = None

    @property
    def open(self) -> bool:
        """True while requests can be sent."""
        return self._transport is not None

    def send(self, place: int, request: bytes) -> None:
        """Send the request; its reply goes to the client."""
        self.place, self._started = place, perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport, self._parser = transport, httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._finish(NO_ANSWER)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._finish(self._parser.get_status_code())

    def _finish(self, status: int) -> None:
        place, self.place = self.place, None
        body = b"".join(self._parts)
        self._parts.clear()
        if place is not None:
            milliseconds = (perf_counter() - self._started) * 1000
            self._client.replied(self, place, Reply(status, body, milliseconds))


class HttpClient:
    """Sends batches of requests over several connections to one server."""

    def __init__(self, host: str, port: int, lanes: int) -> None:
        self._host, self._port = host, port
        self._lanes = [_Lane(self) for _ in range(lanes)]
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._replies: list[Reply | None] = []
        self._left = 0
        self._done: asyncio.Future[None] | None = None

    async def get(self, path: str) -> Reply:
        """One GET."""
        head = f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n"
        return (await self.exchange([head.encode()]))[0]

    async def post(self, path: str, bodies: Sequence[bytes]) -> list[Reply]:
        """POST each JSON body; the replies are in the bodies' order. Nothing is sent twice."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        return await self.exchange([b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in bodies])

    async def exchange(self, requests: Sequence[bytes]) -> list[Reply]:
        """Send whole requests, as many at a time as there are connections."""
        if self._left:
            raise RuntimeError("one exchange at a time")
        if not requests:
            return []
        await self._connect(min(len(requests), len(self._lanes)))
        self._waiting = deque(enumerate(requests))
        self._replies, self._left = [None] * len(requests), len(requests)
        self._done = asyncio.get_running_loop().create_future()
        for lane in self._lanes:
            self._feed(lane)
        self._give_up_without_lanes()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self._done
        except TimeoutError:
            self._waiting.clear()
            self.close()
        return [reply or Reply(NO_ANSWER, b"", 0.0) for reply in self._replies]

    def close(self) -> None:
        """Drop all connections."""
        self._left = 0
        for lane in self._lanes:
            lane.close()

    def replied(self, lane: _Lane, place: int, reply: Reply) -> None:
        """Called by a lane: keep the reply and give the lane its next request."""
        if self._left == 0:
            return
        self._replies[place] = reply
        self._left -= 1
        self._feed(lane)
        self._give_up_without_lanes()
        if self._left == 0 and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _feed(self, lane: _Lane) -> None:
        if self._waiting and lane.open and lane.place is None:
            lane.send(*self._waiting.popleft())

    def _give_up_without_lanes(self) -> None:
        if any(lane.open for lane in self._lanes):
            return
        self._left -= len(self._waiting)
        self._waiting.clear()
        if self._left == 0 and self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def _connect(self, wanted: int) -> None:
        loop = asyncio.get_running_loop()
        for lane in self._lanes[:wanted]:
            if not lane.open:
                try:
                    await loop.create_connection(lambda lane=lane: lane, self._host, self._port)  # type: ignore[misc]
                except OSError:
                    return


def require_ok(reply: Reply, what: str) -> bytes:
    """The body of a good answer. Raises ServiceError for any other."""
    if reply.status != 200:
        found = reply.body[:200].decode(errors="replace")
        raise ServiceError(f"{what}: found status {reply.status} {found}; allowed: 200")
    return reply.body
