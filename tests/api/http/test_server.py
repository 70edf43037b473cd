"""The server has its port before it starts, refuses large bodies on the wire, and stops cleanly."""

import asyncio
import os
import signal

import msgspec
import pytest

from api.http.server import bind, serve, serve_on
from tidemill.errors import ServiceError


@pytest.fixture
def listener():
    """A listening socket on a free loopback port."""
    with bind("127.0.0.1", 0) as found:
        yield found


async def ask(port: int, head: str, body: bytes = b"") -> tuple[bytes, bytes]:
    """One request over a socket; the answer's head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{head}\r\nhost: x\r\n".encode() + b"content-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return answer, await reader.readexactly(length)
    finally:
        writer.close()


async def test_a_port_in_use_is_named(world, listener):
    """The error says which port and what to do."""
    port = listener.getsockname()[1]
    with pytest.raises(ServiceError, match=f"port {port} on 127.0.0.1: in use.*a free port"):
        await serve(world.app, "127.0.0.1", port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_every_prediction_sent(served, listener, request_body, number):
    """Scores answered before the signal are in the log when `serve` returns."""
    port = listener.getsockname()[1]
    async with asyncio.timeout(20):
        serving = asyncio.create_task(serve_on(served.app, listener))
        body = msgspec.json.encode(request_body)
        head, answer = await ask(port, "POST /v1/score HTTP/1.1", body)
        os.kill(os.getpid(), number)
        await serving
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    (prediction,) = served.producer.predictions()
    assert msgspec.json.decode(answer)["prediction_id"] == prediction.id


async def test_ten_megabytes_are_refused_on_the_wire(served, listener):
    """The caller reads a 413 though it sends the whole body."""
    port = listener.getsockname()[1]
    async with asyncio.timeout(20):
        serving = asyncio.create_task(serve_on(served.app, listener))
        head, answer = await ask(port, "POST /v1/score HTTP/1.1", b"x" * 10_000_000)
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
    assert head.startswith(b"HTTP/1.1 413")
    assert "body_too_large" == msgspec.json.decode(answer)["cause"]


async def test_an_app_that_does_not_start_is_an_error(listener):
    """Not an end of the process without a word; why is in the log."""

    async def app(scope, receive, send):
        raise ValueError("the app")

    async with asyncio.timeout(20):
        with pytest.raises(ServiceError, match="did not start; its log says why"):
            await serve_on(app, listener)
