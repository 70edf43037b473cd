"""The server's two ways to the hot routes say the same bytes, however what comes is cut."""

import asyncio
import gc
import os
import signal
import weakref
from collections.abc import Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import uvicorn
import uvloop
from guarded import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from api.http.call import Call
from api.http.errors import Problem, Refused
from api.http.hot import HotRoute, HotRoutes
from api.http.patience import Bounds, bounded_protocol
from api.http.protocol import LONGEST_HEAD, MOST_HEADS
from api.http.server import bind, serve_on
from api.measuring.measurements import Measurements

LIMIT_BYTES = 300


def post(body: bytes = b"{}", path: bytes = b"/echo", *headers: bytes) -> bytes:
    """A POST as it is sent."""
    head = (b"POST " + path + b" HTTP/1.1", b"Host: x", *headers, b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(*parts: bytes) -> bytes:
    """A POST whose body comes in chunks."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))
    return b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks


PLAIN = post(b'{"a":1}')
HOT = {
    "plain": PLAIN,
    "a query": post(b"{}", b"/echo?a=1%20&b="),
    "no body": b"POST /echo HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header twice": post(b"{}", b"/echo", b"X-A: 1", b"x-a: 2"),
    "a part in braces": post(b"{}", b"/models/m/infer"),
    "a trace": post(b"{}", b"/echo", b"traceparent: 00-1-2-01"),
    "close": post(b"{}", b"/echo", b"Connection: close"),
    "chunks": chunked(b"{", b"}"),
    "over the limit": post(b"x" * (LIMIT_BYTES + 1)),
    "chunks over the limit": chunked(*[b"x" * 100] * 4),
    "refused": post(b"{}", b"/refused"),
    "an error of ours": post(b"{}", b"/failing"),
    "a get": b"GET /told HTTP/1.1\r\nHost: x\r\n\r\n",
    "empty lines before": b"\r\n\r\n" + PLAIN,
}
OTHER = {
    "two at once": PLAIN + post(b'{"b":2}'),
    "a head behind it": PLAIN + b"POST /echo HT",
    "no HTTP behind it": PLAIN + b"no HTTP\r\n\r\n",
    "HTTP/1.0": PLAIN.replace(b"1.1", b"1.0", 1),
    "HTTP/1.0 kept": post(b"{}", b"/echo", b"Connection: keep-alive").replace(b"1.1", b"1.0", 1),
    "expect": post(b"{}", b"/echo", b"Expect: 100-continue"),
    "upgrade": post(b"{}", b"/echo", b"Connection: upgrade", b"Upgrade: h2c"),
    "another method": b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n",
    "another path": post(b"{}", b"/other"),
    "a path in percents": post(b"{}", b"/ech%6F"),
    "an address as path": post(b"{}", b"http://x/echo"),
    "a broken chunk": chunked(b"{}").replace(b"2\r\n", b"?\r\n", 1),
    "no HTTP": b"no HTTP\r\n\r\n",
}
EVERY = HOT | OTHER
PARTS = [*EVERY.values(), PLAIN[:30], PLAIN[30:], b"{}"]


class App:
    """Hot routes and nothing else; counts what comes to it as ASGI messages."""

    def __init__(self) -> None:
        self.asked = 0
        self.begun, self.opened = asyncio.Event(), asyncio.Event()
        self.measurements = Measurements()
        routes = {
            "/echo": HotRoute("echo", 200, self._echo),
            "/models/{model}/infer": HotRoute("infer", 202, self._echo),
            "/slow": HotRoute("slow", 200, self._slow),
            "/refused": HotRoute("refused", 200, self._refused),
            "/failing": HotRoute("failing", 200, self._failing),
            "/told": HotRoute("told", 200, self._echo, "GET"),
        }
        self.hot = HotRoutes(routes, LIMIT_BYTES, self.measurements)

    async def _echo(self, call: Call) -> bytes:
        told = [call.path, dict(call.query), [*call.scope["headers"]], call.traceparent]
        return call.body + b"\n" + repr(told).encode()

    async def _slow(self, call: Call) -> bytes:
        self.begun.set()
        await self.opened.wait()
        return await self._echo(call)

    async def _refused(self, call: Call) -> bytes:
        call.answer_headers.append((b"ratelimit", b"0"))
        raise Refused(503, Problem("queue_full", "f", "a", "b"), ((b"x-more", b"1"),))

    async def _failing(self, call: Call) -> bytes:
        raise ValueError("unforeseen")

    async def __call__(self, scope, receive, send) -> None:
        """What the server asks of an application."""
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            return await send({"type": "lifespan.shutdown.complete"})
        self.asked += 1
        if (route := self.hot.find(scope["path"])) is not None:
            return await self.hot.answer(route, scope, receive, send)
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"none"})


class Transport(asyncio.Transport):
    """A connection that remembers what is written, and drops what comes after its end."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = self.paused = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        if not self.closed:
            self.written.append(data)

    def close(self) -> None:
        """End it."""
        self.closed = True

    def is_closing(self) -> bool:
        """True from the end on."""
        return self.closed

    def pause_reading(self) -> None:
        """Let nothing come."""
        self.paused = True

    def resume_reading(self) -> None:
        """Let it come again."""
        self.paused = False


class Connection:
    """One connection to an app by the server's protocol; the shorter way is there if `hot`."""

    def __init__(self, app: App, *, hot: bool) -> None:
        protocol = bounded_protocol(Bounds(), app.hot if hot else None)
        config = uvicorn.Config(app, http=protocol, ws="none", log_config=None, access_log=False)
        config.load()
        self.state, self.transport = ServerState(), Transport()
        self.protocol = config.http_protocol_class(config, self.state, {})
        self.protocol.connection_made(self.transport)

    async def give(self, *pieces: bytes) -> None:
        """Let these come, one after the other, and what was asked be answered."""
        for piece in pieces:
            if self.transport.paused:
                await self.settle()
            if not self.transport.closed:
                self.protocol.data_received(piece)
        await self.settle()

    async def settle(self) -> None:
        """Let the loop run until nothing more happens."""
        for _ in range(30):
            await asyncio.sleep(0)

    def end(self) -> None:
        """The caller hangs up."""
        self.protocol.connection_lost(None)

    @property
    def said(self) -> tuple[bytes, bool]:
        """What was answered, and whether the connection was closed."""
        return b"".join(self.transport.written), self.transport.closed


async def answered(steps: Sequence[Sequence[bytes]], *, hot: bool) -> tuple[bytes, bool]:
    """What is said to all this; the pieces of a step come before anything is answered."""
    connection = Connection(App(), hot=hot)
    for pieces in steps:
        await connection.give(*pieces)
    said = connection.said
    connection.end()
    await connection.settle()
    return said


def in_bytes(data: bytes) -> list[bytes]:
    """One by one."""
    return [bytes([each]) for each in data]


@pytest.mark.parametrize("raw", EVERY.values(), ids=EVERY)
async def test_both_ways_say_the_same(raw):
    """At once, in pieces of a byte, twice, and with another request behind it."""
    for steps in ([[raw]], [in_bytes(raw)], [[raw], [raw]], [[raw, PLAIN]], [[raw], [PLAIN]]):
        assert await answered(steps, hot=False) == await answered(steps, hot=True)


@pytest.mark.parametrize("raw", [PLAIN, HOT["chunks"], OTHER["two at once"]])
async def test_where_it_is_cut_makes_no_difference(raw):
    """Everywhere, whether or not the first piece is looked at before the second is there."""
    whole = await answered([[raw]], hot=True)
    for place in range(1, len(raw)):
        pieces = [raw[:place], raw[place:]]
        assert whole == await answered([pieces], hot=True)
        assert whole == await answered([[piece] for piece in pieces], hot=True)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=3), max_size=5))
def test_any_order_of_things_is_answered_alike(steps):
    """Ends of what never began, beginnings without an end, one request within another's body."""
    ways = [asyncio.run(answered(steps, hot=hot)) for hot in (False, True)]
    assert ways[0] == ways[1]


@pytest.mark.parametrize("raw", HOT.values(), ids=HOT)
async def test_what_is_hot_and_whole_needs_no_messages(raw):
    """One write, and the application is not asked."""
    app = App()
    connection = Connection(app, hot=True)
    await connection.give(raw)
    connection.end()
    assert (0, 1) == (app.asked, len(connection.transport.written))


@pytest.mark.parametrize(
    "pieces",
    [[OTHER["expect"]], [OTHER["HTTP/1.0"]], [OTHER["upgrade"]], [PLAIN[:-1], PLAIN[-1:]]],
    ids=["expect", "HTTP/1.0", "upgrade", "a body in pieces"],
)
async def test_what_is_out_of_the_ordinary_is_left_to_the_server(pieces):
    """It comes as messages."""
    app = App()
    connection = Connection(app, hot=True)
    await connection.give(*pieces)
    connection.end()
    assert 1 == app.asked


async def test_answers_come_in_the_order_of_the_requests():
    """What is sent while a request is under way waits for its answer."""
    app = App()
    connection = Connection(app, hot=True)
    await connection.give(post(b"1", b"/slow") + post(b"2") + post(b"3", b"/other"))
    assert (b"", True) == (connection.said[0], connection.transport.paused)
    app.opened.set()
    await connection.settle()
    first, second, third = (connection.said[0].find(each) for each in (b"1\n", b"2\n", b"none"))
    assert 0 < first < second < third
    connection.end()


async def test_nobody_is_written_to_who_has_gone():
    """The answer is made, for it may be in the log, and then dropped."""
    app = App()
    connection = Connection(app, hot=True)
    await connection.give(post(b"{}", b"/slow"))
    connection.end()
    app.opened.set()
    await connection.settle()
    assert ((b"", True), set()) == (connection.said, connection.state.tasks)
    assert {("slow", 200): 1} == app.measurements.requests


@pytest.mark.parametrize("pieces", [[PLAIN], [PLAIN, PLAIN], [OTHER["another path"]], [PLAIN[:9]]])
@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_a_connection_that_has_gone_leaves_nothing(pieces, error):
    """Without waiting for a garbage collection, which a steady load puts off for hours."""
    connection = Connection(App(), hot=True)
    await connection.give(*pieces)
    gone = weakref.ref(connection.protocol)
    gc.disable()
    try:
        connection.protocol.connection_lost(error)
        await connection.settle()
        del connection
        assert gone() is None
    finally:
        gc.enable()


async def test_who_does_not_read_is_not_written_to():
    """An answer waits until those before were taken."""
    connection = Connection(App(), hot=True)
    connection.protocol.pause_writing()
    await connection.give(PLAIN)
    assert b"" == connection.said[0]
    connection.protocol.resume_writing()
    await connection.settle()
    assert connection.said[0].startswith(b"HTTP/1.1 200 OK\r\n")
    connection.end()


async def test_an_idle_connection_is_closed_after_its_time():
    """It is counted from the last answer, though the timer is not set anew for each."""
    connection = Connection(App(), hot=True)
    protocol = connection.protocol
    await connection.give(PLAIN)
    timer = protocol.timeout_keep_alive_task
    await connection.give(PLAIN)
    assert timer is protocol.timeout_keep_alive_task
    protocol.timeout_keep_alive_handler()  # too early for the second answer
    assert (False, True) == (connection.transport.closed, bool(protocol.timeout_keep_alive_task))
    protocol.timeout_keep_alive = 0
    protocol.timeout_keep_alive_handler()
    assert connection.transport.closed
    connection.end()
    timer.cancel()


async def test_a_connection_is_not_idle_while_it_is_answered():
    """The timer comes to an end meanwhile, and is set by the answer."""
    app = App()
    connection = Connection(app, hot=True)
    protocol, slow = connection.protocol, post(b"{}", b"/slow")
    app.opened.set()
    await connection.give(slow)
    app.opened.clear()
    await connection.give(slow)
    protocol.timeout_keep_alive_task.cancel()
    protocol.timeout_keep_alive_handler()
    assert (False, None) == (connection.transport.closed, protocol.timeout_keep_alive_task)
    app.opened.set()
    await connection.settle()
    assert protocol.timeout_keep_alive_task is not None
    connection.end()


async def test_the_end_of_the_server_closes_after_the_answer():
    """What is under way is answered, and the caller told that it was the last."""
    app = App()
    connection = Connection(app, hot=True)
    await connection.give(post(b"{}", b"/slow"))
    connection.protocol.shutdown()
    app.opened.set()
    await connection.settle()
    said, closed = connection.said
    assert (True, True) == (b"connection: close\r\n" in said, closed)
    connection.end()


async def test_a_server_that_waits_no_longer_says_that_it_failed():
    """The task is cancelled, and the caller has an answer none the less."""
    connection = Connection(App(), hot=True)
    await connection.give(post(b"{}", b"/slow"))
    (task,) = connection.state.tasks
    task.cancel()
    await connection.settle()
    said, closed = connection.said
    assert (True, True) == (said.startswith(b"HTTP/1.1 500 "), closed)
    connection.end()


class Counting:
    """A parser that counts how often it is fed."""

    def __init__(self, parser) -> None:
        self._parser, self.fed = parser, 0

    def feed_data(self, data: bytes) -> None:
        """Count and parse."""
        self.fed += 1
        self._parser.feed_data(data)

    def __getattr__(self, name: str):
        return getattr(self._parser, name)


async def test_a_head_that_came_before_is_not_parsed_again():
    """Whatever its body; one that asks for another length of body is another head."""
    connection = Connection(App(), hot=True)
    connection.protocol.parser = parser = Counting(connection.protocol.parser)
    short, other, long = post(b"1"), post(b"2"), post(b"33")
    for raw in (short, other, long, short, long):
        await connection.give(raw)
    answers = b"".join(connection.transport.written)
    bodies = [part.partition(b"\n")[0] for part in answers.split(b"\r\n\r\n")[1:]]
    assert ([b"1", b"2", b"33", b"1", b"33"], 2) == (bodies, parser.fed)
    connection.end()


async def test_a_connection_knows_a_few_heads():
    """However many come, and none that is long."""
    connection = Connection(App(), hot=True)
    heads = [post(b"{}", b"/echo", b"x-number: %d" % number) for number in range(3 * MOST_HEADS)]
    for raw in [*heads, post(b"{}", b"/echo", b"x-long: " + b"x" * LONGEST_HEAD)]:
        await connection.give(raw)
    known = connection.protocol._heads
    assert (True, True) == (len(known) <= MOST_HEADS, max(map(len, known)) < LONGEST_HEAD)
    connection.end()


@pytest.mark.parametrize("between", [b"", b"\r\n", b"P", PLAIN[:-1], b"no HTTP\r\n\r\n"])
async def test_a_known_head_is_one_only_where_a_head_may_begin(between):
    """Behind a part of another request it is that request's body, or the end of its head."""
    large = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (LIMIT_BYTES + 50)
    steps = [[PLAIN], [PLAIN], [large], [PLAIN], [between], [PLAIN], [b"x" * LIMIT_BYTES], [PLAIN]]
    assert await answered(steps, hot=False) == await answered(steps, hot=True)
    steps = [[PLAIN], [PLAIN], [between], [PLAIN], [PLAIN]]
    assert await answered(steps, hot=False) == await answered(steps, hot=True)


async def test_a_revoked_key_is_refused_though_its_head_is_known(served, request_body):
    """What a head means stays the same; what its key may do is asked for each request."""
    guarded = Guarded(served)
    key = guarded.key("score").encode()
    body = msgspec.json.encode(request_body)
    raws = [post(body, b"/v1/score", b"x-api-key: " + each) for each in (key, b"tm_none_none")]
    connection, found = Connection(guarded.app, hot=True), []

    async def ask(raw: bytes) -> None:
        connection.transport.written.clear()
        connection.protocol.data_received(raw)
        async with asyncio.timeout(5):
            while not connection.transport.written:
                await asyncio.sleep(0)
        found.append(int(connection.said[0].split()[1]))

    for raw in (*raws, *raws):
        await ask(raw)
    (known,) = guarded.keys.read()
    guarded.keys.revoke(known.id, "test", served.clock.now_ms())
    guarded.ring.look()
    await ask(raws[0])
    connection.end()
    assert [200, 401, 200, 401, 401] == found


@asynccontextmanager
async def serving(app: App):
    """The port of a server of this app; SIGTERM at the end."""
    listener = bind("127.0.0.1", 0)
    running = asyncio.create_task(serve_on(app, listener))
    try:
        yield listener.getsockname()[1]
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    finally:
        running.cancel()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_on_the_wire(run):
    """Over a real socket, on either loop; a request under way at the end is answered."""

    async def ask() -> None:
        app = App()
        async with asyncio.timeout(20):
            async with serving(app) as port:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(PLAIN)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                assert (await reader.readexactly(length)).startswith(b'{"a":1}\n')
                writer.write(post(b"{}", b"/slow"))
                await app.begun.wait()
                # The server looks ten times a second whether it is to end.
                asyncio.get_running_loop().call_later(0.5, app.opened.set)
            assert b"connection: close\r\n" in await reader.read()
            writer.close()
        assert 0 == app.asked

    run(ask())


async def test_the_apis_own_app_is_asked_without_messages(served, request_body):
    """A score is answered, counted and logged as through ASGI."""
    raw = post(msgspec.json.encode(request_body), b"/v1/score")
    found = []
    for hot in (False, True):
        connection = Connection(served.app, hot=hot)
        connection.protocol.data_received(raw)
        async with asyncio.timeout(5):
            while not connection.transport.written:
                await asyncio.sleep(0)
        await connection.settle()
        connection.end()
        head, _, body = connection.said[0].partition(b"\r\n\r\n")
        answer = msgspec.json.decode(body)
        assert 32 == len(answer.pop("prediction_id"))
        found.append((head, answer))
    assert found[0] == found[1]
    assert 2 == served.service.log.depth
    assert {("score", 200): 2} == served.service.measurements.requests
