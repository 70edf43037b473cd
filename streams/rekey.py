"""Events → updates: decode, check, and send what each window takes to its entity's partition."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.columns import field_columns, window_rows
from features.decoding import EventDecoder
from streams.context import Context
from streams.dead_letters import DeadLetterBox
from streams.fencing import Ownership
from streams.step import Records
from tidemill.bus import Message
from tidemill.errors import InputError
from tidemill.topics import EVENTS, UPDATES
from tidemill.wire import UpdateBatch, UpdateGroup

NO_ENTITY = -1
Accepted = dict[int, tuple[list[Any], list[int]]]  # event → its records and their offsets


class RecentIds:
    """The event ids of the last `window` offsets of one partition, to refuse a repeated event.

    What is a duplicate depends on the log alone, so a replay decides alike.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._seen: dict[str, int] = {}

    def is_duplicate(self, event_id: str, offset: int) -> bool:
        """True when the id stands at an earlier offset in the window; notes its newest place."""
        before = self._seen.pop(event_id, None)
        # The newest place counts, refused or not: what lies before the window must never matter,
        # for a restart reads only the window again.
        self._seen[event_id] = offset
        while len(self._seen) > self._window:
            del self._seen[next(iter(self._seen))]
        return before is not None and offset - before <= self._window


class Rekey:
    """The first step of an event; its only state is its offsets: sent twice counts once."""

    name = "events"
    kinds = (EVENTS,)

    def __init__(
        self,
        context: Context,
        decoder: EventDecoder,
        dead_letters: DeadLetterBox,
        duplicate_window: int,
    ) -> None:
        self._plan, self._names, self._store = context.plan, context.names, context.store
        self._producer, self._measurements = context.producer, context.measurements
        self._decoder, self._dead_letters = decoder, dead_letters
        self._window = duplicate_window
        events = range(len(self._plan.project.events))
        self._groups = [self._plan.groups_of(index) for index in events]
        self._owned: dict[int, Ownership] = {}
        self._recent: dict[int, RecentIds] = {}

    async def open(self, partition: int, claim: bool) -> Mapping[str, int]:
        """Start a window of duplicates before the committed offset, to know the ids again."""
        if claim or partition not in self._owned:
            self._owned[partition] = Ownership(self._store, self._names, self.name, partition)
        await self._owned[partition].open(claim)
        self._recent[partition] = RecentIds(self._window)
        return {EVENTS: max(0, self._owned[partition].offset(EVENTS) - self._window)}

    async def process(self, partition: int, records: Records) -> None:
        """One micro-batch: columnar records to all partitions, dead letters, then the offset."""
        owned = self._owned[partition]
        messages = self._unseen(partition, records[EVENTS], owned.offset(EVENTS))
        if not messages:
            return
        accepted, refused = self._decode(partition, messages)
        next_offset = messages[-1].offset + 1
        groups = self._rekey(partition, accepted)
        await asyncio.gather(
            *(
                self._send(
                    UpdateBatch(self._plan.schema.hash, partition, next_offset, each), target
                )
                for target, each in enumerate(groups)
            )
        )
        await self._dead_letters.send(self._names.topic(EVENTS), partition, refused)
        counters = {
            "events_read": len(messages),
            "events_accepted": len(messages) - len(refused),
            "dead_letters": len(refused),
        }
        await owned.commit({EVENTS: next_offset}, counters=counters)
        self._measurements.count("tidemill_events_read_total", len(messages))

    def forget(self, partition: int) -> None:
        """Drop the recent ids; the ownership stays known so that a reopen can compare epochs."""
        self._recent.pop(partition, None)

    async def tick(self) -> None:
        """Nothing follows the clock."""

    async def close(self) -> None:
        """Nothing waits."""

    async def _send(self, batch: UpdateBatch, target: int) -> None:
        await self._producer.send_many(UPDATES, [(None, batch.encode())], target)

    def _unseen(
        self, partition: int, messages: Sequence[Message], committed: int
    ) -> Sequence[Message]:
        """The records from the committed offset on; those before it only tell their ids."""
        if messages[0].offset >= committed:
            return messages
        for message in messages:
            if message.offset < committed:
                self._note(partition, message)
        return [message for message in messages if message.offset >= committed]

    def _note(self, partition: int, message: Message) -> None:
        try:
            _, record = self._decoder.decode(message.value or b"", self._latest_ms(message))
        except InputError:
            return
        if record.id is not None:
            self._recent[partition].is_duplicate(record.id, message.offset)

    def _latest_ms(self, message: Message) -> int:
        """The latest time an event may have: told by the log, so that a replay decides alike."""
        return self._decoder.latest_ms(message.timestamp)

    def _decode(
        self, partition: int, messages: Sequence[Message]
    ) -> tuple[Accepted, list[tuple[Message, InputError]]]:
        accepted: Accepted = defaultdict(lambda: ([], []))
        refused: list[tuple[Message, InputError]] = []
        decode, latest = self._decoder.decode, self._latest_ms
        is_duplicate = self._recent[partition].is_duplicate
        for message in messages:
            try:
                index, record = decode(message.value or b"", latest(message))
                if record.id is not None and is_duplicate(record.id, message.offset):
                    raise InputError("duplicate", "id", record.id, "each event once")
            except InputError as error:
                refused.append((message, error))
                continue
            kept, offsets = accepted[index]
            kept.append(record)
            offsets.append(message.offset)
        if accepted:
            self._dead_letters.good()
        return accepted, refused

    def _rekey(self, source: int, accepted: Accepted) -> list[list[UpdateGroup]]:
        """The groups for each target partition; each event is marked first in exactly one row."""
        targets: list[list[UpdateGroup]] = [[] for _ in range(self._names.partitions)]
        for event, (records, offset_list) in accepted.items():
            columns = field_columns(self._plan.project.events[event].columns, records)
            offsets = np.array(offset_list, dtype=np.int64)
            unmarked = np.ones(len(records), dtype=bool)
            for entity, group in self._groups[event]:
                rows, keys, values = window_rows(entity, group, columns, len(records))
                first = unmarked[rows].astype(np.uint8)
                unmarked[rows] = False
                parts = (offsets[rows], columns["time"][rows], values, first)
                self._scatter(targets, entity.index, event, keys, parts)
            if unmarked.any():
                rows = np.flatnonzero(unmarked)
                nothing = np.empty((len(rows), 0), dtype=np.float32)
                ones = np.ones(len(rows), dtype=np.uint8)
                parts = (offsets[rows], columns["time"][rows], nothing, ones)
                targets[source % len(targets)].append(
                    _group(NO_ENTITY, event, [""] * len(rows), parts)
                )
        return targets

    def _scatter(
        self, targets: list[list[UpdateGroup]], entity: int, event: int, keys: list[str],
        parts: tuple[NDArray[Any], ...],
    ) -> None:  # fmt: skip
        """Split one group's rows by the partition that owns each key."""
        owner = self._names.entity_partition
        owners = np.fromiter((owner(key) for key in keys), np.int64, len(keys))
        for target in range(len(targets)):
            rows = np.flatnonzero(owners == target)
            if len(rows):
                chosen = [keys[row] for row in rows.tolist()]
                targets[target].append(
                    _group(entity, event, chosen, tuple(part[rows] for part in parts))
                )


def _group(
    entity: int, event: int, keys: list[str], parts: tuple[NDArray[Any], ...]
) -> UpdateGroup:
    offsets, times, values, first = parts
    return UpdateGroup(
        entity, event, keys, offsets.tobytes(), times.tobytes(), values.tobytes(), first.tobytes()
    )
