"""Rate limits by caller: requests leased from the store ahead, so that hardly any waits for it.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog

from api.door.auth import Caller
from api.http.call import Headers
from api.http.errors import Problem, Refused
from features.limits import Lease, LimitStore, Quota
from tidemill.clock import Clock
from tidemill.errors import StoreUnavailable

LEASES_PER_WINDOW = 50
LEASE_SECONDS = 0.25
_MOST_CALLERS = 10_000
_LOG = structlog.get_logger()


class _Account:
    """What this process may still answer of one caller's quota."""

    __slots__ = ("asking", "ends_ms", "left", "low", "policy", "quota", "tokens")

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.tokens = 0  # below 0: what a batch took beyond the lease, to be paid by the next
        self.left = quota.requests
        self.ends_ms = 0
        self.low = _lease_size(quota) // 2
        self.asking: asyncio.Task[None] | None = None
        seconds = -(-quota.window_ms // 1000)
        self.policy = b'"key";q=%d;w=%d' % (quota.requests, seconds)


def _lease_size(quota: Quota) -> int:
    """A fiftieth: what several processes hold unused is a small part of the quota."""
    return max(1, quota.requests // LEASES_PER_WINDOW)


class RateLimits:
    """Takes each request from its caller's quota; `default` is that of callers without their own.

    While the store does not answer, the quota holds for each process alone: an answer does not
    wait, and neither is the api open.
    """

    def __init__(self, store: LimitStore, default: Quota | None, clock: Clock) -> None:
        self._store, self._default, self._clock = store, default, clock
        self._accounts: dict[str, _Account] = {}

    def take(self, caller: Caller, headers: Headers) -> Awaitable[None] | None:
        """Take one request, at once where the lease lasts; else what is returned is to be awaited.

        Adds the headers that say what is left. Raises Refused (429) where nothing is.
        """
        account = self._accounts.get(caller.id)
        if account is None or (caller.quota and account.quota.requests != caller.quota):
            account = self._open(caller)
            if account is None:
                return None
        now = self._clock.now_ms()
        if account.tokens > 0 and now < account.ends_ms:
            account.tokens -= 1
            if account.tokens < account.low and account.left and account.asking is None:
                account.asking = asyncio.ensure_future(self._lease(caller.id, account))
            headers += _said(account, now)
            return None
        if not account.left and now < account.ends_ms:
            raise _refused(account, now, headers)
        return self._wait(caller.id, account, headers)

    def charge(self, caller: str, requests: int) -> None:
        """Take more requests that were answered at once, as the rest of a batch."""
        if account := self._accounts.get(caller):
            account.tokens -= requests

    def _open(self, caller: Caller) -> _Account | None:
        own = Quota(caller.quota, caller.window_seconds * 1000) if caller.quota else self._default
        if own is None:
            return None
        if len(self._accounts) >= _MOST_CALLERS:
            now = self._clock.now_ms()
            self._accounts = {k: a for k, a in self._accounts.items() if a.ends_ms > now}
        account = self._accounts[caller.id] = _Account(own)
        return account

    async def _wait(self, caller: str, account: _Account, headers: Headers) -> None:
        """Take one request once there is a lease: others who wait may have used one up."""
        while True:
            now = self._clock.now_ms()
            current = now < account.ends_ms
            if current and account.tokens > 0:
                account.tokens -= 1
                headers += _said(account, now)
                return
            if current and not account.left:
                raise _refused(account, now, headers)
            if account.asking is None:
                account.asking = asyncio.ensure_future(self._lease(caller, account))
            # Shielded: a caller who leaves must not end what others wait for.
            await asyncio.shield(account.asking)

    async def _lease(self, caller: str, account: _Account) -> None:
        wanted = _lease_size(account.quota) - min(account.tokens, 0)
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                lease = await self._store.lease(caller, wanted, account.quota)
        except (StoreUnavailable, TimeoutError) as error:
            _LOG.warning("limits_without_store", error=str(error) or "no answer")
            lease = self._own(account)
        finally:
            account.asking = None
        now = self._clock.now_ms()
        if now >= account.ends_ms:
            account.tokens = min(account.tokens, 0)  # the rest of a lease ends with its window
        account.tokens += lease.granted
        account.left, account.ends_ms = lease.left, now + lease.resets_ms

    def _own(self, account: _Account) -> Lease:
        """What a process grants itself: the quota once in a window."""
        now = self._clock.now_ms()
        if now < account.ends_ms and account.left == 0:
            return Lease(0, 0, account.ends_ms - now)
        return Lease(account.quota.requests, 0, account.quota.window_ms)


def _said(account: _Account, now_ms: int) -> Headers:
    left = max(0, account.tokens) + account.left
    return [
        (b"ratelimit-policy", account.policy),
        (b"ratelimit", b'"key";r=%d;t=%d' % (left, _seconds(account, now_ms))),
    ]


def _seconds(account: _Account, now_ms: int) -> int:
    return max(1, -(-(account.ends_ms - now_ms) // 1000))


def _refused(account: _Account, now_ms: int, headers: Headers) -> Refused:
    account.tokens = min(account.tokens, 0)
    headers += _said(account, now_ms)
    quota = account.quota
    allowed = f"{quota.requests} requests in {quota.window_ms / 1000:g} s"
    problem = Problem("rate_limited", "key", "more requests than its quota", allowed)
    wait = b"%d" % _seconds(account, now_ms)
    return Refused(429, problem, ((b"retry-after", wait),))
