"""The load client against a small server."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from cli.demo.client import NO_ANSWER, HttpClient, require_ok
from tidemill.errors import ServiceError


class Server:
    """Answers each request with its own body; `down` drops connections instead of answering."""

    def __init__(self) -> None:
        self.connections = self.most_at_once = self.open_requests = 0
        self.paths: list[str] = []
        self.down = False
        self.status = 200
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head, reader, writer) -> None:
        if self.down:
            raise ConnectionError
        self.paths.append(head.split()[1].decode())
        lines = [line.partition(b": ") for line in head.split(b"\r\n")]
        length = int({name: value for name, _, value in lines}.get(b"Content-Length", 0))
        body = await reader.readexactly(length)
        self.open_requests += 1
        self.most_at_once = max(self.most_at_once, self.open_requests)
        await asyncio.sleep(0)
        self.open_requests -= 1
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (self.status, length, body))


@asynccontextmanager
async def running(server: Server):
    """The server on a free loopback port."""
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


async def settle() -> None:
    """Let closed connections end."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_replies_come_in_the_order_of_the_bodies():
    """Many requests share few connections, which are kept."""
    async with running(Server()) as server:
        client = HttpClient("127.0.0.1", server.port, lanes=3)
        bodies = [b"%d" % number for number in range(50)]
        for _ in range(2):
            replies = await client.post("/v1/score", bodies)
            assert [reply.body for reply in replies] == bodies
        assert server.connections == 3
        assert server.most_at_once <= 3
        assert all(reply.good and reply.milliseconds > 0 for reply in replies)
        client.close()
        await settle()


async def test_get_asks_for_the_path():
    """A GET has no body."""
    async with running(Server()) as server:
        client = HttpClient("127.0.0.1", server.port, lanes=1)
        reply = await client.get("/v1/progress")
        assert (reply.status, reply.body, server.paths) == (200, b"", ["/v1/progress"])
        client.close()
        await settle()


async def test_a_dropped_connection_is_no_answer_and_never_a_second_try():
    """Each request that got no answer says so; the next exchange connects again."""
    async with running(Server()) as server:
        client = HttpClient("127.0.0.1", server.port, lanes=2)
        server.down = True
        replies = await client.post("/v1/score", [b"1", b"2", b"3"])
        assert [reply.status for reply in replies] == [NO_ANSWER] * 3
        assert server.paths == []
        server.down = False
        assert [r.status for r in await client.post("/v1/score", [b"4"])] == [200]
        client.close()
        await settle()


async def test_nobody_listening_is_no_answer():
    """A refused connection is a reply too."""
    async with running(Server()) as server:
        port = server.port
    replies = await HttpClient("127.0.0.1", port, lanes=2).post("/v1/score", [b"1", b"2"])
    assert [reply.status for reply in replies] == [NO_ANSWER] * 2


async def test_other_statuses_are_not_good():
    """Only 200 and 202 are; require_ok names what was found."""
    async with running(Server()) as server:
        server.status = 503
        client = HttpClient("127.0.0.1", server.port, lanes=1)
        (reply,) = await client.post("/v1/labels", [b"later"])
        assert (reply.good, reply.status) == (False, 503)
        with pytest.raises(ServiceError, match="labels: found status 503 later"):
            require_ok(reply, "labels")
        client.close()
        await settle()


async def test_nothing_to_send_is_nothing():
    """An empty batch does not even connect."""
    assert await HttpClient("127.0.0.1", 1, lanes=1).post("/v1/score", []) == []
