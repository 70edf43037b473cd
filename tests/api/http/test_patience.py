"""Callers that send slowly, or heads without end, hold no connection."""

import asyncio
import os
import signal

import pytest

from api.http.patience import Bounds, Patience
from api.http.server import bind, serve_on


class Transport:
    """Remembers that it was ended."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        """End it."""
        self.aborted = True


class Cycle:
    """One request and its answer, as uvicorn keeps them."""

    def __init__(self, more_body: bool = True, response_complete: bool = False) -> None:
        self.more_body, self.response_complete = more_body, response_complete


class Flow:
    """Whether the caller reads what is sent."""

    def __init__(self, write_paused: bool) -> None:
        self.write_paused = write_paused


class Connection:
    """One connection, as uvicorn keeps it."""

    def __init__(
        self, cycle: Cycle | None = None, idle: bool = False, unread: bool = False
    ) -> None:
        self.cycle, self.transport, self.flow = cycle, Transport(), Flow(unread)
        self.timeout_keep_alive_task = object() if idle else None


@pytest.mark.parametrize(
    ("connection", "ends"),
    [
        (Connection(), True),
        (Connection(Cycle()), True),
        (Connection(Cycle(more_body=False)), False),
        (Connection(Cycle(more_body=False), unread=True), True),
        (Connection(Cycle(response_complete=True)), True),
        (Connection(Cycle(response_complete=True), idle=True), False),
    ],
    ids=["no head", "no body", "being answered", "unread", "no next head", "idle"],
)
def test_who_keeps_us_waiting_is_ended(connection, ends):
    """After the time for a request, and not before; an answer may take longer."""
    patience = Patience({connection}, 10)
    for now in (0, 5, 10):
        patience.sweep(now)
        assert not connection.transport.aborted
    patience.sweep(10.5)
    assert ends == connection.transport.aborted


def test_each_request_has_the_whole_time():
    """What is waited for begins anew with the next request."""
    connection = Connection(Cycle())
    patience = Patience({connection}, 10)
    patience.sweep(0)
    connection.cycle = Cycle()
    patience.sweep(9)
    patience.sweep(18)
    assert not connection.transport.aborted


async def test_a_head_without_end_is_cut_off(served):
    """The connection is closed once the head is larger than allowed."""
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with asyncio.timeout(20):
        bounds = Bounds(head_limit_bytes=4096)
        serving = asyncio.create_task(serve_on(served.app, listener, bounds=bounds))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
        answer = b""
        for number in range(200):
            writer.write(b"x-%d: " % number + b"a" * 100 + b"\r\n")
            await asyncio.sleep(0.001)
            if reader._buffer:
                break
        answer = await reader.read(200)
        writer.close()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert number < 100


async def test_many_requests_in_a_connection_are_no_large_head(served):
    """Heads are counted each by itself, however they are cut."""
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with asyncio.timeout(20):
        bounds = Bounds(head_limit_bytes=1024)
        serving = asyncio.create_task(serve_on(served.app, listener, bounds=bounds))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(40):
            writer.write(b"GET /healthz HTTP/1.1\r\nho")
            await asyncio.sleep(0.001)
            writer.write(b"st: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(len(b'{"alive":true}'))
        writer.close()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving


async def test_the_end_of_a_large_body_is_no_head(served):
    """Where the next request begins in the same piece, only what comes after it counts."""
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with asyncio.timeout(20):
        bounds = Bounds(head_limit_bytes=1024)
        serving = asyncio.create_task(serve_on(served.app, listener, bounds=bounds))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-length: 3000\r\n\r\n")
        await asyncio.sleep(0.01)
        writer.write(b"x" * 3000 + b"GET /healthz HTTP/1.1\r\nho")
        refused = await reader.readuntil(b"\r\n")
        writer.write(b"st: x\r\n\r\n")
        await reader.readuntil(b"HTTP/1.1 200 ")
        writer.close()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
    assert refused.startswith(b"HTTP/1.1 4") and b" 431 " not in refused


async def test_a_slow_caller_is_ended_on_the_wire(served, monkeypatch):
    """A body that does not come ends the connection, and the next caller is answered."""
    monkeypatch.setattr("api.http.patience.SWEEP_SECONDS", 0.05)
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with asyncio.timeout(20):
        bounds = Bounds(request_seconds=0.2)
        serving = asyncio.create_task(serve_on(served.app, listener, bounds=bounds))
        slow, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        with pytest.raises(ConnectionError):
            assert b"" == await slow.read(100)
            raise ConnectionResetError  # it may also end without an error
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving


async def test_the_admin_port_is_another_socket(served):
    """One app answers on both, and can tell them apart."""
    public, admin = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    ports = [each.getsockname()[1] for each in (public, admin)]
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "http":
            seen.append(scope["server"][1])
        await served.app(scope, receive, send)

    async with asyncio.timeout(20):
        serving = asyncio.create_task(serve_on(app, public, admin=admin))
        for port in ports:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.close()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
    assert ports == seen
