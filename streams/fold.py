"""Updates → windows: fold re-keyed rows into tiles, write changed entities behind the fence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from features.arena import Arena
from features.columns import distinct_codes
from features.freshness import SOURCE, UPDATES_FENCE
from features.plan import EntityPlan, GroupPlan
from streams.context import Context
from streams.fencing import Ownership
from streams.rekey import NO_ENTITY
from streams.step import Records
from tidemill.durations import DAY_MS
from tidemill.topics import UPDATES
from tidemill.wire import UpdateBatch, UpdateGroup, decode

EXPIRY_GRACE_MS = 7 * DAY_MS
"""How much longer the store keeps an idle entity than event time says: a stream may stand still."""
CACHE_BYTES = 512 * 1024 * 1024


@dataclass
class _Fresh:
    """What a micro-batch brings that is new: groups, how far each source has come, events.

    `produced_ms` are when the first events of its parts were produced, as far as is known.
    """

    groups: list[UpdateGroup]
    sources: dict[str, int]
    events: int = 0
    produced_ms: list[int] = field(default_factory=list)


class Fold:
    """Keeps the partition's entities in memory and the store one step behind.

    `cache_bytes` bounds what the entities of all its partitions take, as rows; the rest is read
    from the store when it is touched again.
    """

    name = UPDATES_FENCE
    kinds = (UPDATES,)

    def __init__(self, context: Context, cache_bytes: int = CACHE_BYTES) -> None:
        self._plan, self._names, self._store = context.plan, context.names, context.store
        self._measurements, self._state = context.measurements, context.plan.state
        self._clock = context.clock
        self._cache_bytes = cache_bytes
        self._groups: dict[tuple[int, int], tuple[EntityPlan, GroupPlan]] = {
            (entity.index, group.event_index): (entity, group)
            for entity in self._plan.entities
            for group in entity.groups
        }
        self._owned: dict[int, Ownership] = {}
        self._arenas: dict[int, list[Arena]] = {}

    async def open(self, partition: int, claim: bool) -> Mapping[str, int]:
        """Go on from the fence; entities are loaded when they are first touched."""
        if claim or partition not in self._owned:
            self._owned[partition] = Ownership(self._store, self._names, self.name, partition)
        await self._owned[partition].open(claim)
        self._arenas[partition] = [Arena(entity) for entity in self._plan.entities]
        return {UPDATES: self._owned[partition].offset(UPDATES)}

    async def process(self, partition: int, records: Records) -> None:
        """Fold one micro-batch and commit blobs, sources and offset in one step."""
        owned = self._owned[partition]
        messages = owned.unseen(UPDATES, records[UPDATES])
        if not messages:
            return
        fresh = self._fresh(owned, (decode(UpdateBatch, m.value or b"") for m in messages))
        keys = self._keys(fresh.groups)
        await self._load(partition, keys)
        late = self._fold(partition, fresh.groups)
        blobs, expires_ms = self._blobs(partition, keys)
        await owned.commit(
            {UPDATES: messages[-1].offset + 1},
            fields=fresh.sources,
            counters={"events_applied": fresh.events, "late_values": late},
            blobs=blobs,
            expires_ms=expires_ms,
        )
        self._measurements.count("tidemill_events_applied_total", fresh.events)
        self._note_freshness(fresh)
        self._trim(partition)

    def forget(self, partition: int) -> None:
        """Drop the entities of a partition."""
        self._arenas.pop(partition, None)

    async def tick(self) -> None:
        """Nothing follows the clock."""

    async def close(self) -> None:
        """Nothing waits."""

    def _fresh(self, owned: Ownership, batches: Iterable[UpdateBatch]) -> _Fresh:
        """Only rows beyond what each source has had applied: a re-sent batch changes nothing."""
        fresh = _Fresh([], {})
        for batch in batches:
            if batch.state != self._state:
                continue  # another declaration's, folded beside this one
            field = f"{SOURCE}{batch.source}"
            applied = fresh.sources.get(field, owned.get(field))
            if batch.next_offset <= applied:
                continue
            for group in batch.groups:
                kept = group if applied == 0 else _after(group, applied)
                fresh.events += kept.first.count(1)
                if kept.keys and kept.entity != NO_ENTITY:
                    fresh.groups.append(kept)
            fresh.sources[field] = batch.next_offset
            if batch.groups and batch.produced_ms:
                fresh.produced_ms.append(batch.produced_ms)
        return fresh

    def _note_freshness(self, fresh: _Fresh) -> None:
        """How long the events took that waited longest, now that they can be read."""
        now_ms = self._clock.now_ms()
        for produced_ms in fresh.produced_ms:
            seconds = max(0, now_ms - produced_ms) / 1000
            self._measurements.observe("tidemill_event_to_feature_seconds", seconds)

    def _keys(self, groups: Sequence[UpdateGroup]) -> list[list[str]]:
        """The distinct keys of each entity in some groups."""
        keys: list[dict[str, None]] = [{} for _ in self._plan.entities]
        for group in groups:
            keys[group.entity].update(dict.fromkeys(group.keys))
        return [list(distinct) for distinct in keys]

    async def _load(self, partition: int, keys: Sequence[Sequence[str]]) -> None:
        """Read the entities that are not in memory, all in one round trip."""
        arenas = self._arenas[partition]
        missing = [arena.missing(own) for arena, own in zip(arenas, keys, strict=True)]
        names = [name for name in self._blob_names(partition, missing)]
        blobs = iter(await self._store.read(names) if names else [])
        for arena, own in zip(arenas, missing, strict=True):
            arena.load(own, [next(blobs) for _ in own])

    def _fold(self, partition: int, groups: Sequence[UpdateGroup]) -> int:
        """Fold all groups; returns how many values came too late for their ring."""
        late = 0
        for group in groups:
            _, plan = self._groups[group.entity, group.event]
            times = np.frombuffer(group.times, np.int64)
            values = np.frombuffer(group.values, np.float32).reshape(len(times), len(plan.series))
            codes = np.frombuffer(group.codes, np.int32)
            arena = self._arenas[partition][group.entity]
            late += arena.fold(plan, group.keys, codes, times, values)
        return late

    def _blobs(
        self, partition: int, keys: Sequence[Sequence[str]]
    ) -> tuple[list[tuple[str, bytes]], list[int]]:
        """The changed entities as they are stored, and how long the store keeps each."""
        blobs: list[bytes] = []
        expires_ms: list[int] = []
        for arena, own in zip(self._arenas[partition], keys, strict=True):
            blobs += arena.blobs_of(own)
            expires = arena.plan.expires_ms
            expires_ms += [expires + EXPIRY_GRACE_MS if expires else 0] * len(own)
        return list(zip(self._blob_names(partition, keys), blobs, strict=True)), expires_ms

    def _blob_names(self, partition: int, keys: Sequence[Sequence[str]]) -> list[str]:
        """The store's names of keys, entity after entity."""
        names: list[str] = []
        for entity, own in zip(self._plan.entities, keys, strict=True):
            head = self._names.blob(partition, entity.entity.name, "")
            names += [head + key for key in own]
        return names

    def _trim(self, partition: int) -> None:
        """Forget idle entities where the partition has more than its share of the memory."""
        share = self._cache_bytes // len(self._arenas)
        arenas = self._arenas[partition]
        taken = sum(len(arena) * arena.plan.bytes for arena in arenas)
        if taken > share:
            for arena in arenas:
                arena.trim(max(1, len(arena) * share // taken))


def _after(group: UpdateGroup, applied: int) -> UpdateGroup:
    """The rows of a group whose source offset has not been applied."""
    offsets = np.frombuffer(group.offsets, np.int64)
    keep = offsets >= applied
    if keep.all():
        return group
    rows = np.flatnonzero(keep)

    def part(data: bytes, kind: type[np.generic]) -> bytes:
        array: NDArray[np.generic] = np.frombuffer(data, kind)
        return array.reshape(len(offsets), -1)[rows].tobytes()

    keys, codes = group.keys, np.frombuffer(group.codes, np.int32)
    if len(codes):
        used, codes = distinct_codes(codes[rows])
        keys = [group.keys[place] for place in used.tolist()]
    return UpdateGroup(
        group.entity,
        group.event,
        keys,
        codes.tobytes(),
        offsets[rows].tobytes(),
        part(group.times, np.int64),
        part(group.values, np.float32) if group.values else b"",
        part(group.first, np.uint8),
    )
