"""The bus in memory: the same contract as a broker's, for tests and for trying things out."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from tidemill.bus import Assigned, Headers, Outgoing, Revoked
from tidemill.clock import Clock
from tidemill.errors import BusUnavailable, LogLost
from tidemill.topics import ALL, MODELS, Names
from tidemill.wire import Announcement, decode


@dataclass(frozen=True, slots=True)
class MemoryMessage:
    """`Message` as it lies in the log."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers = ()


class MemoryBus:
    """A project's log and its groups; with `reachable` False it is a broker that is down."""

    def __init__(self, names: Names, clock: Clock) -> None:
        self.reachable = True
        self.room: int | None = None
        """So many records more, and the bus is not reachable any more; None: it does not break."""
        self._names, self._clock = names, clock
        self._logs: dict[tuple[str, int], list[MemoryMessage]] = {
            (kind, partition): [] for kind in ALL for partition in range(names.partitions_of(kind))
        }
        self._groups: dict[str, _Group] = {}
        self._appended = asyncio.Event()

    def append(
        self,
        kind: str,
        value: bytes | None,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> MemoryMessage:
        """Write one record, also when the bus is not reachable; a value of None is a tombstone."""
        log = self._logs[kind, self.place(kind, key, partition)[0]]
        message = MemoryMessage(len(log), key, value, self._clock.now_ms(), headers)
        log.append(message)
        self._appended.set()
        self._appended = asyncio.Event()
        return message

    def place(self, kind: str, key: bytes | None, partition: int | None) -> tuple[int, int]:
        """The partition and the offset that the next record with this key gets."""
        if partition is None:
            partition = zlib.crc32(key or b"") % self._names.partitions_of(kind)
        return partition, len(self._logs[kind, partition])

    def log(self, kind: str, partition: int = 0) -> Sequence[MemoryMessage]:
        """Every record of a partition."""
        return self._logs[kind, partition]

    def topic(self, kind: str) -> str:
        """The topic of this kind."""
        return self._names.topic(kind)

    def has(self, kind: str, partition: int) -> bool:
        """True when the topic has this partition."""
        return (kind, partition) in self._logs

    def producer(self) -> MemoryProducer:
        """A producer of its own."""
        return MemoryProducer(self)

    def consumer(self, group: str, kinds: Sequence[str]) -> MemoryConsumer:
        """A member to be of `group`; it joins when it is started."""
        joined = self._groups.setdefault(group, _Group(self._names))
        return MemoryConsumer(self, joined, kinds)

    async def expire(self, member: MemoryConsumer) -> None:
        """End a member's session: others get its partitions, and it is not told."""
        await member.group.remove(member)

    async def announcements(self) -> AsyncIterator[Announcement]:
        """Announcements from now on. Raises BusUnavailable."""
        self.check()
        log = self._logs[MODELS, 0]
        place = len(log)
        while True:
            appended = self._appended
            while place < len(log):
                place += 1
                yield decode(Announcement, log[place - 1].value or b"")
            await appended.wait()

    async def wait(self, wait_ms: int) -> None:
        """Until something is appended, or `wait_ms` are over."""
        try:
            await asyncio.wait_for(self._appended.wait(), wait_ms / 1000)
        except TimeoutError:
            return

    def take_room(self) -> None:
        """Let one more record in, or raise BusUnavailable."""
        if self.room is not None:
            self.reachable = self.room > 0
            self.room = self.room - 1 if self.reachable else None
        self.check()

    def check(self) -> None:
        """Raise BusUnavailable unless the bus is reachable."""
        if not self.reachable:
            raise BusUnavailable("memory bus: found it not reachable; allowed: reachable")


class MemoryProducer:
    """`Producer` on a memory bus."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    async def send_many(
        self,
        kind: str,
        records: Sequence[Outgoing],
        partition: int | None = None,
    ) -> Mapping[int, int]:
        """Append all, or the first of them when the bus breaks in between."""
        await asyncio.sleep(0)  # as a network does, let others run first
        ends: dict[int, int] = {}
        for key, value, *headers in records:
            self._bus.take_room()
            place, offset = self._bus.place(kind, key, partition)
            ends[place] = offset + 1
            self._bus.append(kind, value, key, place, *headers)
        return ends


class MemoryConsumer:
    """`Consumer` on a memory bus."""

    def __init__(self, bus: MemoryBus, group: _Group, kinds: Sequence[str]) -> None:
        self.group = group
        self.kinds = tuple(kinds)
        self.partitions: tuple[int, ...] = ()
        self._bus = bus
        self._next: dict[tuple[str, int], int] = {}
        self._paused: set[tuple[str, int]] = set()
        self._assigned: Assigned | None = None
        self._revoked: Revoked | None = None
        self._lost: LogLost | None = None

    async def start(self, assigned: Assigned, revoked: Revoked) -> None:
        """Join the group, and have the partitions when this returns."""
        self._bus.check()
        self._assigned, self._revoked = assigned, revoked
        await self.group.add(self)

    async def poll(
        self, wait_ms: int, limit: int
    ) -> dict[tuple[str, int], Sequence[MemoryMessage]]:
        """At most `limit` records; nothing while the bus is not reachable."""
        if self._lost is not None:
            raise self._lost
        if not (found := self._fetch(limit)):
            await self._bus.wait(wait_ms)
            found = self._fetch(limit)
        return found

    def seek(self, kind: str, partition: int, offset: int) -> None:
        """Read on from `offset`."""
        if (kind, partition) in self._next:
            self._next[kind, partition] = offset

    def lag(self) -> int:
        """What lies behind the places read so far."""
        return sum(max(0, len(self._bus.log(*at)) - place) for at, place in self._next.items())

    def behind(self, kind: str, partition: int) -> int | None:
        """What the log holds after the place read so far."""
        at = (kind, partition)
        return max(0, len(self._bus.log(*at)) - self._next[at]) if at in self._next else 0

    def pause(self, kind: str, partition: int) -> None:
        """Read nothing of it."""
        if (kind, partition) in self._next:
            self._paused.add((kind, partition))

    def resume(self, kind: str, partition: int) -> None:
        """Read it again."""
        self._paused.discard((kind, partition))

    async def stop(self) -> None:
        """Leave the group, if it is in one; as a broker's client does, without a callback."""
        self._drop()
        await self.group.remove(self)

    async def assign(self, partitions: Sequence[int]) -> None:
        """Take partitions, and read each from where its callback says."""
        self.partitions = tuple(partitions)
        assert self._assigned is not None
        for partition in partitions:
            for kind, offset in (await self._assigned(partition)).items():
                if not self._bus.has(kind, partition):
                    continue
                if offset > 0 and not self._bus.log(kind, partition):
                    self._lost = LogLost(self._bus.topic(kind), partition, offset)
                else:
                    self._next[kind, partition] = offset

    async def revoke(self) -> None:
        """Give all partitions up."""
        assert self._revoked is not None
        for partition in self.partitions:
            await self._revoked(partition)
        self._drop()

    def _drop(self) -> None:
        self.partitions, self._next = (), {}
        self._paused.clear()

    def _fetch(self, limit: int) -> dict[tuple[str, int], Sequence[MemoryMessage]]:
        found: dict[tuple[str, int], Sequence[MemoryMessage]] = {}
        for at, start in self._next.items() if self._bus.reachable else ():
            if at in self._paused:
                continue
            if limit and (records := self._bus.log(*at)[start : start + limit]):
                found[at] = records
                self._next[at] = start + len(records)
                limit -= len(records)
        return found


class _Group:
    """Its members share the partitions in ranges; every change assigns all of them anew."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._members: list[MemoryConsumer] = []
        self._rebalancing = asyncio.Lock()

    async def add(self, member: MemoryConsumer) -> None:
        async with self._rebalancing:
            await self._revoke_all()
            self._members.append(member)
            await self._assign_all()

    async def remove(self, member: MemoryConsumer) -> None:
        async with self._rebalancing:
            if member not in self._members:
                return
            self._members.remove(member)
            await self._revoke_all()
            await self._assign_all()

    async def _revoke_all(self) -> None:
        for member in self._members:
            await member.revoke()

    async def _assign_all(self) -> None:
        for place, member in enumerate(self._members):
            count = max(self._names.partitions_of(kind) for kind in member.kinds)
            share, more = divmod(count, len(self._members))
            first = place * share + min(place, more)
            await member.assign(range(first, first + share + (place < more)))
