"""The hot routes: raw ASGI and msgspec, no framework between the socket and the scorer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

from starlette.types import Receive, Scope, Send

from api.http.call import Call, Headers
from api.http.errors import (
    RETRY_AFTER_SECONDS,
    Refused,
    as_problem,
    refuse_body,
    refuse_method,
    refused_by,
)
from api.measuring.measurements import Measurements

Handler = Callable[[Call], Awaitable[bytes]]
_JSON = (b"content-type", b"application/json")


class Disconnected(Exception):
    """The caller went away before the whole body had arrived."""


@dataclass(frozen=True, slots=True)
class HotRoute:
    """One route: takes the call, gives the answer's JSON; raises InputError or Refused."""

    name: str
    status: int
    handle: Handler
    method: str = "POST"


Admit = Callable[[Call, HotRoute], Awaitable[None] | None]
"""Asked before a body is read; names `call.caller`, or raises Refused. What can be told at once is
told without an awaitable."""


class HotRoutes:
    """Answers its own paths and counts and times them; bodies over the limit are never buffered.

    A path may have one part in braces, such as `/v2/models/{model}/infer`; the route finds what was
    asked for in `call.path`.
    """

    def __init__(
        self,
        routes: Mapping[str, HotRoute],
        limit_bytes: int,
        measurements: Measurements,
        admit: Admit | None = None,
        charge: Callable[[str, int], None] | None = None,
    ) -> None:
        self._exact = {path: route for path, route in routes.items() if "{" not in path}
        self._around = [(*_around(path), route) for path, route in routes.items() if "{" in path]
        self._limit_bytes, self._measurements = limit_bytes, measurements
        self._admit, self._charge = admit, charge

    def find(self, path: str) -> HotRoute | None:
        """The route of a path, None for one that is not hot."""
        return self._exact.get(path) or (self._around_path(path) if self._around else None)

    async def answer(self, route: HotRoute, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of one of the paths, as an ASGI application does."""
        call = Call(scope, [])
        try:
            status, body = await self.respond(route, call, receive)
        except Disconnected:
            return
        headers = call.answer_headers
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def respond(
        self, route: HotRoute, call: Call, receive: Receive | None = None
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a call, counted; the headers are added to the call's.

        Without `receive` the call has its whole body. Raises Disconnected.
        """
        started = perf_counter()
        headers = call.answer_headers
        headers.append(_JSON)
        try:
            if call.scope["method"] != route.method:
                raise refuse_method(call.scope["method"], route.method)
            if self._admit is not None and (asked := self._admit(call, route)) is not None:
                await asked
            self._look_at_head(call)
            call.body = self._within_limit(
                call.body if receive is None else await self._received(receive)
            )
            body = await route.handle(call)
            status = route.status
            if call.held > 1 and self._charge is not None:
                self._charge(call.caller, call.held - 1)
        except Disconnected:
            raise
        except Exception as error:
            refused = refused_by(error)
            self._measurements.refusals[refused.problem.cause] += 1
            status, (kind, body) = refused.status, as_problem(refused, call.path)
            headers[0] = (b"content-type", kind)
            headers += _refusal_headers(refused, route)
        headers.append((b"content-length", b"%d" % len(body)))
        self._measurements.requests[route.name, status] += 1
        self._measurements.request_seconds[route.name].add(perf_counter() - started)
        return status, body

    def _look_at_head(self, call: Call) -> None:
        """Note what trace the caller is in. Raises Refused (413) for a body that is too large."""
        for name, value in call.scope["headers"]:
            if name == b"content-length":
                if int(value) > self._limit_bytes:
                    raise refuse_body(f"{int(value)} bytes", self._limit_bytes)
            elif name == b"traceparent":
                call.traceparent = value

    async def _received(self, receive: Receive) -> bytes:
        """The body, or of one over the limit a little more than the limit. Raises Disconnected."""
        message = await receive()
        parts: list[bytes] = [message.get("body", b"")]
        size = len(parts[0])
        while message["type"] == "http.request" and message.get("more_body", False):
            if size > self._limit_bytes:
                break
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if message["type"] != "http.request":
            raise Disconnected
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _within_limit(self, body: bytes) -> bytes:
        if len(body) > self._limit_bytes:
            raise refuse_body(f"more than {self._limit_bytes} bytes", self._limit_bytes)
        return body

    def _around_path(self, path: str) -> HotRoute | None:
        for before, after, route in self._around:
            if path.startswith(before) and path.endswith(after):
                between = path[len(before) : len(path) - len(after)]
                if between and "/" not in between:
                    return route
        return None


def _around(path: str) -> tuple[str, str]:
    """What stands before and after the part in braces."""
    before, _, rest = path.partition("{")
    return before, rest.partition("}")[2]


def _refusal_headers(refused: Refused, route: HotRoute) -> Headers:
    headers: Headers = list(refused.headers)
    if refused.retry_after:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
    if refused.status == 405:
        headers.append((b"allow", route.method.encode()))
    return headers
