"""The online store as a port: blobs by key, and one fenced atomic step per micro-batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Protocol

from tidemill.clock import Clock, SystemClock
from tidemill.errors import FencedError


@dataclass(frozen=True, slots=True)
class Commit:
    """One atomic step of a step's partition.

    It applies only if the fence's epoch is `epoch` and every `expected` field still has its value
    (a field that is not there counts as 0); then fields and blobs are set, counters increased and
    the side hash changed, all or nothing. `expires_ms` says for each blob how many milliseconds
    after this write it is forgotten (0: never); left empty, none is.
    """

    fence: str
    side: str
    epoch: int
    expected: Mapping[str, int]
    fields: Mapping[str, int]
    counters: Mapping[str, int] = field(default_factory=dict)
    side_set: Mapping[str, bytes] = field(default_factory=dict)
    side_delete: Sequence[str] = ()
    blobs: Sequence[tuple[str, bytes]] = ()
    expires_ms: Sequence[int] = ()


class OnlineStore(Protocol):
    """Feature state, offsets and pending predictions. Every call may wait on the network.

    All raise StoreUnavailable when the store does not answer or refuses the write (out of memory,
    loading).
    """

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """The blobs of the keys in one round trip, None where there is none or it has expired."""
        ...

    async def claim(self, fence: str) -> dict[str, int]:
        """Become the owner: raise the epoch by one; returns the fence's fields as they are now."""
        ...

    async def fence_fields(self, fences: Sequence[str]) -> list[dict[str, int]]:
        """The fields of several fences as they are."""
        ...

    async def side(self, key: str) -> dict[str, bytes]:
        """A step's whole side hash."""
        ...

    async def commit(self, commit: Commit) -> None:
        """Apply one step. Raises FencedError when the fence refuses; then nothing changed."""
        ...

    async def write(
        self, blobs: Sequence[tuple[str, bytes]], expires_ms: Sequence[int] = ()
    ) -> None:
        """Set blobs without a fence: for loading a backfilled state before any worker runs.

        `expires_ms` as in `Commit`.
        """
        ...

    async def take(self, key: str, blob: bytes, expires_ms: int) -> bytes | None:
        """Set a blob unless there is one: None when it was set, else the one that is there.

        One atomic step: of several callers at once one gets None. It is forgotten after
        `expires_ms` milliseconds.
        """
        ...


class MemoryStore:
    """The store in memory: the same contract, for replay, demos and tests."""

    def __init__(self, clock: Clock | None = None) -> None:
        """`clock` decides what has expired; the machine's when none is given."""
        self._clock = clock or SystemClock()
        self._expiries: dict[str, int] = {}
        self.blobs: dict[str, bytes] = {}
        self.fences: dict[str, dict[str, int]] = {}
        self.sides: dict[str, dict[str, bytes]] = {}

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """The blobs of the keys."""
        if self._expiries:
            now = self._clock.now_ms()
            for key in [key for key in keys if self._expiries.get(key, now + 1) <= now]:
                self.blobs.pop(key, None)
                self._expiries.pop(key, None)
        return [self.blobs.get(key) for key in keys]

    async def claim(self, fence: str) -> dict[str, int]:
        """Raise the epoch by one."""
        fields = self.fences.setdefault(fence, {"epoch": 0})
        fields["epoch"] += 1
        return dict(fields)

    async def fence_fields(self, fences: Sequence[str]) -> list[dict[str, int]]:
        """The fields of several fences."""
        return [dict(self.fences.get(fence, {})) for fence in fences]

    async def side(self, key: str) -> dict[str, bytes]:
        """A step's whole side hash."""
        return dict(self.sides.get(key, {}))

    async def commit(self, commit: Commit) -> None:
        """Apply one step or raise FencedError."""
        fields = self.fences.get(commit.fence, {})
        if fields.get("epoch") != commit.epoch:  # a fence nobody claimed has none
            found = fields.get("epoch")
            raise FencedError(f"{commit.fence}: epoch: found {found}; allowed: {commit.epoch}")
        for name, expected in commit.expected.items():
            if (found := fields.get(name, 0)) != expected:
                raise FencedError(f"{commit.fence}: {name}: found {found}; allowed: {expected}")
        fields.update(commit.fields)
        for name, delta in commit.counters.items():
            fields[name] = fields.get(name, 0) + delta
        side = self.sides.setdefault(commit.side, {})
        side.update(commit.side_set)
        for name in commit.side_delete:
            side.pop(name, None)
        self._set(commit.blobs, commit.expires_ms)

    async def write(
        self, blobs: Sequence[tuple[str, bytes]], expires_ms: Sequence[int] = ()
    ) -> None:
        """Set blobs without a fence."""
        self._set(blobs, expires_ms)

    async def take(self, key: str, blob: bytes, expires_ms: int) -> bytes | None:
        """Set a blob unless there is one."""
        (found,) = await MemoryStore.read(self, [key])  # which lets nobody in between
        if found is None:
            self._set([(key, blob)], [expires_ms])
        return found

    def _set(self, blobs: Sequence[tuple[str, bytes]], expires_ms: Sequence[int]) -> None:
        now = self._clock.now_ms()
        for (key, blob), expires in zip(blobs, expires_ms or repeat(0), strict=False):
            self.blobs[key] = blob
            if expires:
                self._expiries[key] = now + expires
            else:
                self._expiries.pop(key, None)
