"""The server's protocol with a shorter way for hot routes: no ASGI messages, one write an answer.

A hot request that comes whole, its body in the same piece as the end of its head, is answered by
the routes themselves. Everything else goes through ASGI to the same routes: a body that is still
coming, a request behind another that is under way, `Expect: 100-continue`, HTTP/1.0, other methods
and other paths. A head that came before on the same connection, byte for byte, means what it meant
then and is not parsed again.

It stands on internals of the pinned server, and on the settings of `serve_on`: no headers of the
server's own, no access log, no limit of connections. The tests send the same bytes both ways.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.http.call import Call, Headers
from api.http.hot import HotRoute, HotRoutes

# Callers send few heads, which differ in the length of the body; a connection keeps some kilobytes.
MOST_HEADS, LONGEST_HEAD = 8, 1024
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class _Head:
    """What a head meant: its route, its scope, and how many bytes of body follow."""

    route: HotRoute
    scope: Any
    body_bytes: int


class HotProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, which lets `hot` answer what it can; without `hot` it is uvicorn's."""

    hot: HotRoutes | None = None
    _heads: dict[bytes, _Head]
    _begun: Any = None  # the cycle of a hot request whose body is not there yet

    def connection_made(self, transport: Any) -> None:
        """A caller has come."""
        super().connection_made(transport)
        self._heads = {}

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone; nothing waits for a garbage collection, which is rare."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.cycle = self._begun = None  # type: ignore[assignment]  # they know the connection too

    def data_received(self, data: bytes) -> None:
        """What the socket gave: mostly one request, with a head that came before."""
        end = data.find(_HEAD_END, 0, LONGEST_HEAD) + len(_HEAD_END)
        head, body_bytes, between = data[:end], len(data) - end, self._is_between_requests()
        known = self._heads.get(head) if between else None
        if known is not None and known.body_bytes == body_bytes:
            self.scope = known.scope
            return self._start(HotCycle(self, known.route, data[end:]))
        super().data_received(data)
        if self._begun is not None:
            self._leave_to_server()
        elif between:
            self._remember(head, body_bytes)

    def on_headers_complete(self) -> None:
        """Begin a hot request; leave any other to the server."""
        route = self._hot_route()
        if route is None:
            super().on_headers_complete()
        else:
            self._begun = HotCycle(self, route)
            self._begun.keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if self._begun is None:
            super().on_body(body)
        else:
            self._begun.body += body

    def on_message_complete(self) -> None:
        """The end of a body, or of a head without one."""
        if self._begun is None:
            super().on_message_complete()
        else:
            begun, self._begun = self._begun, None
            self._start(begun)

    def _start(self, cycle: Any) -> None:
        """Answer a request that is there whole."""
        self.cycle = cycle
        self._start_asgi_task(cycle, self.app)

    def _hot_route(self) -> HotRoute | None:
        """The route of a request that is hot and of the ordinary kind; the scope says the rest."""
        parser, before = self.parser, self.cycle
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        if self.hot is None or "%" in path or (route := self.hot.find(path)) is None:
            return None
        if (
            parser.get_method().decode("ascii") != route.method
            or parser.get_http_version() != "1.1"
            or parser.should_upgrade()
            or self.expect_100_continue
            or not (before is None or before.response_complete)
        ):
            return None
        self.scope["method"], self.scope["path"] = route.method, path
        self.scope["raw_path"], self.scope["query_string"] = url.path, url.query or b""
        return route

    def _leave_to_server(self) -> None:
        """Go on with a request that has begun as if nobody had looked at it."""
        body, self._begun = self._begun.body, None
        if not self.transport.is_closing():  # else what followed the head was no HTTP
            super().on_headers_complete()
            if body:
                super().on_body(body)

    def _is_between_requests(self) -> bool:
        """True at the beginning, and after a hot request as long as nothing else has come."""
        cycle: Any = self.cycle
        if cycle is None:
            return self.scope is None
        answered = isinstance(cycle, HotCycle) and cycle.response_complete
        return answered and cycle.scope is self.scope

    def _remember(self, head: bytes, body_bytes: int) -> None:
        """Know a head again that was, with so many bytes of body, one request that has begun."""
        cycle: Any = self.cycle
        if (
            isinstance(cycle, HotCycle)
            and not cycle.response_complete
            and cycle.keep_alive
            and len(cycle.body) == body_bytes
        ):
            if len(self._heads) == MOST_HEADS:
                self._heads.clear()
            self._heads[head] = _Head(cycle.route, cycle.scope, body_bytes)


class HotCycle:
    """One hot request and its answer, with what the protocol asks of a request's cycle."""

    __slots__ = (
        "_protocol", "body", "disconnected", "keep_alive", "response_complete", "route", "scope",
    )  # fmt: skip

    more_body = False
    message_event = asyncio.Event()  # for nobody: the whole body is there

    def __init__(self, protocol: HotProtocol, route: HotRoute, body: bytes = b"") -> None:
        self._protocol, self.route = protocol, route
        self.scope: Any = protocol.scope
        self.body = body
        self.keep_alive = True
        self.disconnected = self.response_complete = False

    async def run_asgi(self, _: Any) -> None:
        """Answer; the protocol runs this as it would run an application."""
        hot, protocol, call = self._protocol.hot, self._protocol, Call(self.scope, [], self.body)
        assert hot is not None
        try:
            status, body = await hot.respond(self.route, call)
        except asyncio.CancelledError:  # the server is ending and waits no longer
            status, body, self.keep_alive = 500, b"", False
            call.answer_headers[:] = ((b"content-length", b"0"),)
        if protocol.flow.write_paused:
            await protocol.flow.drain()
        if protocol.transport.is_closing():  # the caller has gone
            return
        protocol.transport.write(_answer(status, call.answer_headers, body, self.keep_alive))
        self.response_complete = True
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


def _answer(status: int, headers: Headers, body: bytes, keep_alive: bool) -> bytes:
    """An answer as it is sent. The headers are our own: nothing that a caller sent is in them."""
    parts = [STATUS_LINE[status]]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    if not keep_alive:
        parts.append(b"connection: close\r\n")
    parts += (b"\r\n", body)
    return b"".join(parts)
