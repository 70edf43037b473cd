"""A state is removed whole, on one server and on a cluster, and nothing else with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from features.redis.client import redis_client
from features.redis.states import REMOVE_CHUNK, RedisStates
from features.redis.store import RedisStore
from features.store import Commit
from tidemill.errors import FencedError, StoreUnavailable
from tidemill.topics import Names

OLD, NEW = (Names("shop", 4, state, "a" * 12) for state in ("11111111", "22222222"))
OTHER = Names("shop2", 4, "11111111")
KEYS = REMOVE_CHUNK + 10


@pytest.fixture(params=["valkey", "cluster"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A client of an empty server or cluster."""
    cluster = request.param == "cluster"
    server = request.getfixturevalue("valkey_cluster" if cluster else "valkey")
    found = redis_client(server.url, cluster=cluster)
    await found.flushall()
    yield found
    await found.aclose()


async def fill(client: Any) -> RedisStore:
    """Two states of one project and one of another that is named alike."""
    store = RedisStore(client)
    for names in (OLD, NEW, OTHER):
        keys = [f"k{number}" for number in range(KEYS)]
        await store.write(
            [(names.blob(names.entity_partition(key), "card", key), b"blob") for key in keys]
        )
        for partition in range(names.partitions):
            await store.claim(names.fence("events", partition))
            await store.claim(names.fence("updates", partition))
    await store.claim(OLD.fence("join", 0))
    return store


async def keys_of(client: Any, names: Names) -> int:
    """How many keys of a state there are."""
    pattern = f"{{{names.project}:*}}*{names.state}*"
    return len([key async for key in client.scan_iter(match=pattern, count=5_000)])


async def test_a_state_is_removed_whole(client: Any) -> None:
    """Its blobs and fences, and none of another state, project or step."""
    store, told = await fill(client), []
    removed = await RedisStates(client).remove(OLD, told.append)
    assert (KEYS + 8, KEYS) == (removed, sum(told))
    found = [await keys_of(client, names) for names in (OLD, NEW, OTHER)]
    assert [0, KEYS + 8, KEYS + 8] == found
    assert [{"epoch": 1}] == await store.fence_fields([OLD.fence("join", 0)])


async def test_removing_again_removes_nothing(client: Any) -> None:
    """One that was interrupted is run again."""
    await fill(client)
    await RedisStates(client).remove(OLD, lambda _: None)
    assert 0 == await RedisStates(client).remove(OLD, lambda _: None)


async def test_who_still_writes_to_it_is_refused(client: Any) -> None:
    """Its worker finds no fence: nothing comes back."""
    store = await fill(client)
    await RedisStates(client).remove(OLD, lambda _: None)
    blob = (OLD.blob(0, "card", "late"), b"blob")
    commit = Commit(
        OLD.fence("updates", 0), OLD.side("updates", 0), 1, {}, {"offset:updates": 5}, blobs=[blob]
    )
    with pytest.raises(FencedError):
        await store.commit(commit)
    assert 0 == await keys_of(client, OLD)


async def test_a_store_that_is_gone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of the port."""
    client = redis_client("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match="removing state 11111111"):
        await RedisStates(client).remove(OLD, lambda _: None)
    await client.aclose()
