"""Requests at moments fixed beforehand, however long the answers take: load that does not wait.

Latencies count from the intended moment: a request that waits for a free connection, or for the
service to come out of a pause, has waited (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import struct
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from bench._load import (
    GRACE_SECONDS,
    NO_ANSWER,
    OK,
    Line,
    Load,
    connect,
    disconnect,
    without_collections,
)

Answered = Callable[[Any, int, bytes, float], None]
"""Is called with what was sent along, status (0: no answer), body, and milliseconds since due."""
_PATIENCE_SECONDS = 30.0
_MONOTONIC, _NONBLOCK, _CLOSE_ON_EXEC, _ABSOLUTE = 1, 0o4000, 0o2000000, 1  # <sys/timerfd.h>


class OpenLoop:
    """Sends over so many connections; what finds none free waits, and is timed.

    Nothing is sent twice: a connection that is lost answers with status 0 and stays away.
    """

    def __init__(self, port: int, answered: Answered) -> None:
        self._port, self._answered = port, answered
        self._lines: list[Line] = []
        # The longest unused first: a server closes connections that say nothing for seconds.
        self._free: deque[Line] = deque()
        self._waiting: deque[tuple[Any, bytes, float]] = deque()
        self.sent = self.ended = 0

    async def open(self, lines: int) -> None:
        """Connect."""
        self._lines = await connect(self, self._port, lines)
        self._free = deque(self._lines)

    def post(self, what: Any, request: bytes, due: float) -> None:
        """Send a request that was due at this moment of `perf_counter`."""
        self.sent += 1
        if line := self._free_line():
            self._send(line, what, request, due)
        else:
            self._waiting.append((what, request, due))

    def _free_line(self) -> Line | None:
        """The longest unused of those that the server has not closed since."""
        while self._free:
            line = self._free.popleft()
            if not line.transport.is_closing():
                return line
        return None

    def _send(self, line: Line, what: Any, request: bytes, due: float) -> None:
        line.what = what
        line.send(request, due)

    def answered(self, line: Line, status: int, now: float) -> None:
        """A line has its answer, or none to expect any more; it takes what waits longest."""
        what, body, taken = line.what, line.body, (now - line.started) * 1000
        line.started = 0.0
        self.ended += 1
        if status == NO_ANSWER:
            body = b""
        elif self._waiting:
            self._send(line, *self._waiting.popleft())
        else:
            self._free.append(line)
        self._answered(what, status, body, taken)

    async def close(self) -> None:
        """Wait for what is under way, then drop the connections."""
        deadline = perf_counter() + _PATIENCE_SECONDS
        while self.ended < self.sent and perf_counter() < deadline:
            await asyncio.sleep(0.01)
        await self.drop()

    async def drop(self) -> None:
        """Drop the connections, whatever is under way."""
        await disconnect(self._lines)


class _Plan:
    """So many requests at evenly spaced moments, in turns, and what became of them."""

    def __init__(self, requests: Sequence[bytes], rate: float, seconds: float) -> None:
        self._requests, self._gap, self._count = requests, 1 / rate, round(rate * seconds)
        self.sent = self.ended = self.failed = 0
        self.latencies_ms: list[float] = []
        self.late: list[float] = []
        self.last = b""
        self.done = asyncio.get_running_loop().create_future()

    @property
    def unanswered(self) -> int:
        """Requests without an answer so far."""
        return self._count - self.ended

    def start(self, post: Callable[[Any, bytes, float], None], timer: Timer) -> float:
        """Begin a little later than now; the moment when."""
        self._post, self._timer = post, timer
        self._start = perf_counter() + 0.01
        timer.at(self._start)
        return self._start

    def fire(self) -> None:
        """Send what is due."""
        now = perf_counter()
        while self.sent < self._count:
            due = self._start + self.sent * self._gap
            if due > now:
                return self._timer.at(due)
            self.sent += 1
            self.late.append(now - due)
            self._post(None, self._requests[self.sent % len(self._requests)], due)

    def note(self, _: Any, status: int, body: bytes, milliseconds: float) -> None:
        """Count an answer."""
        if status == OK:
            self.latencies_ms.append(milliseconds)
            self.last = body
        else:
            self.failed += 1
        self.ended += 1
        if self.ended == self._count and not self.done.done():
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


async def open_loop(  # noqa: PLR0913 - a load is told by these
    port: int, requests: Sequence[bytes], lines: int, rate: float, seconds: float
) -> Load:
    """Ask so many times a second, over at most so many lines at once.

    Each is used every second: a server closes those that say nothing for longer.
    """
    plan = _Plan(requests, rate, seconds)
    loop = OpenLoop(port, plan.note)
    await loop.open(min(lines, math.ceil(rate)))
    timer = Timer(plan.fire)
    try:
        with without_collections():
            started = plan.start(loop.post, timer)
            await asyncio.wait([plan.done], timeout=seconds + GRACE_SECONDS)
            ended = perf_counter()
    finally:
        timer.close()
    failed = plan.failed + plan.unanswered
    await loop.drop()
    latencies, late = np.array(plan.latencies_ms), np.array(plan.late) * 1000
    return Load(ended - started, latencies, late, failed, plan.last)
