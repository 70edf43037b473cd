"""The api's door: who calls, whether they may, how often, and on which port a route answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.door.access import LABEL, rule_of
from api.door.auth import BearerTokens, Caller, KeyRing, TokenRefused, is_api_key
from api.door.limits import RateLimits
from api.door.trail import AuditTrail
from api.http.call import Call, Headers
from api.http.errors import Problem, Refused, as_problem, refuse_body, refuse_missing
from api.http.hot import HotRoute
from tidemill.clock import Clock

CALLER = "tidemill.caller"
"""Where the scope says who calls; absent where everybody may."""
KEYS_SECONDS = 1.0
_DIGEST = "tidemill.digest"
_UNSAFE = frozenset(("POST", "PUT", "PATCH", "DELETE"))
_KEY_OR_TOKEN = "an API key (`x-api-key`) or a bearer token (`authorization: Bearer …`)"
_SAFE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_LOOPBACK = frozenset((b"localhost", b"127.0.0.1", b"::1"))
_CHALLENGE = ((b"www-authenticate", b'Bearer realm="tidemill"'),)
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Doors:
    """How the api listens: its admin port, where there is one, and the largest body.

    `anywhere` is true where an api without keys may be reached from other machines too.
    """

    admin_port: int | None
    body_limit_bytes: int
    anywhere: bool = False


class Guard:
    """Asked before every request. With neither keys nor an issuer everybody may do everything."""

    def __init__(  # noqa: PLR0913 - it is what brings these together
        self,
        keys: KeyRing,
        tokens: BearerTokens | None,
        limits: RateLimits,
        trail: AuditTrail,
        clock: Clock,
        doors: Doors,
    ) -> None:
        self._keys, self._tokens, self._limits = keys, tokens, limits
        self._trail, self._clock, self._doors = trail, clock, doors
        self._scopes: dict[str, str | None] = {}

    @property
    def open(self) -> bool:
        """True where nobody has to say who they are."""
        return self._tokens is None and not self._keys.declared

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the file of the keys and write the audit log, all of it at the end."""
        following = asyncio.create_task(self._follow(), name="api keys")
        telling = asyncio.create_task(self._trail.run(), name="audit")
        for task in (following, telling):
            task.add_done_callback(_report_end)
        try:
            yield
        finally:
            following.cancel()
            self._trail.stop()
            await asyncio.gather(following, telling, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(KEYS_SECONDS)
            await asyncio.to_thread(self._keys.look)

    def admit(self, call: Call, route: HotRoute) -> Awaitable[None] | None:
        """For hot routes: names the caller, or raises Refused; awaitable where it has to wait."""
        try:
            needed = self._scopes[route.name]
        except KeyError:
            needed = self._scopes[route.name] = rule_of(route.method, call.path).scope
        if needed == LABEL:
            self._refuse_other_site(call.scope)
        if needed is None or (self._tokens is None and not self._keys.declared):
            return None
        caller = self._known(_digest(call.scope))
        if caller is None:
            return self._admit_unknown(call, needed)
        return self._enter(call, caller, needed)

    def charge(self, caller: str, requests: int) -> None:
        """Take so many more requests from a caller's quota, for a batch that was one call."""
        self._limits.charge(caller, requests)

    async def _admit_unknown(self, call: Call, needed: str) -> None:
        caller = await self._checked(call.scope)
        if (waiting := self._enter(call, caller, needed)) is not None:
            await waiting

    def _enter(self, call: Call, caller: Caller, needed: str) -> Awaitable[None] | None:
        if needed not in caller.scopes:
            raise self._forbidden(caller, needed, call.scope)
        call.caller, call.owner = caller.id, caller.owner
        return self._limits.take(caller, call.answer_headers)

    async def pass_on(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """For all other routes: hand the request on, or answer why not."""
        if scope["type"] != "http":
            return await app(scope, receive, send)
        headers: Headers = []
        try:
            await self._ask(scope, headers)
            receive = _limited(scope, receive, self._doors.body_limit_bytes)
        except Refused as refused:
            return await _answer(refused, scope, headers, send)
        await app(scope, receive, _adding(headers, send))

    async def _ask(self, scope: Scope, headers: Headers) -> None:
        """Raises Refused for what may not pass; adds the headers of the caller's quota."""
        rule = rule_of(scope["method"], scope["path"])
        if not rule.public and self._doors.admin_port not in (None, _port(scope)):
            found = f"{scope['method']} {scope['path']}"
            raise refuse_missing("unknown_route", "path", found, "the routes of this port")
        if scope["method"] in _UNSAFE:
            self._refuse_other_site(scope)
        if rule.scope is None or self.open:
            return
        caller = self._known(_digest(scope)) or await self._checked(scope)
        if rule.scope not in caller.scopes:
            raise self._forbidden(caller, rule.scope, scope)
        scope[CALLER] = caller.id
        if (waiting := self._limits.take(caller, headers)) is not None:
            await waiting

    def _known(self, digest: bytes) -> Caller | None:
        """Whose key or checked token has this digest; None for one that has ended too."""
        caller = self._keys.find(digest)
        if caller is not None:
            return caller if caller.ends_ms > self._clock.now_ms() else None
        return self._tokens.find(digest) if self._tokens is not None else None

    async def _checked(self, scope: Scope) -> Caller:
        """Who a token stands for that is not known yet. Raises Refused (401)."""
        token = _token(scope)
        if not token:
            raise self._unauthorized("nothing", "nobody", scope)
        if self._tokens is None or is_api_key(token):
            ended = self._keys.find(_digest(scope))
            found = "a key that has ended" if ended else "no key of this project"
            raise self._unauthorized(found, self._id(token), scope)
        try:
            return await self._tokens.check(token)
        except TokenRefused as error:
            raise self._unauthorized(f"a token that is refused: {error}", "token", scope) from None

    def _id(self, token: bytes) -> str:
        """The id of a key of ours, which may be logged; what is unknown may be a secret."""
        parts = token.decode("latin-1").split("_")
        return parts[1] if len(parts) > 1 and parts[1] in self._keys.ids else "unknown"

    def _unauthorized(self, found: str, who: str, scope: Scope) -> Refused:
        self._trail.refused("unauthorized", who, _address(scope))
        return Refused(401, Problem("unauthorized", "key", found, _KEY_OR_TOKEN), _CHALLENGE)

    def _forbidden(self, caller: Caller, needed: str, scope: Scope) -> Refused:
        self._trail.refused("forbidden", caller.id, _address(scope))
        found = ", ".join(sorted(caller.scopes)) or "no scope"
        return Refused(403, Problem("forbidden", "scope", found, needed))

    def _refuse_other_site(self, scope: Scope) -> None:
        """A page of another site, opened in an operator's browser, must change nothing here.

        Browsers name the page's site with whatever may change something. An open api is on loopback
        alone: there a name of another kind is one that was made to lead here (DNS rebinding).
        """
        origin = _header(scope, b"origin")
        if origin is None:
            return
        host = _header(scope, b"host") or b""
        local = host.rpartition(b":")[0].strip(b"[]") or host
        led_here = self.open and not self._doors.anywhere and local not in _LOOPBACK
        if origin.partition(b"://")[2] != host or led_here:
            self._trail.refused("forbidden", "other_site", _address(scope))
            found = "a request of another site's page"
            raise Refused(403, Problem("forbidden", "origin", found, "this api's own pages"))


def _token(scope: Scope) -> bytes:
    """The key or token that the request came with, empty where there is none.

    `x-api-key` goes before `authorization`, which may be meant for a proxy before us.
    """
    token = b""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return bytes(value)
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            token = value[7:].strip()
    return bytes(token)


def _digest(scope: Scope) -> bytes:
    """Of the key or token that the request came with; requests with equal heads share a scope."""
    found: bytes | None = scope.get(_DIGEST)
    if found is None:
        found = scope[_DIGEST] = sha256(_token(scope)).digest()
    return found


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((bytes(value) for found, value in scope["headers"] if found == name), None)


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("unknown",))[0])


def _port(scope: Scope) -> int:
    """The port of this machine that the request came to."""
    return int((scope.get("server") or ("", 0))[1] or 0)


def _limited(scope: Scope, receive: Receive, limit_bytes: int) -> Receive:
    """`receive`, but for a body over the limit. Raises Refused (413) for one that says so."""
    length = _header(scope, b"content-length") or b"0"
    if int(length) > limit_bytes:
        raise refuse_body(f"{int(length)} bytes", limit_bytes)
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit_bytes:
            raise HTTPException(413)
        return message

    return counted


def _adding(headers: Headers, send: Send) -> Send:
    """`send` with these headers, and with those that every answer to a browser should have."""

    async def added(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            named = {name.lower() for name, _ in own}
            safe = [(name, value) for name, value in _SAFE if name not in named]
            message = {**message, "headers": [*own, *safe, *headers]}
        await send(message)

    return added


def _report_end(task: asyncio.Task[None]) -> None:
    """A background task that ends by an error would otherwise be silent."""
    if not task.cancelled() and task.exception() is not None:
        _LOG.critical("task_failed", task=task.get_name(), exc_info=task.exception())


async def _answer(refused: Refused, scope: Scope, headers: Headers, send: Send) -> None:
    kind, body = as_problem(refused, scope["path"])
    headers = [
        (b"content-type", kind), *headers, *refused.headers, *_SAFE,
        (b"content-length", b"%d" % len(body)),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
