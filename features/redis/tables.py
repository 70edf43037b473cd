"""The tables of static rows on Redis, Valkey or a cluster: written by MSETNX, removed by SCAN."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any

import redis.exceptions

from features.static.load import is_retired
from tidemill.errors import StoreUnavailable
from tidemill.topics import Names

SCAN_COUNT = 5_000
REMOVE_CHUNK = 1_000
_UNAVAILABLE = (
    redis.exceptions.RedisError,
    redis.exceptions.RedisClusterException,
    OSError,
    TimeoutError,
)


class RedisTables:
    """`StaticTables` on one client (see `redis_client`), which must not decode responses."""

    def __init__(self, names: Names, client: Any) -> None:
        self._names, self._client = names, client

    async def add(self, rows: Sequence[tuple[str, bytes]]) -> int | None:
        """One MSETNX for each hash tag."""
        try:
            for places in _by_tag([key for key, _ in rows]):
                part = chain.from_iterable(rows[place] for place in places)
                if not await self._client.execute_command("MSETNX", *part):
                    return await self._first_there(rows, places)
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"writing {len(rows)} static rows: {error}") from error
        return None

    async def _first_there(self, rows: Sequence[tuple[str, bytes]], places: list[int]) -> int:
        keys = [rows[place][0] for place in places]
        found = await self._client.execute_command("MGET", *keys)
        return next(place for place, blob in zip(places, found, strict=True) if blob is not None)

    async def remove(self, row: str, until: int, keep: Collection[int]) -> int:
        """Walks over all keys of the server or cluster, some thousand at a time."""
        pattern = f"{{{self._names.project}:*}}:static:{row}:[0-9]*"
        removed, gone = 0, list[str]()
        try:
            async for key in self._client.scan_iter(match=pattern, count=SCAN_COUNT):
                text = key.decode()
                if is_retired(self._names, text, row, until, keep):
                    gone.append(text)
                if len(gone) >= REMOVE_CHUNK:
                    removed += await self._unlink(gone)
                    gone = []
            return removed + await self._unlink(gone)
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"removing static rows of {row}: {error}") from error

    async def _unlink(self, keys: Sequence[str]) -> int:
        removed = 0
        for places in _by_tag(keys):
            part = (keys[place] for place in places)
            removed += int(await self._client.execute_command("UNLINK", *part))
        return removed


def _by_tag(keys: Sequence[str]) -> Collection[list[int]]:
    """The places of the keys of each hash tag: a cluster takes no others in one command."""
    tags: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        tags.setdefault(key[: key.index("}")], []).append(place)
    return tags.values()
