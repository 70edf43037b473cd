"""Load over kept HTTP/1.1 connections, one request under way on each: what is found, closed loops.

A closed loop asks again as soon as it was answered, so its rate is what the service can do. One
process drives more than 20 000 requests a second of one core. Open loops are in `_open_loop.py`.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import httptools
import numpy as np
from numpy.typing import NDArray

GRACE_SECONDS = 10.0
"""How long answers are waited for after the last request."""
OK, NO_ANSWER = 200, 0


@dataclass(frozen=True)
class Load:
    """What a loop found.

    `latencies_ms` of what was answered with 200, closed loops from the sending, open ones from the
    intended moment; `late_ms` how far the generator itself was behind its plan with each request
    (open loops); `failed` other answers, lost connections and what was never answered.
    """

    seconds: float
    latencies_ms: NDArray[np.float64]
    late_ms: NDArray[np.float64]
    failed: int
    last: bytes

    @property
    def per_second(self) -> float:
        """Requests answered with 200 in a second."""
        return len(self.latencies_ms) / self.seconds

    def percentile(self, share: float) -> float:
        """A percentile of the latencies in ms; NaN where nothing was answered."""
        return float(np.percentile(self.latencies_ms, share)) if len(self.latencies_ms) else np.nan


class Owner(Protocol):
    """The loop that a line belongs to."""

    def answered(self, line: Line, status: int, now: float) -> None:
        """The line has its answer; `NO_ANSWER` when its connection was lost."""
        ...


class Line(asyncio.Protocol):
    """One kept connection with at most one request under way."""

    __slots__ = (
        "_feed", "_owner", "_parser", "_parts", "_write", "body", "started", "transport", "what",
    )  # fmt: skip

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parts: list[bytes] = []
        self.body = b""
        self.started = 0.0
        """The moment from which what is under way counts; 0 when nothing is."""
        self.what: Any = None
        """For the owner, to know what that is."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self._write = transport, transport.write
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def send(self, request: bytes, started: float) -> None:
        """Ask; the answer goes to the owner."""
        self.started = started
        self._write(request)

    def data_received(self, data: bytes) -> None:
        self._feed(data)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        now, status = perf_counter(), self._parser.get_status_code()
        self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._owner.answered(self, status, now)

    def connection_lost(self, error: Exception | None) -> None:
        if self.started:
            self._owner.answered(self, NO_ANSWER, perf_counter())


async def connect(owner: Owner, port: int, lines: int) -> list[Line]:
    """So many connections to a port of this machine."""
    loop = asyncio.get_running_loop()
    return [
        (await loop.create_connection(lambda: Line(owner), "127.0.0.1", port))[1]
        for _ in range(lines)
    ]


async def disconnect(lines: Sequence[Line]) -> None:
    """Drop them; what is under way is not answered any more."""
    for line in lines:
        line.started = 0.0
        line.transport.abort()
    await asyncio.sleep(0)  # that they are gone before the loop is


@contextmanager
def without_collections() -> Iterator[None]:
    """A pause of this process must not look like one of the service."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Closed:
    """Every line asks again as soon as it was answered, until the time is over."""

    def __init__(self, requests: Sequence[bytes], seconds: float) -> None:
        self._requests, self._seconds = requests, seconds
        self._next = self.failed = self._open = 0
        self.latencies: list[float] = []
        self.last = b""
        self.done = asyncio.get_running_loop().create_future()

    def start(self, lines: Sequence[Line]) -> float:
        """Ask the first on every line; the moment when."""
        self._open = len(lines)
        now = perf_counter()
        self._until = now + self._seconds
        for line in lines:
            self._ask(line, now)
        return now

    def _ask(self, line: Line, now: float) -> None:
        self._next = (self._next + 1) % len(self._requests)
        line.send(self._requests[self._next], now)

    def answered(self, line: Line, status: int, now: float) -> None:
        """Count it and go on."""
        if status == OK:
            self.latencies.append(now - line.started)
            if now < self._until:
                return self._ask(line, now)
        else:
            self.failed += 1
        if status != NO_ANSWER and now < self._until:  # refused: the next may not be
            return self._ask(line, now)
        line.started = 0.0
        self.last = line.body if status == OK else b""
        self._open -= 1
        if not self._open and not self.done.done():
            self.done.set_result(None)


async def closed_loop(port: int, requests: Sequence[bytes], lines: int, seconds: float) -> Load:
    """Ask on so many lines at once for so long; the requests take turns."""
    owner = _Closed(requests, seconds)
    connected = await connect(owner, port, lines)
    with without_collections():
        started = owner.start(connected)
        await asyncio.wait([owner.done], timeout=seconds + GRACE_SECONDS)
        ended = perf_counter()
    unanswered = sum(1 for line in connected if line.started)
    await disconnect(connected)
    latencies = np.array(owner.latencies) * 1000
    return Load(ended - started, latencies, np.empty(0), owner.failed + unanswered, owner.last)


async def ask(port: int, request: bytes) -> bytes:
    """The body of one request's answer, empty for any other than 200."""
    return (await closed_loop(port, [request], 1, 0.0)).last


def http_request(path: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """A POST of JSON as it is sent."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{more}"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
