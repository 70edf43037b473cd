"""What only a cluster does: keys on different nodes, nodes that leave, slots that move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from valkey_cluster import ValkeyCluster

from features.redis.client import OurConnection, redis_client
from features.redis.store import RedisStore
from features.store import Commit
from tidemill.errors import StoreUnavailable
from tidemill.topics import Names

NAMES = Names("shop", 8)


@pytest.fixture
async def client(valkey_cluster: ValkeyCluster) -> AsyncIterator[Any]:
    """A client of an empty cluster."""
    client = redis_client(valkey_cluster.url, cluster=True)
    await client.flushall()
    yield client
    await client.aclose()


def step(partition: int, epoch: int, offset: int = 0) -> Commit:
    """One blob, and the offset moved on by ten."""
    return Commit(
        NAMES.fence("updates", partition),
        NAMES.side("updates", partition),
        epoch,
        {"offset": offset},
        {"offset": offset + 10},
        blobs=[(NAMES.blob(partition, "card", "a"), b"x")],
    )


async def test_partitions_lie_on_different_nodes(client: Any) -> None:
    """The partitions of a project spread, and each connection packs commands the fast way."""
    await client.initialize()
    nodes = {client.get_node_from_key(NAMES.fence("updates", p)).name for p in range(8)}
    assert len(nodes) > 1
    assert all(issubclass(node.connection_class, OurConnection) for node in client.get_primaries())


async def test_a_slot_that_moved_is_followed(client: Any, valkey_cluster: ValkeyCluster) -> None:
    """A step whose slot another node serves now is applied there, once."""
    store = RedisStore(client)
    await client.initialize()
    fence = NAMES.fence("updates", 3)
    slot, owner = client.keyslot(fence), client.get_node_from_key(fence)
    target = next(node for node in client.get_primaries() if node.name != owner.name)
    try:
        await move(client, slot, target)
        assert {"epoch": 1} == await store.claim(fence)
        await store.commit(step(3, 1))
        assert [{"epoch": 1, "offset": 10}] == await store.fence_fields([fence])
        assert [b"x", None] == await store.read([NAMES.blob(p, "card", "a") for p in (3, 4)])
    finally:
        await client.flushall()
        await move(client, slot, owner)


async def move(client: Any, slot: int, target: Any) -> None:
    """Give an empty slot to another node; all nodes are told."""
    identity = await client.execute_command("CLUSTER MYID", target_nodes=target)
    name = identity.decode() if isinstance(identity, bytes) else identity
    for node in (target, *(each for each in client.get_primaries() if each != target)):
        await client.execute_command("CLUSTER SETSLOT", slot, "NODE", name, target_nodes=node)
        if node == target:  # the newest epoch: no gossip of the old owner may take the slot back
            await client.execute_command("CLUSTER BUMPEPOCH", target_nodes=target)


async def test_a_node_that_leaves_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    """What the other nodes hold is refused with it; all works on when it is there again."""
    with ValkeyCluster(tmp_path) as cluster:
        client = redis_client(cluster.url, cluster=True, timeout_seconds=1)
        store = RedisStore(client)
        fences = [NAMES.fence("updates", partition) for partition in range(8)]
        for fence in fences:
            await store.claim(fence)
        node = cluster.nodes[2]
        port = node.port
        node.stop()
        with pytest.raises(StoreUnavailable):
            await store.fence_fields(fences)
        with pytest.raises(StoreUnavailable):
            await store.read([NAMES.blob(partition, "card", "a") for partition in range(8)])
        node.restart_on(port)
        await commit_all(store)
        assert [{"epoch": 1, "offset": 10}] * 8 == await store.fence_fields(fences)
        await client.aclose()


async def commit_all(store: RedisStore) -> None:
    """Commit to all partitions, each as soon as its node answers."""
    async with asyncio.timeout(20):
        for partition in range(8):
            while True:
                try:
                    await store.commit(step(partition, 1))
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)


async def test_a_cluster_that_is_not_announced_is_named(valkey_cluster: ValkeyCluster) -> None:
    """A client of a single server says which setting is missing."""
    client = redis_client(valkey_cluster.url)
    with pytest.raises(StoreUnavailable, match="TIDEMILL_REDIS_CLUSTER=true"):
        for partition in range(8):
            await RedisStore(client).claim(NAMES.fence("updates", partition))
    await client.aclose()
