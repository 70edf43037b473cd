"""The online store on Redis or Valkey; the fence is one server-side script."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import chain
from typing import Any

import redis.asyncio
import redis.exceptions

from features.store import Commit
from tidemill.errors import FencedError, StoreUnavailable

WRITE_CHUNK = 1_000
_UNAVAILABLE = (redis.exceptions.RedisError, OSError, TimeoutError)


class RedisStore:
    """`OnlineStore` on one client, which must not decode responses."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client
        self._script = client.register_script((files("features") / "fence.lua").read_text())

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """One MGET."""
        if not keys:
            return []
        try:
            return list(await self._client.mget(keys))
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"reading {len(keys)} keys: {error}") from error

    async def claim(self, fence: str) -> dict[str, int]:
        """Raise the epoch by one and read the fence, atomically."""
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hincrby(fence, "epoch", 1)
                pipeline.hgetall(fence)
                _, fields = await pipeline.execute()
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"claiming {fence}: {error}") from error
        return _fields(fields)

    async def fence_fields(self, fences: Sequence[str]) -> list[dict[str, int]]:
        """The fields of several fences in one round trip."""
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for fence in fences:
                    pipeline.hgetall(fence)
                return [_fields(fields) for fields in await pipeline.execute()]
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"reading {len(fences)} fences: {error}") from error

    async def side(self, key: str) -> dict[str, bytes]:
        """A step's whole side hash."""
        try:
            return {
                name.decode(): value for name, value in (await self._client.hgetall(key)).items()
            }
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"reading {key}: {error}") from error

    async def commit(self, commit: Commit) -> None:
        """One script call."""
        keys = [commit.fence, commit.side, *(key for key, _ in commit.blobs)]
        arguments: list[str | int | bytes] = [
            commit.epoch,
            *_counted(commit.expected.items()),
            *_counted(commit.fields.items()),
            *_counted(commit.counters.items()),
            *_counted(commit.side_set.items()),
            len(commit.side_delete),
            *commit.side_delete,
            *(blob for _, blob in commit.blobs),
        ]
        try:
            await self._script(keys=keys, args=arguments)
        except redis.exceptions.ResponseError as error:
            if "FENCED" in str(error):
                raise FencedError(f"{commit.fence}: {error}") from error
            raise StoreUnavailable(f"writing {commit.fence}: {error}") from error
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"writing {commit.fence}: {error}") from error

    async def write(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        """MSET in chunks, each within one hash tag's reach on a single node."""
        try:
            for start in range(0, len(blobs), WRITE_CHUNK):
                async with self._client.pipeline(transaction=False) as pipeline:
                    for key, blob in blobs[start : start + WRITE_CHUNK]:
                        pipeline.set(key, blob)
                    await pipeline.execute()
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"writing {len(blobs)} blobs: {error}") from error


def _counted(pairs: Any) -> list[str | int | bytes]:
    flat = list(chain.from_iterable(pairs))
    return [len(flat) // 2, *flat]


def _fields(raw: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in raw.items()}
