"""Every store of rate limits grants a quota once in a window, to whoever asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from features.limits import LimitStore, MemoryLimits, Quota
from features.redis.client import redis_client
from features.redis.limits import RedisLimits
from features.redis.store import RedisStore
from tidemill.errors import StoreUnavailable
from tidemill.topics import Names

NAMES = Names("payments", 4)


@pytest.fixture(params=["memory", "valkey", "cluster"])
async def limits(request: pytest.FixtureRequest) -> AsyncIterator[LimitStore]:
    """Each backend."""
    if request.param == "memory":
        yield MemoryLimits(lambda: time.time_ns() // 1_000_000)
        return
    name = "valkey" if request.param == "valkey" else "valkey_cluster"
    server: Any = request.getfixturevalue(name)
    client = redis_client(server.url, cluster=request.param == "cluster")
    yield RedisLimits(NAMES, RedisStore(client))
    await client.aclose()


async def test_a_quota_is_granted_once(limits: LimitStore) -> None:
    """Part by part until nothing is left, and what is left is said."""
    caller, quota = uuid4().hex, Quota(10, 60_000)
    leases = [await limits.lease(caller, 4, quota) for _ in range(4)]
    assert [(4, 6), (4, 2), (2, 0), (0, 0)] == [(each.granted, each.left) for each in leases]
    assert all(0 < each.resets_ms <= 60_000 for each in leases)


async def test_many_at_once_get_no_more(limits: LimitStore) -> None:
    """However many ask together."""
    caller, quota = uuid4().hex, Quota(100, 60_000)
    leases = await asyncio.gather(*(limits.lease(caller, 7, quota) for _ in range(40)))
    assert 100 == sum(each.granted for each in leases)


async def test_a_window_ends(limits: LimitStore) -> None:
    """Then the quota is there again."""
    caller, quota = uuid4().hex, Quota(5, 100)
    assert 5 == (await limits.lease(caller, 9, quota)).granted
    async with asyncio.timeout(5):
        while (await limits.lease(caller, 1, quota)).granted == 0:
            await asyncio.sleep(0.01)


async def test_callers_do_not_share(limits: LimitStore) -> None:
    """Each name has its own count, whatever stands in it."""
    quota = Quota(3, 60_000)
    for caller in (f"oidc:{uuid4().hex}", f"{{other}}:{uuid4().hex}", f"a b|{uuid4().hex}"):
        assert 3 == (await limits.lease(caller, 5, quota)).granted


async def test_a_store_that_is_away_is_said() -> None:
    """As a StoreUnavailable."""
    client = redis_client("redis://127.0.0.1:1/0", timeout_seconds=0.2)
    with pytest.raises(StoreUnavailable):
        await RedisLimits(NAMES, RedisStore(client)).lease("a", 1, Quota(1, 1000))
    await client.aclose()
