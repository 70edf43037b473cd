"""The online store on Redis, Valkey or a cluster of them; the fence is one server-side script."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import chain, groupby
from typing import Any

import redis.asyncio
import redis.exceptions

from features.redis.client import KeptConnections
from features.store import Commit
from tidemill.errors import FencedError, StoreUnavailable

WRITE_CHUNK = 1_000
_UNAVAILABLE = (
    redis.exceptions.RedisError,
    redis.exceptions.RedisClusterException,
    OSError,
    TimeoutError,
)
_CLAIM = "redis.call('HINCRBY', KEYS[1], 'epoch', 1) return redis.call('HGETALL', KEYS[1])"
_TAKE = "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'PX', ARGV[2])"


class _Script:
    """A script and the name under which a server that has seen it knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Asking:
    """Whatever the client raises, in the words of the port; a generator would cost each read more.

    `pool`: whose idle connections are dropped with one that failed.
    """

    __slots__ = ("_pool", "_what")

    def __init__(self, what: str, pool: Any) -> None:
        self._what, self._pool = what, pool

    async def __aenter__(self) -> None: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, redis.exceptions.MovedError):
            raise StoreUnavailable(
                f"{self._what}: the server belongs to a cluster ({error}): "
                "set TIDEMILL_REDIS_CLUSTER=true"
            ) from error
        if isinstance(error, _UNAVAILABLE):
            if isinstance(error, redis.exceptions.ConnectionError) and self._pool:
                # The idle connections are as dead, and each would fail one more call.
                await self._pool.disconnect(inuse_connections=False)
            raise StoreUnavailable(f"{self._what}: {error}") from error


class RedisStore:
    """`OnlineStore` on one client (see `redis_client`), which must not decode responses.

    On a cluster every command goes to the node of its keys' hash tag; what concerns several
    tags is sent to all of their nodes at once.
    """

    def __init__(self, client: redis.asyncio.Redis | redis.asyncio.RedisCluster) -> None:
        self._client: Any = client
        self._cluster = isinstance(client, redis.asyncio.RedisCluster)
        self._kept = None if self._cluster else KeptConnections(client)
        blobs, fence = (_lua(name) for name in ("blobs", "fence"))
        self._claim_script = _Script(_CLAIM)
        self._commit_script = _Script(blobs + fence)
        self._write_script = _Script(blobs + "set_blobs(1, 1) return 'OK'")
        self._lease_script = _Script(_lua("lease"))
        self._take_script = _Script(_TAKE)

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """One MGET; on a cluster one for each hash tag."""
        if not keys:
            return []
        async with self._asking(f"reading {len(keys)} keys"):
            if self._kept:
                return list(await self._kept.ask("MGET", *keys))
            groups = _by_tag(keys)
            answers = await _all(
                self._send(tag, "MGET", *(keys[place] for place in places))
                for tag, places in groups.items()
            )
            found: list[bytes | None] = [None] * len(keys)
            for places, blobs in zip(groups.values(), answers, strict=True):
                for place, blob in zip(places, blobs, strict=True):
                    found[place] = blob
            return found

    async def claim(self, fence: str) -> dict[str, int]:
        """Raise the epoch by one and read the fence, atomically."""
        async with self._asking(f"claiming {fence}"):
            flat = await self._run(self._claim_script, [fence], [])
            return _fields(dict(zip(flat[::2], flat[1::2], strict=True)))

    async def fence_fields(self, fences: Sequence[str]) -> list[dict[str, int]]:
        """The fields of several fences in one round trip."""
        if not fences:
            return []
        async with self._asking(f"reading {len(fences)} fences"):
            if self._cluster:
                await self._client.initialize()
            pipeline = self._client.pipeline(transaction=False)
            for fence in fences:
                pipeline.hgetall(fence)
            return [_fields(fields) for fields in await pipeline.execute()]

    async def side(self, key: str) -> dict[str, bytes]:
        """A step's whole side hash."""
        async with self._asking(f"reading {key}"):
            fields = await self._send(key, "HGETALL", key)
            return {name.decode(): value for name, value in fields.items()}

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
            *_blobs(commit.blobs, commit.expires_ms),
        ]
        async with self._asking(f"writing {commit.fence}"):
            try:
                await self._run(self._commit_script, keys, arguments)
            except redis.exceptions.ResponseError as error:
                if "FENCED" in str(error):
                    raise FencedError(f"{commit.fence}: {error}") from error
                raise

    async def write(
        self, blobs: Sequence[tuple[str, bytes]], expires_ms: Sequence[int] = ()
    ) -> None:
        """Some thousand blobs of one hash tag at a time."""
        async with self._asking(f"writing {len(blobs)} blobs"):
            for places in _by_tag([key for key, _ in blobs]).values():
                for start in range(0, len(places), WRITE_CHUNK):
                    chunk = places[start : start + WRITE_CHUNK]
                    part = [blobs[place] for place in chunk]
                    expiries = [expires_ms[place] for place in chunk] if expires_ms else ()
                    await self._run(
                        self._write_script, [key for key, _ in part], _blobs(part, expiries)
                    )

    async def take(self, key: str, blob: bytes, expires_ms: int) -> bytes | None:
        """One script call."""
        async with self._asking(f"taking {key}"):
            found = await self._run(self._take_script, [key], [blob, expires_ms])
            return None if found is None else bytes(found)

    async def lease(
        self, key: str, wanted: int, quota: int, window_ms: int
    ) -> tuple[int, int, int]:
        """What `lease.lua` grants of a quota, what is left of it, and the window's rest in ms."""
        async with self._asking(f"reading {key}"):
            found = await self._run(self._lease_script, [key], [wanted, quota, window_ms])
            granted, left, resets_ms = (int(value) for value in found)
            return granted, left, resets_ms

    async def _run(
        self, script: _Script, keys: Sequence[str], arguments: Sequence[str | int | bytes]
    ) -> Any:
        rest = (len(keys), *keys, *arguments)
        try:
            return await self._send(keys[0], "EVALSHA", script.digest, *rest)
        except redis.exceptions.NoScriptError:  # nothing was run; this also teaches it
            return await self._send(keys[0], "EVAL", script.text, *rest)

    async def _send(self, key: str, *command: str | int | bytes) -> Any:
        """One command about keys that share the hash tag of `key`."""
        if not self._cluster:
            return await self._client.execute_command(*command)
        await self._client.initialize()
        # Left to itself the client hashes every key of the command, twice.
        node = self._client.get_node_from_key(key)
        return await self._client.execute_command(*command, target_nodes=node)

    def _asking(self, what: str) -> _Asking:
        return _Asking(what, None if self._cluster else self._client.connection_pool)


def _lua(name: str) -> str:
    return (files("features.redis") / f"{name}.lua").read_text()


async def _all(calls: Iterable[Any]) -> list[Any]:
    """Wait for all calls, then raise the first error: none is left running."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


def _by_tag(keys: Sequence[str]) -> dict[str, list[int]]:
    """The places of the keys that share a hash tag, by the first such key's tag."""
    places: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        start = key.find("{")
        end = key.find("}", start + 1)
        tag = key[start : end + 1] if -1 < start < end - 1 else key
        places.setdefault(tag, []).append(place)
    return places


def _blobs(
    blobs: Sequence[tuple[str, bytes]], expires_ms: Sequence[int]
) -> list[str | int | bytes]:
    """The blobs as blobs.lua takes them."""
    if expires_ms:
        runs = [(len(list(run)), expires) for expires, run in groupby(expires_ms)]
    else:
        runs = [(len(blobs), 0)]
    return [*_counted(runs), *(blob for _, blob in blobs)]


def _counted(pairs: Iterable[tuple[Any, Any]]) -> list[str | int | bytes]:
    flat = list(chain.from_iterable(pairs))
    return [len(flat) // 2, *flat]


def _fields(raw: Mapping[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in raw.items()}
