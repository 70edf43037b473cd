"""Updates → windows: fold re-keyed rows into tiles, write changed entities behind the fence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.arena import Arena
from features.freshness import SOURCE, UPDATES_FENCE
from features.plan import EntityPlan, FeaturePlan, GroupPlan
from streams.context import Context
from streams.fencing import Ownership
from streams.rekey import NO_ENTITY
from streams.step import Records
from tidemill.errors import TidemillError
from tidemill.topics import UPDATES
from tidemill.wire import UpdateBatch, UpdateGroup, decode


class SchemaChanged(TidemillError):
    """Updates were computed for other features than this worker's declaration has."""


@dataclass
class _Fresh:
    """What a micro-batch brings that is new: groups, how far each source has come, events."""

    groups: list[UpdateGroup]
    sources: dict[str, int]
    events: int = 0


class Fold:
    """Keeps the partition's entities in memory and the store one step behind."""

    name = UPDATES_FENCE
    kinds = (UPDATES,)

    def __init__(self, context: Context) -> None:
        self._plan, self._names, self._store = context.plan, context.names, context.store
        self._measurements = context.measurements
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
        batches = [decode(UpdateBatch, message.value or b"") for message in messages]
        fresh = self._fresh(owned, batches)
        late = await self._fold(partition, fresh.groups)
        blobs = [
            (self._names.blob(partition, arena.plan.entity.name, key), arena.blob(key))
            for arena, keys in zip(
                self._arenas[partition], _keys(self._plan, fresh.groups), strict=True
            )
            for key in keys
        ]
        await owned.commit(
            {UPDATES: messages[-1].offset + 1},
            fields=fresh.sources,
            counters={"events_applied": fresh.events, "late_values": late},
            blobs=blobs,
        )
        self._measurements.count("tidemill_events_applied_total", fresh.events)

    def forget(self, partition: int) -> None:
        """Drop the entities of a partition."""
        self._arenas.pop(partition, None)

    async def tick(self) -> None:
        """Nothing follows the clock."""

    async def close(self) -> None:
        """Nothing waits."""

    def _fresh(self, owned: Ownership, batches: Sequence[UpdateBatch]) -> _Fresh:
        """Only rows beyond what each source has had applied: a re-sent batch changes nothing."""
        fresh = _Fresh([], {})
        for batch in batches:
            if batch.schema != self._plan.schema.hash:
                allowed = self._plan.schema.hash
                raise SchemaChanged(f"updates: schema: found {batch.schema}; allowed: {allowed}")
            field = f"{SOURCE}{batch.source}"
            applied = fresh.sources.get(field, owned.get(field))
            if batch.next_offset <= applied:
                continue
            for group in batch.groups:
                kept = group if applied == 0 else _after(group, applied)
                fresh.events += int(np.frombuffer(kept.first, np.uint8).sum())
                if kept.keys and kept.entity != NO_ENTITY:
                    fresh.groups.append(kept)
            fresh.sources[field] = batch.next_offset
        return fresh

    async def _fold(self, partition: int, groups: Sequence[UpdateGroup]) -> int:
        """Fold all groups; returns how many values came too late for their ring."""
        await self._load(partition, groups)
        late = 0
        for group in groups:
            _, plan = self._groups[group.entity, group.event]
            times = np.frombuffer(group.times, np.int64)
            values = np.frombuffer(group.values, np.float32).reshape(len(times), len(plan.series))
            arena = self._arenas[partition][group.entity]
            late += arena.fold(plan, group.keys, times, values)
        return late

    async def _load(self, partition: int, groups: Sequence[UpdateGroup]) -> None:
        """Read the entities that are not in memory, all in one round trip."""
        arenas = self._arenas[partition]
        wanted = [
            (arena, key)
            for arena, keys in zip(arenas, _keys(self._plan, groups), strict=True)
            for key in arena.missing(keys)
        ]
        names = [self._names.blob(partition, arena.plan.entity.name, key) for arena, key in wanted]
        blobs = await self._store.read(names) if names else []
        for (arena, key), blob in zip(wanted, blobs, strict=True):
            arena.load(key, blob)


def _keys(plan: FeaturePlan, groups: Sequence[UpdateGroup]) -> list[list[str]]:
    """The distinct keys of each entity in some groups."""
    keys: list[dict[str, None]] = [{} for _ in plan.entities]
    for group in groups:
        keys[group.entity].update(dict.fromkeys(group.keys))
    return [list(distinct) for distinct in keys]


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

    return UpdateGroup(
        group.entity,
        group.event,
        [group.keys[row] for row in rows.tolist()],
        offsets[rows].tobytes(),
        part(group.times, np.int64),
        part(group.values, np.float32) if group.values else b"",
        part(group.first, np.uint8),
    )
