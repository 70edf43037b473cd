"""Rate limits on Redis, Valkey or a cluster of them: one script call for each lease."""

from __future__ import annotations

from features.limits import Lease, Quota
from features.redis.store import RedisStore
from tidemill.topics import Names


class RedisLimits:
    """`LimitStore` beside the features: a counter for each caller that expires with its window."""

    def __init__(self, names: Names, store: RedisStore) -> None:
        self._names, self._store = names, store

    async def lease(self, caller: str, wanted: int, quota: Quota) -> Lease:
        """One round trip."""
        key = self._names.limit(caller)
        return Lease(*await self._store.lease(key, wanted, quota.requests, quota.window_ms))
