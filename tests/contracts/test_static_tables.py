"""The contract of the tables of static rows, on every backend, and swaps under readers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "features"))  # the test tree has no packages

import static_world as world
from static_world import NAMES, World

from features.redis.client import redis_client
from features.redis.store import RedisStore
from features.redis.tables import RedisTables
from tidemill.errors import StoreUnavailable

KEYS = [f"u{i}" for i in range(40)]


@pytest.fixture(params=["memory", "valkey", "cluster"])
async def here(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """An empty store of each backend with its tables."""
    if request.param == "memory":
        yield World()
        return
    cluster = request.param == "cluster"
    server = request.getfixturevalue("valkey_cluster" if cluster else "valkey")
    client = redis_client(server.url, cluster=cluster)
    await client.flushall()
    yield World(RedisStore(client), RedisTables(NAMES, client))
    await client.aclose()


def rows(version: int, keys: list[str] = KEYS, row: str = "profile") -> list[tuple[str, bytes]]:
    """Rows of one version."""
    return [(NAMES.static_row(row, version, key), f"{row}{version}{key}".encode()) for key in keys]


async def there(here: World, version: int, row: str = "profile") -> int:
    """How many rows of a version there are."""
    blobs = await here.store.read([key for key, _ in rows(version, row=row)])
    return sum(blob is not None for blob in blobs)


async def test_rows_are_added_and_read_back(here: World) -> None:
    """Rows of all partitions are written together."""
    assert await here.tables.add([]) is None
    assert await here.tables.add(rows(1)) is None
    assert [blob for _, blob in rows(1)] == await here.store.read([key for key, _ in rows(1)])


async def test_a_key_that_is_there_is_told(here: World) -> None:
    """The position of the row whose key was there already; its blob stays."""
    await here.tables.add(rows(1, ["u7"]))
    again = [(key, b"new") for key, _ in rows(1)]
    assert 7 == await here.tables.add(again)
    assert [rows(1, ["u7"])[0][1]] == await here.store.read([again[7][0]])


async def test_only_retired_versions_of_the_row_are_removed(here: World) -> None:
    """Later versions, kept ones, other rows and everything else in the store stay."""
    for version in (1, 2, 3, 10, 11):
        await here.tables.add(rows(version))
    await here.tables.add(rows(1, row="limits"))
    trap = NAMES.blob(0, "user", "x}:static:profile:1:y")
    await here.store.write([(trap, b"a window"), (NAMES.static_live("profile", 1), b"2")])
    assert 3 * len(KEYS) == await here.tables.remove("profile", 10, [2])
    assert [0, 40, 0, 0, 40] == [await there(here, version) for version in (1, 2, 3, 10, 11)]
    assert (40, [b"a window", b"2"]) == (
        await there(here, 1, "limits"),
        await here.store.read([trap, NAMES.static_live("profile", 1)]),
    )
    assert 0 == await here.tables.remove("profile", 10, [2])


async def test_readers_never_see_two_versions(here: World, tmp_path: Path) -> None:
    """While table after table is swapped in, every group of requests is of one, and whole."""
    here.loader.grace_seconds = 0.3
    paths = [
        world.saved(tmp_path, world.profiles([(key, age, [age] * 3) for key in KEYS]), f"{age}")
        for age in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    ]
    await here.load(paths[0])
    ended, groups = asyncio.Event(), []

    async def read() -> None:
        reader = world.VectorReader(world.PLAN, NAMES, here.store, deadline_ms=10_000)
        asked = world.requests(*({"user": key} for key in KEYS))
        while not ended.is_set():
            vectors = await reader.read(asked)
            groups.append(vectors.matrix[:, : world.PROFILE.floats].copy())
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(read())
        for path in paths[1:]:
            await here.load(path)
        ended.set()
    mixed = [group for group in groups if not (group == group[0, 0]).all()]
    seen = {float(group[0, 0]) for group in groups}
    assert ([], {1.0, 2.0, 3.0, 4.0, 5.0}) == (mixed, seen - {0.0})


async def test_a_server_that_is_gone_is_said(tmp_path: Path) -> None:
    """Both calls raise StoreUnavailable."""
    tables: Any = RedisTables(NAMES, redis_client("redis://127.0.0.1:1/0", timeout_seconds=0.2))
    with pytest.raises(StoreUnavailable, match="writing 40 static rows"):
        await tables.add(rows(1))
    with pytest.raises(StoreUnavailable, match="removing static rows of profile"):
        await tables.remove("profile", 1, [])
