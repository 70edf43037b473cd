"""The hot routes: raw ASGI and msgspec, no framework between the socket and the scorer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import structlog
from starlette.types import Receive, Scope, Send

from api.errors import (
    RETRY_AFTER_SECONDS,
    Refused,
    refuse_body,
    refuse_failure,
    refuse_input,
    refuse_method,
    refuse_without_store,
)
from api.measurements import Measurements
from tidemill.errors import InputError, StoreUnavailable

Handler = Callable[[bytes], Awaitable[bytes]]
Headers = list[tuple[bytes, bytes]]
_JSON = (b"content-type", b"application/json")
_LOG = structlog.get_logger()


class Disconnected(Exception):
    """The caller went away before the whole body had arrived."""


@dataclass(frozen=True, slots=True)
class HotRoute:
    """One route: takes the body, gives the answer's JSON; raises InputError or Refused."""

    name: str
    status: int
    handle: Handler
    method: str = "POST"


class HotRoutes:
    """Answers its own paths and counts and times them; bodies over the limit are never buffered."""

    def __init__(
        self, routes: Mapping[str, HotRoute], limit_bytes: int, measurements: Measurements
    ) -> None:
        self.paths = routes
        self._limit_bytes, self._measurements = limit_bytes, measurements

    async def answer(self, route: HotRoute, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of one of the paths."""
        started = perf_counter()
        headers: Headers = [_JSON]
        try:
            if scope["method"] != route.method:
                raise refuse_method(scope["method"], route.method)
            body = await route.handle(await self._body(scope, receive))
            status = route.status
        except Disconnected:
            return
        except Exception as error:
            refused = self._refusal(error, route)
            status, body = refused.status, refused.body
            headers += _refusal_headers(refused, route)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._measurements.requests[route.name, status] += 1
        self._measurements.request_seconds[route.name].add(perf_counter() - started)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises Refused (413) as soon as it is known to be too large."""
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self._limit_bytes:
                raise refuse_body(f"{int(value)} bytes", self._limit_bytes)
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False) and message["type"] == "http.request":
            return self._within_limit(body)
        parts, size = [body], len(body)
        while message["type"] == "http.request" and message.get("more_body", False):
            if size > self._limit_bytes:
                break
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if message["type"] != "http.request":
            raise Disconnected
        return self._within_limit(b"".join(parts))

    def _within_limit(self, body: bytes) -> bytes:
        if len(body) > self._limit_bytes:
            raise refuse_body(f"more than {self._limit_bytes} bytes", self._limit_bytes)
        return body

    @staticmethod
    def _refusal(error: Exception, route: HotRoute) -> Refused:
        if isinstance(error, Refused):
            return error
        if isinstance(error, InputError):
            return refuse_input(error)
        if isinstance(error, StoreUnavailable):
            return refuse_without_store(str(error))
        _LOG.error("request_failed", route=route.name, exc_info=error)
        return refuse_failure()


def _refusal_headers(refused: Refused, route: HotRoute) -> Headers:
    if refused.retry_after:
        return [(b"retry-after", b"%d" % RETRY_AFTER_SECONDS)]
    return [(b"allow", route.method.encode())] if refused.status == 405 else []
