"""Requests that may be sent twice: one with an `Idempotency-Key` is carried out once.

As in the IETF draft *The Idempotency-Key HTTP Header Field* (draft-ietf-httpapi-idempotency-key-
header, section 2.6): the same request again gets the first one's answer, another request with the
same key is refused (422), and so is the same one while the first is still answered (409). The keys
lie in the store, so that every process knows them, and are forgotten after a day.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable

import structlog

from api.http.call import Call
from api.http.errors import RETRY_AFTER_SECONDS, Problem, Refused
from api.ports import KeyStore
from tidemill.durations import DAY_MS
from tidemill.errors import InputError, StoreUnavailable

KEPT_MS = DAY_MS
PENDING_MS = 10_000
"""Longer than any request takes: after it a request whose process died may be sent again."""
STORE_SECONDS = 1.0
HEADER = "idempotency-key"
_REPLAYED = (b"idempotent-replayed", b"true")
_KEY = re.compile(rb'[A-Za-z0-9_.:-]{1,255}|"[A-Za-z0-9_.:-]{1,255}"')
_PENDING, _DONE, _FREE = b"pending:", b"done:", b""
_LOG = structlog.get_logger()


class Idempotency:
    """Remembers what was answered under which key."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    async def once(self, call: Call, answer: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer to this call, computed once for its key; without a key each time.

        Raises InputError, Refused and StoreUnavailable, and what `answer` raises; then the key is
        free again.
        """
        given = call.header(HEADER.encode())
        if given is None:
            return await answer()
        key, digest = _name(given, call), hashlib.sha256(call.body).digest()
        found = await _within_time(self._store.take(key, _PENDING + digest, PENDING_MS))
        if found is not None:
            return _replayed(found, digest, call)
        try:
            body = await answer()
        except BaseException:
            # Shielded: the caller may be gone, and the key must not stay taken for it.
            await asyncio.shield(self._keep(key, _FREE, 1))
            raise
        await self._keep(key, _DONE + digest + body, KEPT_MS)
        return body

    async def _keep(self, key: str, blob: bytes, expires_ms: int) -> None:
        """What was done is done: without the store the key is free again when its time is over."""
        try:
            await _within_time(self._store.keep(key, blob, expires_ms))
        except StoreUnavailable as error:
            _LOG.warning("idempotency_key_not_kept", error=str(error))


async def _within_time(asked: Awaitable[bytes | None]) -> bytes | None:
    try:
        async with asyncio.timeout(STORE_SECONDS):
            return await asked
    except TimeoutError:
        raise StoreUnavailable(f"no answer within {STORE_SECONDS:g} s") from None


def _name(given: bytes, call: Call) -> str:
    """The name a key is remembered by: no caller finds another's, and a rotated key its own."""
    if not _KEY.fullmatch(given):
        found = repr(given[:40].decode("latin-1"))
        allowed = "1 to 255 letters, digits, _ . : and -, in double quotes or without"
        raise InputError("invalid_value", HEADER, found, allowed)
    words = (call.owner or call.caller, call.path, given.strip(b'"').decode())
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:40]


def _replayed(found: bytes, digest: bytes, call: Call) -> bytes:
    """What was answered before; raises InputError for another request, Refused while it runs."""
    kind, _, rest = found.partition(b":")
    if found != _FREE and not rest.startswith(digest):
        what, allowed = "the key of another request", "a new key for each request"
        raise InputError("idempotency_key_reused", HEADER, what, allowed)
    if kind == _DONE[:-1]:
        call.answer_headers.append(_REPLAYED)
        return rest[len(digest) :]
    what = "the same request, which is being answered"
    problem = Problem("request_in_progress", HEADER, what, "to ask again in a second")
    raise Refused(409, problem, ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),))
