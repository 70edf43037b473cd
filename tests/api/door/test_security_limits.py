"""Rate limits by key: never more than the quota, hardly a round trip, and headers that say so."""

import asyncio

import msgspec
import pytest
from guarded import Guarded, with_key

from api.door.auth import Caller
from api.door.limits import RateLimits
from api.http.errors import Refused
from features.limits import Lease, MemoryLimits, Quota
from tidemill.clock import FakeClock
from tidemill.errors import StoreUnavailable

SCORE, BATCH = "/v1/score", "/v1/score:batch"
SHOP = Caller("shop", frozenset({"score"}))


class CountedLimits(MemoryLimits):
    """Counts how often it is asked; can be gone, and can hold its answers."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock.now_ms)
        self.asked = 0
        self.gone = False

    async def lease(self, caller: str, wanted: int, quota: Quota) -> Lease:
        """As the memory's, after others had a turn."""
        self.asked += 1
        await asyncio.sleep(0)
        if self.gone:
            raise StoreUnavailable("connection refused")
        return await super().lease(caller, wanted, quota)


@pytest.fixture
def clock() -> FakeClock:
    """Time set by hand."""
    return FakeClock(1_000_000)


@pytest.fixture
def store(clock: FakeClock) -> CountedLimits:
    """What all processes share."""
    return CountedLimits(clock)


async def taken(limits: RateLimits, count: int, caller: Caller = SHOP) -> int:
    """How many of so many requests, one after the other, were let through."""
    passed = 0
    for _ in range(count):
        try:
            if (waiting := limits.take(caller, [])) is not None:
                await waiting
            passed += 1
        except Refused as refused:
            assert 429 == refused.status
    return passed


async def test_a_caller_gets_its_quota_and_no_more(store, clock):
    """Exactly, then nothing until the window ends, then again."""
    limits = RateLimits(store, Quota(100, 10_000), clock)
    assert [100, 0] == [await taken(limits, 150), await taken(limits, 50)]
    clock.advance(10_000)
    assert 100 == await taken(limits, 150)


async def test_processes_share_a_quota(store, clock):
    """What all of them let through together is the quota."""
    processes = [RateLimits(store, Quota(1000, 10_000), clock) for _ in range(4)]
    counts = [0] * 4
    for _ in range(100):
        for place, limits in enumerate(processes):
            counts[place] += await taken(limits, 5)
    assert 1000 == sum(counts)
    assert min(counts) > 100


async def test_the_store_is_asked_once_for_many(store, clock):
    """A fiftieth of the quota at a time, and not for a caller that has none left."""
    limits = RateLimits(store, Quota(5000, 10_000), clock)
    await taken(limits, 4000)
    assert store.asked <= 60
    await taken(limits, 1000)
    asked = store.asked
    assert 0 == await taken(limits, 500)
    assert asked == store.asked


async def test_requests_at_once_wait_for_one_lease(store, clock):
    """All that come before the first answer share the question."""
    limits = RateLimits(store, Quota(5000, 10_000), clock)
    waiting = [limits.take(SHOP, []) for _ in range(80)]
    assert not any(each is None for each in waiting)
    await asyncio.gather(*waiting)
    assert 1 == store.asked


async def test_more_at_once_than_a_lease_all_get_theirs(store, clock):
    """Whoever finds the lease used up asks again, as long as there is quota."""
    limits = RateLimits(store, Quota(100, 10_000), clock)
    found = await asyncio.gather(
        *(limits.take(SHOP, []) for _ in range(120)), return_exceptions=True
    )
    assert (100, 20) == (found.count(None), sum(isinstance(each, Refused) for each in found))


async def test_a_caller_who_leaves_hinders_nobody(store, clock):
    """The lease that others wait for is fetched all the same."""
    limits = RateLimits(store, Quota(100, 10_000), clock)
    first, second = (asyncio.ensure_future(limits.take(SHOP, [])) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert 1 == store.asked


async def test_callers_have_each_their_own(store, clock):
    """A key's own quota goes before the default, and nobody takes another's."""
    limits = RateLimits(store, Quota(10, 10_000), clock)
    other = Caller("other", frozenset(), quota=3, window_seconds=1)
    assert (10, 3) == (await taken(limits, 20), await taken(limits, 20, other))


async def test_without_a_limit_nothing_is_asked(store, clock):
    """No quota, no store, no header."""
    limits = RateLimits(store, None, clock)
    headers = []
    assert limits.take(SHOP, headers) is None
    assert (0, []) == (store.asked, headers)


async def test_a_quota_that_changed_holds_from_then_on(store, clock):
    """A key that was given another limit has that one."""
    limits = RateLimits(store, None, clock)
    small, large = (Caller("k", frozenset(), quota=n, window_seconds=10) for n in (5, 50))
    assert (5, 45) == (await taken(limits, 20, small), await taken(limits, 60, large))


async def test_without_the_store_each_process_keeps_the_quota(store, clock):
    """Answers neither wait nor fail, and the api is not open either."""
    store.gone = True
    limits = RateLimits(store, Quota(100, 10_000), clock)
    assert (100, 1) == (await taken(limits, 150), store.asked)
    clock.advance(10_000)
    store.gone = False
    assert 100 == await taken(limits, 150)


async def test_a_batch_costs_what_it_holds(served, caller_of, request_body):
    """A batch of many is many requests; what it took beyond the quota the next window pays."""
    guarded = Guarded(served, quota=Quota(100, 10_000))
    ask, headers = caller_of(guarded.app), with_key(guarded.key("score"))
    many = msgspec.json.encode({"requests": [request_body] * 90})
    one = msgspec.json.encode(request_body)
    assert 200 == (await ask("POST", BATCH, many, headers=headers)).status
    assert 200 == (await ask("POST", BATCH, many, headers=headers)).status
    assert 429 == (await ask("POST", SCORE, one, headers=headers)).status
    guarded.world.clock.advance(10_000)
    statuses = [(await ask("POST", SCORE, one, headers=headers)).status for _ in range(30)]
    assert [200] * 20 + [429] * 10 == statuses


async def test_headers_say_what_is_left(served, caller_of, request_body):
    """RateLimit-Policy and RateLimit on every answer, Retry-After when there is nothing left."""
    guarded = Guarded(served)
    ask, body = caller_of(guarded.app), msgspec.json.encode(request_body)
    headers = with_key(guarded.key("score", quota=2, window_seconds=60))
    replies = [await ask("POST", SCORE, body, headers=headers) for _ in range(3)]
    assert [200, 200, 429] == [reply.status for reply in replies]
    assert {'"key";q=2;w=60'} == {reply.headers["ratelimit-policy"] for reply in replies}
    expected = ['"key";r=1;t=60', '"key";r=0;t=60', '"key";r=0;t=60']
    assert expected == [reply.headers["ratelimit"] for reply in replies]
    assert ("60", "rate_limited") == (replies[2].headers["retry-after"], replies[2].json["cause"])


async def test_rare_routes_are_limited_too(served, caller_of):
    """With the same headers."""
    guarded = Guarded(served)
    ask = caller_of(guarded.app)
    headers = with_key(guarded.key("read", quota=2, window_seconds=60))
    replies = [await ask("GET", "/v1/status", headers=headers) for _ in range(3)]
    assert [200, 200, 429] == [reply.status for reply in replies]
    assert '"key";r=1;t=60' == replies[0].headers["ratelimit"]
    assert "60" == replies[2].headers["retry-after"]


async def test_labels_cost_as_many_as_they_are(served, caller_of):
    """A list of labels is no way around the quota for one."""
    guarded = Guarded(served, quota=Quota(100, 10_000))
    ask, headers = caller_of(guarded.app), with_key(guarded.key("label"))
    label = {"key": "c1|s1", "value": 1, "time": served.clock.now_ms()}
    many, one = msgspec.json.encode([label] * 90), msgspec.json.encode(label)
    statuses = [
        (await ask("POST", "/v1/labels", body, headers=headers)).status
        for body in (many, many, one)
    ]
    assert [202, 202, 429] == statuses
