"""What a project takes in the store, measured on a real server and on a real cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from features.redis.client import redis_client
from features.redis.store import RedisStore
from features.redis.usage import RedisUsage, StoreUsage, Usage
from tidemill.errors import StoreUnavailable
from tidemill.topics import Names

NAMES = Names("shop", 4, "0123abcd", "0123456789ab")
OLD = Names("shop", 4, "89ab0123", "0123456789ab")


@pytest.fixture(params=["valkey", "cluster"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A client of an empty server, then of an empty cluster."""
    cluster = request.param == "cluster"
    server = request.getfixturevalue("valkey_cluster" if cluster else "valkey")
    client = redis_client(server.url, cluster=cluster)
    await client.flushall()
    yield client
    await client.aclose()


async def fill(client: Any, names: Names, count: int, size: int) -> None:
    """Cards, spread over the partitions."""
    blobs = [(names.blob(i % 4, "card", str(i)), b"x" * size) for i in range(count)]
    await RedisStore(client).write(blobs)


async def measure(client: Any, **options: int) -> StoreUsage:
    """Cards are the only entity."""
    return await RedisUsage(NAMES, ["card"], client).measure(**options)


async def test_keys_are_counted_by_kind(client: Any) -> None:
    """Entities, static rows, states of other declarations and the rest; no other project's."""
    await fill(client, NAMES, 300, 200)
    await fill(client, OLD, 20, 100)
    await fill(client, Names("other", 4, NAMES.state), 50, 100)
    store = RedisStore(client)
    await store.write([(NAMES.static_row("profile", 3, str(i)), b"y" * 400) for i in range(40)])
    await store.write([(NAMES.status(), b"{}"), (NAMES.static_live("profile", 7), b"3")])
    await store.claim(NAMES.fence("updates", 0))
    found = {(usage.kind, usage.name): usage for usage in (await measure(client)).usages}
    expected = {
        ("entity", "card"): 300,
        ("static row", "profile"): 40,
        ("other state", "89ab0123"): 20,
        ("bookkeeping", ""): 3,
    }
    assert expected == {kind: usage.keys for kind, usage in found.items()}
    card = found["entity", "card"]
    assert 200 == card.blob_bytes_each
    assert 200 < card.bytes_each < 400


async def test_a_bounded_walk_estimates(client: Any) -> None:
    """Of many keys only some are looked at, and the count is close."""
    await fill(client, NAMES, 20_000, 100)
    told: list[tuple[int, int]] = []
    usage = RedisUsage(NAMES, ["card"], client)
    found = await usage.measure(6_000, lambda done, total: told.append((done, total)))
    assert 20_000 == found.keys
    assert 6_000 <= found.walked < 10_000
    assert 6_000 == told[-1][1] <= told[-1][0]
    assert pytest.approx(20_000, rel=0.01) == found.usages[0].keys
    assert 0 < found.bytes < found.used_bytes


async def test_the_projection_is_what_such_an_entity_takes(client: Any) -> None:
    """5 000 floats beside the small ones that were measured."""
    await fill(client, NAMES, 1_000, 300)
    projected = (await measure(client)).projected(20_000)
    key = NAMES.blob(0, "card", "1000")
    await RedisStore(client).write([(key, b"x" * 20_000)])
    node = client.get_node_from_key(key) if hasattr(client, "get_node_from_key") else client
    taken = await node.execute_command("MEMORY USAGE", key)
    assert pytest.approx(taken, rel=0.03) == projected


def test_jemalloc_rounds_up() -> None:
    """Its size classes, four to a doubling, as its documentation lists them."""
    usage = StoreUsage((Usage("entity", "card", 1, 50, 0),), 1, 1, 0, 0, "jemalloc-5.3.0")
    found = [usage.projected(wanted - 50) for wanted in (60, 129, 4_096, 4_097, 20_001)]
    assert [64, 160, 4_096, 5_120, 20_480] == found


async def test_an_empty_store_takes_nothing(client: Any) -> None:
    """No keys, no kinds, no overhead."""
    found = await measure(client)
    assert ((), 0, 0, 0.0) == (found.usages, found.keys, found.bytes, found.overhead)


async def test_a_store_that_is_away_is_said_so() -> None:
    """StoreUnavailable, as everywhere."""
    client = redis_client("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match="measuring the store"):
        await measure(client)
    await client.aclose()
