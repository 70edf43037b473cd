"""Load over kept HTTP/1.1 connections, one request under way on each: closed and open loops.

A closed loop asks again as soon as it was answered, so its rate is what the service can do. An open
loop asks at moments fixed beforehand, evenly spaced, and counts from those: a request that waits
for a free connection, or for the service to come out of a pause, has waited (no coordinated
omission). One process drives more than 20 000 requests a second of one core.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import math
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import httptools
import numpy as np
from numpy.typing import NDArray

GRACE_SECONDS = 10.0
"""How long answers are waited for after the last request."""
_OK = 200
_MONOTONIC, _NONBLOCK, _CLOSE_ON_EXEC, _ABSOLUTE = 1, 0o4000, 0o2000000, 1  # <sys/timerfd.h>


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


class _Owner(Protocol):
    """The loop that a line belongs to."""

    def answered(self, line: _Line, status: int, now: float) -> None:
        """The line has its answer; status 0 when its connection was lost."""
        ...


class _Line(asyncio.Protocol):
    """One kept connection with at most one request under way."""

    __slots__ = ("_feed", "_owner", "_parser", "_parts", "_write", "body", "started", "transport")

    def __init__(self, owner: _Owner) -> None:
        self._owner = owner
        self._parts: list[bytes] = []
        self.body = b""
        self.started = 0.0
        """The moment from which what is under way counts; 0 when nothing is."""

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
            self._owner.answered(self, 0, perf_counter())


async def _connect(owner: _Owner, port: int, lines: int) -> list[_Line]:
    loop = asyncio.get_running_loop()
    return [
        (await loop.create_connection(lambda: _Line(owner), "127.0.0.1", port))[1]
        for _ in range(lines)
    ]


class _Closed:
    """Every line asks again as soon as it was answered, until the time is over."""

    def __init__(self, requests: Sequence[bytes], seconds: float) -> None:
        self._requests, self._seconds = requests, seconds
        self._next = self.failed = self._open = 0
        self.latencies: list[float] = []
        self.last = b""
        self.done = asyncio.get_running_loop().create_future()

    def start(self, lines: Sequence[_Line]) -> float:
        """Ask the first on every line; the moment when."""
        self._open = len(lines)
        now = perf_counter()
        self._until = now + self._seconds
        for line in lines:
            self._ask(line, now)
        return now

    def _ask(self, line: _Line, now: float) -> None:
        self._next = (self._next + 1) % len(self._requests)
        line.send(self._requests[self._next], now)

    def answered(self, line: _Line, status: int, now: float) -> None:
        """Count it and go on."""
        if status == _OK:
            self.latencies.append(now - line.started)
            if now < self._until:
                return self._ask(line, now)
        else:
            self.failed += 1
        if status and now < self._until:  # refused: the next may not be
            return self._ask(line, now)
        line.started = 0.0
        self.last = line.body if status == _OK else b""
        self._open -= 1
        if not self._open and not self.done.done():
            self.done.set_result(None)


class _Open:
    """Asks at evenly spaced moments, whatever the answers do."""

    def __init__(self, requests: Sequence[bytes], rate: float, seconds: float) -> None:
        self._requests, self._gap = requests, 1 / rate
        self._count = round(rate * seconds)
        self._sent = self._ended = self.failed = 0
        self._waiting: deque[float] = deque()
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.last = b""
        self.done = asyncio.get_running_loop().create_future()

    @property
    def unanswered(self) -> int:
        """Requests without an answer so far."""
        return self._count - self._ended

    def start(self, lines: Sequence[_Line], timer: Timer) -> float:
        """Begin a little later than now; the moment when."""
        self._free, self._timer = deque(lines), timer  # the longest unused first
        self._start = perf_counter() + 0.01
        timer.at(self._start)
        return self._start

    def fire(self) -> None:
        """Send what is due."""
        now = perf_counter()
        while self._sent < self._count:
            due = self._start + self._sent * self._gap
            if due > now:
                return self._timer.at(due)
            self._sent += 1
            self.late.append(now - due)
            if self._free:
                self._send(self._free.popleft(), due)
            else:
                self._waiting.append(due)

    def _send(self, line: _Line, due: float) -> None:
        line.send(self._requests[self._sent % len(self._requests)], due)

    def answered(self, line: _Line, status: int, now: float) -> None:
        """Count it; the line takes what waits longest, or waits itself."""
        if status == _OK:
            self.latencies.append(now - line.started)
            self.last = line.body
        else:
            self.failed += 1
        line.started = 0.0
        self._ended += 1
        if status and self._waiting:
            self._send(line, self._waiting.popleft())
        elif status:
            self._free.append(line)
        if self._ended == self._count and not self.done.done():
            self.done.set_result(None)


class Timer:
    """Calls back at a moment of `perf_counter`, to some microseconds; a loop's own timers are good
    to a millisecond only. Linux."""

    def __init__(self, fire: Callable[[], None]) -> None:
        self._fire, self._loop = fire, asyncio.get_running_loop()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.timerfd_create(_MONOTONIC, _NONBLOCK | _CLOSE_ON_EXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._loop.add_reader(self._descriptor, self._read)

    def at(self, moment: float) -> None:
        """Fire once then, or at once when it is past."""
        whole = int(moment)
        told = struct.pack("qqqq", 0, 0, whole, min(int((moment - whole) * 1e9), 999_999_999))
        if self._libc.timerfd_settime(self._descriptor, _ABSOLUTE, told, None):
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def _read(self) -> None:
        os.read(self._descriptor, 8)
        self._fire()

    def close(self) -> None:
        """Give it back."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


async def closed_loop(port: int, requests: Sequence[bytes], lines: int, seconds: float) -> Load:
    """Ask on so many lines at once for so long; the requests take turns."""
    owner = _Closed(requests, seconds)
    connected = await _connect(owner, port, lines)
    with _without_collections():
        started = owner.start(connected)
        await _settled(owner.done, seconds + GRACE_SECONDS)
        ended = perf_counter()
    unanswered = sum(1 for line in connected if line.started)
    await _close(connected)
    return _load(ended - started, owner, unanswered)


async def open_loop(  # noqa: PLR0913 - a load is told by these
    port: int, requests: Sequence[bytes], lines: int, rate: float, seconds: float
) -> Load:
    """Ask so many times a second, over at most so many lines at once.

    Each is used every second: a server closes those that say nothing for longer.
    """
    owner = _Open(requests, rate, seconds)
    connected = await _connect(owner, port, min(lines, math.ceil(rate)))
    timer = Timer(owner.fire)
    try:
        with _without_collections():
            started = owner.start(connected, timer)
            await _settled(owner.done, seconds + GRACE_SECONDS)
            ended = perf_counter()
    finally:
        timer.close()
    unanswered = owner.unanswered
    await _close(connected)
    return _load(ended - started, owner, unanswered)


async def ask(port: int, request: bytes) -> bytes:
    """The body of one request's answer, empty for any other than 200."""
    return (await closed_loop(port, [request], 1, 0.0)).last


def _load(seconds: float, owner: _Closed | _Open, unanswered: int) -> Load:
    late = owner.late if isinstance(owner, _Open) else []
    latencies = np.array(owner.latencies) * 1000
    failed = owner.failed + unanswered
    return Load(seconds, latencies, np.array(late) * 1000, failed, owner.last)


async def _settled(done: asyncio.Future[None], seconds: float) -> None:
    await asyncio.wait([done], timeout=seconds)


async def _close(lines: Sequence[_Line]) -> None:
    for line in lines:
        line.started = 0.0
        line.transport.abort()
    await asyncio.sleep(0)  # that they are gone before the loop is


@contextmanager
def _without_collections() -> Iterator[None]:
    """A pause of this process must not look like one of the service."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def http_request(path: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """A POST of JSON as it is sent."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{more}"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
