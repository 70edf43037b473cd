"""Events → updates: decode, check, and send what each window takes to its entity's partition."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from features.admission import Admission, Admitted
from features.columns import WindowRows, distinct_codes, window_rows
from features.decoding import EventDecoder
from features.labels import LabelEvents
from streams.context import Context
from streams.dead_letters import DeadLetterBox
from streams.fencing import Ownership
from streams.step import Records
from tidemill.bus import Message
from tidemill.topics import EVENTS, EXAMPLES, UPDATES
from tidemill.wire import Example, UpdateBatch, UpdateGroup, decode

NO_ENTITY = -1
STREAM_TIME, SEQUENCE = "stream_time", "sequence:"
KNOWN_KEYS = 1_000_000


class Rekey:
    """The first step of an event; its only state is its offsets: sent twice counts once.

    Where label rates are declared, joined labels are events too: they come from the examples.
    """

    name = EVENTS

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
        self._window, self._state = duplicate_window, context.plan.state
        self._groups = [self._plan.groups_of(index) for index in range(len(self._plan.events))]
        label = context.plan.project.label_event
        self._labels = LabelEvents(label) if label else None
        self.kinds = (EVENTS, EXAMPLES) if label else (EVENTS,)
        self._owner = lru_cache(KNOWN_KEYS)(self._names.entity_partition)
        self._owned: dict[int, Ownership] = {}
        self._admission: dict[int, Admission] = {}

    async def open(self, partition: int, claim: bool) -> Mapping[str, int]:
        """Start a window of duplicates before the committed offset, to know the ids again."""
        if claim or partition not in self._owned:
            self._owned[partition] = Ownership(self._store, self._names, self.name, partition)
        owned = self._owned[partition]
        await owned.open(claim)
        self._admission[partition] = Admission(
            self._plan, self._decoder, self._window, owned.get(STREAM_TIME)
        )
        offsets = {EVENTS: max(0, owned.offset(EVENTS) - self._window)}
        if self._labels and partition < self._names.partitions_of(EXAMPLES):
            offsets[EXAMPLES] = owned.offset(EXAMPLES)
        return offsets

    async def process(self, partition: int, records: Records) -> None:
        """One micro-batch: columnar records to all partitions, dead letters, then the offset."""
        if EVENTS in records:
            await self._process_events(partition, records[EVENTS])
        if EXAMPLES in records:
            await self._process_labels(partition, records[EXAMPLES])

    async def _process_events(self, partition: int, records: Sequence[Message]) -> None:
        owned, admission = self._owned[partition], self._admission[partition]
        messages = owned.unseen(EVENTS, records)
        if len(messages) < len(records):
            admission.note(records[: len(records) - len(messages)])
        if not messages:
            return
        decision = admission.judge(messages)
        if decision.admitted:
            self._dead_letters.good()
        next_offset = messages[-1].offset + 1
        produced_ms = messages[0].timestamp
        await self._send(partition, next_offset, decision.admitted, produced_ms)
        await self._dead_letters.send(self._names.topic(EVENTS), partition, decision.refused)
        counters = {
            "events_read": len(messages),
            "events_accepted": len(messages) - len(decision.refused),
            "dead_letters": len(decision.refused),
        }
        fields = {STREAM_TIME: admission.stream_time}
        await owned.commit({EVENTS: next_offset}, fields=fields, counters=counters)
        self._measurements.count("tidemill_events_read_total", len(messages))

    async def _process_labels(self, partition: int, records: Sequence[Message]) -> None:
        """Labels that became known, each once: a crash may have sent an example twice."""
        owned = self._owned[partition]
        messages = owned.unseen(EXAMPLES, records)
        if not messages or self._labels is None:
            return
        learned: dict[str, int] = {}
        examples: list[tuple[int, Example]] = []
        for message in messages:
            example: Example = decode(Example, message.value or b"")
            field = f"{SEQUENCE}{example.partition}"
            if example.sequence > learned.get(field, owned.get(field)):
                learned[field] = example.sequence
                examples.append((message.offset, example))
        admitted = self._labels.admitted(examples)
        next_offset = messages[-1].offset + 1
        label = {len(self._plan.events) - 1: admitted} if len(admitted.offsets) else {}
        await self._send(self._names.label_source, next_offset, label)
        await owned.commit({EXAMPLES: next_offset}, fields=learned)

    def forget(self, partition: int) -> None:
        """Drop the recent ids; the ownership stays known so that a reopen can compare epochs."""
        self._admission.pop(partition, None)

    async def tick(self) -> None:
        """Nothing follows the clock."""

    async def close(self) -> None:
        """Nothing waits."""

    async def _send(
        self, source: int, next_offset: int, admitted: dict[int, Admitted], produced_ms: int = 0
    ) -> None:
        """One record to every partition of updates, rows or not."""
        batches = [
            UpdateBatch(self._state, source, next_offset, groups, produced_ms)
            for groups in self._rekey(source, admitted)
        ]
        await asyncio.gather(
            *(
                self._producer.send_many(UPDATES, [(None, batch.encode())], target)
                for target, batch in enumerate(batches)
            )
        )

    def _rekey(self, source: int, admitted: dict[int, Admitted]) -> list[list[UpdateGroup]]:
        """The groups for each target partition; each event is marked first in exactly one row."""
        targets: list[list[UpdateGroup]] = [[] for _ in range(self._names.partitions)]
        for event, events in admitted.items():
            count, times = len(events.offsets), events.columns["time"]
            # Only the project's own events are counted as applied.
            unmarked = np.full(count, event < len(self._plan.project.events))
            for entity, group in self._groups[event]:
                found = window_rows(entity, group, events.columns, count)
                first = unmarked[found.rows].astype(np.uint8)
                unmarked[found.rows] = False
                parts = (events.offsets[found.rows], times[found.rows], found.values, first)
                self._scatter(targets, entity.index, event, found, parts)
            rest = np.flatnonzero(unmarked)
            if len(rest):
                # No entity takes them, yet they count as applied: by the partition they came from.
                none = WindowRows(rest, [], np.zeros(0, np.int32), np.zeros((0, 0), np.float32))
                ones = np.ones(len(rest), np.uint8)
                parts = (events.offsets[rest], times[rest], none.values, ones)
                targets[source % len(targets)].append(_group(NO_ENTITY, event, none, parts))
        return targets

    def _scatter(
        self,
        targets: list[list[UpdateGroup]],
        entity: int,
        event: int,
        found: WindowRows,
        parts: tuple[NDArray[np.generic], ...],
    ) -> None:
        """Split one group's rows by the partition that owns each key."""
        if len(targets) == 1:
            if len(found.keys):
                targets[0].append(_group(entity, event, found, parts))
            return
        owners = np.fromiter(map(self._owner, found.keys), np.int64, len(found.keys))
        row_owners = owners[found.codes]
        for target in range(len(targets)):
            rows = np.flatnonzero(row_owners == target)
            if len(rows):
                used, codes = distinct_codes(found.codes[rows])
                keys = [found.keys[place] for place in used.tolist()]
                chosen = WindowRows(found.rows[rows], keys, codes, found.values[rows])
                own = tuple(part[rows] for part in parts)
                targets[target].append(_group(entity, event, chosen, own))


def _group(
    entity: int, event: int, rows: WindowRows, parts: tuple[NDArray[np.generic], ...]
) -> UpdateGroup:
    offsets, times, values, first = (part.tobytes() for part in parts)
    codes = rows.codes.tobytes()
    return UpdateGroup(entity, event, rows.keys, codes, offsets, times, values, first)
