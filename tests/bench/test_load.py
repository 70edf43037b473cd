"""The load generators: what is counted, and from when."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from time import perf_counter

import numpy as np

from bench._load import Load, ask, closed_loop, http_request
from bench._open_loop import OpenLoop, open_loop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
REQUEST = http_request("/score", b"{}")


class _Server(asyncio.Protocol):
    """Gives the n-th request of all its connections its answer, once it is opened."""

    def __init__(self, answer: Callable[[], bytes], opened: asyncio.Future[None] | None) -> None:
        self._answer, self._opened = answer, opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert data == REQUEST
        mine = self._answer()
        if self._opened is None:
            self._give(mine)
        else:
            self._opened.add_done_callback(lambda _: self._give(mine))

    def _give(self, answer: bytes) -> None:
        if answer:
            self._transport.write(answer)
        else:
            self._transport.close()


@asynccontextmanager
async def serving(
    answer: Callable[[int], bytes], opened: asyncio.Future[None] | None = None
) -> AsyncIterator[int]:
    """A server on loopback; its port. An answer of nothing hangs up."""
    numbers = count(1)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Server(lambda: answer(next(numbers)), opened), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


def counts(load: Load) -> tuple[int, int]:
    """Answered and failed."""
    return len(load.latencies_ms), load.failed


async def test_an_answer_is_read_whatever_its_form() -> None:
    """With a length or in chunks; any other status than 200 gives nothing."""
    found = []
    for answer in (OK, CHUNKED, REFUSED):
        async with serving(lambda _, answer=answer: answer) as port:
            found.append(await ask(port, REQUEST))
    assert [b"{}", b"{}", b""] == found


async def test_a_closed_loop_counts_every_answer() -> None:
    """As many as the server gave, over several lines."""
    given = 0

    def answer(number: int) -> bytes:
        nonlocal given
        given = number
        return OK

    async with serving(answer) as port:
        load = await closed_loop(port, [REQUEST], 4, 0.05)
    assert ((given, 0), True, 0) == (counts(load), load.per_second > 0, len(load.late_ms))


async def test_an_open_loop_sends_what_it_was_told() -> None:
    """So many, each counted once, and refusals as failures."""
    async with serving(lambda number: REFUSED if number % 10 == 0 else OK) as port:
        load = await open_loop(port, [REQUEST], 8, 1_000, 0.1)
    assert ((90, 10), 100) == (counts(load), len(load.late_ms))


async def test_a_pause_of_the_service_is_waited_for_from_the_intended_moments() -> None:
    """Requests that could not even be sent have waited: no omission is coordinated."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()

    def answer(number: int) -> bytes:
        if number == 1:
            loop.call_later(0.2, opened.set_result, None)
        return OK

    async with serving(answer, opened) as port:
        load = await open_loop(port, [REQUEST], 2, 1_000, 0.1)
    # The last was due 0.1 s after the first, and the service came back 0.1 s later.
    assert ((100, 0), True) == (counts(load), bool(load.latencies_ms.min() > 90))
    # That is the service's delay, and none of the generator's.
    assert np.median(load.late_ms) < 50


async def test_few_requests_keep_few_lines() -> None:
    """A line that is used less than every second may have been closed by the server."""
    made = []

    class Counted(_Server):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)
            super().connection_made(transport)

    server = await asyncio.get_running_loop().create_server(
        lambda: Counted(lambda: OK, None), "127.0.0.1", 0
    )
    async with server:
        load = await open_loop(server.sockets[0].getsockname()[1], [REQUEST], 64, 20, 0.1)
    assert (20, (2, 0)) == (len(made), counts(load))


async def test_a_lost_connection_is_a_failure() -> None:
    """What was under way failed, and what could not be sent any more was never answered."""
    async with serving(lambda number: b"" if number == 3 else OK) as port:
        load = await closed_loop(port, [REQUEST], 1, 5.0)
    assert (2, 1) == counts(load)


async def test_an_open_loop_says_of_each_what_became_of_it() -> None:
    """With what was sent along, from when it was due; a line that was lost is used no more."""
    found: dict[int, tuple[int, bytes]] = {}

    def note(what: int, status: int, body: bytes, milliseconds: float) -> None:
        assert milliseconds >= 1_000
        found[what] = status, body

    answers = {1: OK, 2: REFUSED, 3: b""}
    async with serving(lambda number: answers.get(number, OK)) as port:
        loop = OpenLoop(port, note)
        await loop.open(2)
        for what in range(6):
            loop.post(what, REQUEST, perf_counter() - 1)
        await loop.close()
    assert {(200, b"{}"), (503, b""), (0, b"")} == set(found.values())
    assert (6, 6, 6) == (loop.sent, loop.ended, len(found))


async def test_a_connection_closed_while_idle_is_passed_over() -> None:
    """A server may hang up after an answer: what is due next takes another line."""

    class Once(_Server):
        def _give(self, answer: bytes) -> None:
            super()._give(answer)
            if answer == REFUSED:
                self._transport.close()

    numbers, found = count(1), []
    server = await asyncio.get_running_loop().create_server(
        lambda: Once(lambda: REFUSED if next(numbers) == 1 else OK, None), "127.0.0.1", 0
    )
    async with server:
        loop = OpenLoop(
            server.sockets[0].getsockname()[1], lambda what, status, *_: found.append(status)
        )
        await loop.open(2)
        for what in range(5):
            loop.post(what, REQUEST, perf_counter())
            await asyncio.sleep(0.02)
        await loop.close()
    assert [503, 200, 200, 200, 200] == found
