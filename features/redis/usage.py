"""How much memory a project takes in the store, from a bounded walk over its keys."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio
import redis.exceptions

from tidemill.errors import StoreUnavailable
from tidemill.topics import Names

SCAN_COUNT = 1_000
SAMPLES = 300  # keys of a kind that are weighed
ENTITY, STATIC_ROW, OTHER_STATE, BOOKKEEPING = "entity", "static row", "other state", "bookkeeping"
_KINDS = (ENTITY, STATIC_ROW, OTHER_STATE, BOOKKEEPING)
_UNAVAILABLE = (
    redis.exceptions.RedisError,
    redis.exceptions.RedisClusterException,
    OSError,
    TimeoutError,
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Keys of one kind: how many, and the mean bytes of one with its key and without (`blob`).

    `keys` is an estimate when not all keys were walked over; the bytes are means of a sample.
    """

    kind: str
    name: str
    keys: int
    bytes_each: float
    blob_bytes_each: float

    @property
    def bytes(self) -> float:
        """All of them."""
        return self.keys * self.bytes_each


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """What a project's keys take, and what the servers say of themselves.

    `walked` of the servers' `keys` were looked at. `limit_bytes` is maxmemory, 0 for none;
    `allocator` is what their memory comes from.
    """

    usages: tuple[Usage, ...]
    walked: int
    keys: int
    used_bytes: int
    limit_bytes: int
    allocator: str

    @property
    def bytes(self) -> float:
        """What the project takes."""
        return sum(usage.bytes for usage in self.usages)

    @property
    def overhead(self) -> float:
        """Bytes of an entity's key and of the server's own, beside the blob; 0 without entities."""
        found = [usage for usage in self.usages if usage.kind == ENTITY and usage.keys]
        count = sum(usage.keys for usage in found)
        beside = sum((usage.bytes_each - usage.blob_bytes_each) * usage.keys for usage in found)
        return beside / count if count else 0.0

    def projected(self, blob_bytes: int) -> int:
        """What one entity takes whose blob has so many bytes, as this allocator rounds."""
        wanted = math.ceil(blob_bytes + self.overhead)
        if not self.allocator.startswith("jemalloc"):
            return wanted
        # jemalloc has four sizes between a power of two and the next.
        step = max(1 << ((wanted - 1).bit_length() - 3), 16)
        return -(-wanted // step) * step


@dataclass
class _Found:
    keys: float = 0.0
    seen: int = 0
    sample: list[bytes] = field(default_factory=list)
    weights: list[tuple[int, int]] = field(default_factory=list)


class RedisUsage:
    """Walks over the keys of a server, or of all nodes of a cluster; writes nothing."""

    def __init__(self, names: Names, entities: Iterable[str], client: Any) -> None:
        self._names, self._client = names, client
        self._entities = tuple(entities)

    async def measure(
        self, limit: int = 1_000_000, walked: Callable[[int, int], None] = lambda done, all_: None
    ) -> StoreUsage:
        """Look at `limit` keys at most; `walked` is told how many of how many.

        Raises StoreUnavailable.
        """
        try:
            return await self._measure(limit, walked)
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"measuring the store: {error}") from error

    async def _measure(self, limit: int, walked: Callable[[int, int], None]) -> StoreUsage:
        nodes = await self._nodes()
        sizes = [int(await node.execute_command("DBSIZE")) for node in nodes]
        everything = sum(sizes)
        found: dict[tuple[str, str], _Found] = defaultdict(_Found)
        done, used, memory_limit, allocator = 0, 0, 0, ""
        for node, size in zip(nodes, sizes, strict=True):
            share = limit if everything <= limit else limit * size // everything
            here: dict[tuple[str, str], _Found] = defaultdict(_Found)
            count = 0
            async for keys in _walk(node, share):
                count += len(keys)
                self._sort(keys, here)
                walked(done + count, min(limit, everything))
            done += count
            for kind, each in here.items():
                found[kind].keys += each.seen * max(size / count, 1.0)
                found[kind].weights += await _weigh(node, each.sample)
            memory = await node.execute_command("INFO", "memory")
            used += int(memory["used_memory"])
            memory_limit += int(memory.get("maxmemory", 0))
            allocator = str(memory.get("mem_allocator", ""))
        usages = [_usage(*kind, each) for kind, each in found.items()]
        usages.sort(key=lambda usage: (_KINDS.index(usage.kind), usage.name))
        return StoreUsage(tuple(usages), done, everything, used, memory_limit, allocator)

    async def _nodes(self) -> Sequence[Any]:
        if isinstance(self._client, redis.asyncio.RedisCluster):
            await self._client.initialize()
            return self._client.get_primaries()
        return [self._client]

    def _sort(self, keys: Sequence[bytes], found: dict[tuple[str, str], _Found]) -> None:
        for key in keys:
            kind = self._kind(key.decode(errors="replace"))
            if kind is None:
                continue
            each = found[kind]
            each.seen += 1
            if len(each.sample) < SAMPLES:
                each.sample.append(key)
            elif (place := random.randrange(each.seen)) < SAMPLES:  # Vitter's algorithm R
                each.sample[place] = key

    def _kind(self, key: str) -> tuple[str, str] | None:
        """What a key is; None for another project's."""
        tag, _, rest = key.partition("}:")
        if not tag.startswith(f"{{{self._names.project}:"):
            return None
        head, *tail = rest.split(":", 3)
        if head == self._names.state and tail and tail[0] in self._entities:
            return ENTITY, tail[0]
        if head == "static" and len(tail) == 3 and tail[1].isdecimal():
            return STATIC_ROW, tail[0]
        if len(head) == 8 and set(head) <= set("0123456789abcdef"):
            return OTHER_STATE, head
        return BOOKKEEPING, ""


async def _walk(node: Any, limit: int) -> AsyncIterator[list[bytes]]:
    """Keys in the order of the server's table, which is that of their hashes: a random one."""
    cursor, count = 0, 0
    while count < limit:
        cursor, keys = await node.execute_command("SCAN", cursor, "COUNT", SCAN_COUNT)
        cursor = int(cursor)
        count += len(keys)
        yield keys
        if cursor == 0:
            return


async def _weigh(node: Any, keys: Sequence[bytes]) -> list[tuple[int, int]]:
    """(bytes with the key and the server's own, bytes of the value); expired keys are left out."""
    weights = []
    for key in keys:
        with_key = await node.execute_command("MEMORY USAGE", key)
        if with_key is None:
            continue
        try:
            value = int(await node.execute_command("STRLEN", key))
        except redis.exceptions.ResponseError:  # a hash
            value = int(with_key)
        weights.append((int(with_key), value))
    return weights


def _usage(kind: str, name: str, found: _Found) -> Usage:
    count = max(len(found.weights), 1)
    with_key = sum(weight for weight, _ in found.weights) / count
    value = sum(weight for _, weight in found.weights) / count
    return Usage(kind, name, round(found.keys), with_key, value)
