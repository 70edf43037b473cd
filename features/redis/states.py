"""Remove a state of the entities from Redis, Valkey or a cluster: fences first, then every blob."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis.exceptions

from tidemill.errors import StoreUnavailable
from tidemill.topics import FEATURE_STEPS, Names

SCAN_COUNT = 5_000
REMOVE_CHUNK = 1_000
_UNAVAILABLE = (
    redis.exceptions.RedisError,
    redis.exceptions.RedisClusterException,
    OSError,
    TimeoutError,
)


class RedisStates:
    """States on one client (see `redis_client`), which must not decode responses."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def remove(self, names: Names, advance: Callable[[int], None]) -> int:
        """Delete the state of `names`; returns how many keys. Safe to repeat.

        Without its fences whoever still writes to it is refused, so that nothing comes back. Walks
        over all keys of the server or cluster, some thousand at a time. Raises StoreUnavailable.
        """
        partitions = range(names.partitions)
        fences = [names.fence(step, p) for step in FEATURE_STEPS for p in partitions]
        sides = [names.side(step, p) for step in FEATURE_STEPS for p in partitions]
        try:
            removed = await self._unlink([*fences, *sides])
            gone: list[str] = []
            pattern = f"{{{names.project}:*}}:{names.state}:*"
            async for key in self._client.scan_iter(match=pattern, count=SCAN_COUNT):
                gone.append(key.decode())
                if len(gone) >= REMOVE_CHUNK:
                    removed += await self._unlink(gone)
                    advance(len(gone))
                    gone = []
            removed += await self._unlink(gone)
            advance(len(gone))
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"removing state {names.state}: {error}") from error
        return removed

    async def _unlink(self, keys: Sequence[str]) -> int:
        """A cluster takes the keys of one hash tag, and no others, in one command."""
        tags: dict[str, list[str]] = {}
        for key in keys:
            tags.setdefault(key[: key.index("}")], []).append(key)
        removed = 0
        for own in tags.values():
            removed += int(await self._client.execute_command("UNLINK", *own))
        return removed
