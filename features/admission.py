"""Which events of a partition count, and their columns: decided by the log alone.

The worker and a backfill from the archive admit events by this one code, so both decide alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.cloud_events import event_bodies, event_body
from features.columns import field_columns
from features.decoding import EventDecoder, check_time
from features.plan import FeaturePlan
from tidemill.bus import Message
from tidemill.errors import InputError
from tidemill.feature_kinds import LIFETIME_MS

CHUNK = 1_000
"""Events decoded together; one that is bad sends its chunk, and no more, to the slow road."""


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


@dataclass(frozen=True, slots=True)
class Admitted:
    """Events of one kind: their fields and `time` as columns, and their offsets int64 (n,)."""

    columns: dict[str, NDArray[Any]]
    offsets: NDArray[np.int64]


@dataclass(slots=True)
class Decision:
    """What became of some records: the admitted events by kind, and why the others are refused."""

    admitted: dict[int, Admitted] = field(default_factory=dict)
    refused: list[tuple[Message, InputError]] = field(default_factory=list)


class Admission:
    """Decodes and judges the events of one partition, in the order of its log.

    `stream_time` is the newest event time admitted, in ms. An event that is older than that by more
    than the longest window it could fall into and the allowed clock skew comes too late: the skew,
    so that a producer whose clock is fast cannot make honest events late.
    """

    def __init__(
        self, plan: FeaturePlan, decoder: EventDecoder, duplicate_window: int, stream_time: int
    ) -> None:
        self._decoder, self.stream_time = decoder, stream_time
        self._recent = RecentIds(duplicate_window)
        self._events = plan.project.events
        reaches = [plan.reach_ms(index) or LIFETIME_MS for index in range(len(self._events))]
        self._allowed_ms = [reach + decoder.skew_ms for reach in reaches]

    def note(self, messages: Sequence[Message]) -> None:
        """Remember the ids of events that were judged before."""
        for message in messages:
            try:
                _, record = self._decode(message)
            except InputError:
                continue
            if record.id is not None:
                self._recent.is_duplicate(record.id, message.offset)

    def judge(self, messages: Sequence[Message]) -> Decision:
        """Decode and judge the next records of the log."""
        decision = Decision()
        kinds: list[int] = []
        records: list[Any] = []
        kept: list[Message] = []
        for begin in range(0, len(messages), CHUNK):
            some = messages[begin : begin + CHUNK]
            found = self._together(some)
            if found is None:
                some, found = self._one_by_one(some, decision)
            kinds += found[0]
            records += found[1]
            kept += some
        self._admit(kinds, records, kept, decision)
        decision.refused.sort(key=lambda pair: pair[0].offset)
        return decision

    def _decode(self, message: Message) -> tuple[int, Any]:
        latest = self._decoder.latest_ms(message.timestamp)
        return self._decoder.decode(event_body(message), latest)

    def _together(self, messages: Sequence[Message]) -> tuple[list[int], list[Any]] | None:
        """Some records at once; None when any of them has to be looked at by itself."""
        try:
            bodies = event_bodies(messages)
        except InputError:  # a CloudEvent that is none
            return None
        return self._decoder.decode_many(bodies)

    def _one_by_one(
        self, messages: Sequence[Message], decision: Decision
    ) -> tuple[list[Message], tuple[list[int], list[Any]]]:
        kept: list[Message] = []
        kinds: list[int] = []
        records: list[Any] = []
        for message in messages:
            try:
                kind, record = self._decode(message)
            except InputError as error:
                decision.refused.append((message, error))
                continue
            kinds.append(kind)
            records.append(record)
            kept.append(message)
        return kept, (kinds, records)

    def _admit(
        self, kinds: list[int], records: list[Any], messages: list[Message], decision: Decision
    ) -> None:
        """Judge decoded records by their times and ids, then turn them into columns."""
        if not records:
            return
        which = np.array(kinds)
        times = np.fromiter((record.time for record in records), np.int64, len(records))
        sane, good = self._in_time(which, times, messages, decision)
        for place, record in enumerate(records):
            # The id of what comes too late is noted as well: a restart cannot tell it apart.
            if record.id is None or not sane[place]:
                continue
            offset = messages[place].offset
            if self._recent.is_duplicate(record.id, offset) and good[place]:
                error = InputError("duplicate", "id", record.id, "each event once")
                decision.refused.append((messages[place], error))
                good[place] = False
        offsets = np.fromiter((message.offset for message in messages), np.int64, len(messages))
        for kind in np.unique(which[good]).tolist():
            chosen = np.flatnonzero(good & (which == kind))
            own = records if len(chosen) == len(records) else [records[p] for p in chosen.tolist()]
            columns = field_columns(self._events[kind].columns, own)
            decision.admitted[kind] = Admitted(columns, offsets[chosen])

    def _in_time(
        self,
        which: NDArray[np.int64],
        times: NDArray[np.int64],
        messages: Sequence[Message],
        decision: Decision,
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Refuse absurd times and what comes too late, each compared with what came before it.

        Returns which times are possible at all, and which of them are not refused.
        """
        produced = np.fromiter((m.timestamp for m in messages), np.int64, len(messages))
        latest = np.where(produced > 0, produced + self._decoder.skew_ms, self._decoder.latest_ms())
        sane = (times > 0) & (times <= latest)
        seen = np.where(sane, times, 0)
        newest = np.maximum.accumulate(np.concatenate(([self.stream_time], seen)))
        before, self.stream_time = newest[:-1], int(newest[-1])
        earliest = before - np.array(self._allowed_ms)[which]
        good = sane & (times >= earliest)
        for place in np.flatnonzero(~good).tolist():
            try:
                check_time(int(times[place]), int(latest[place]))
                allowed = f"{earliest[place]} or later (the longest window, and the clock skew)"
                error = InputError("too_late", "time", str(times[place]), allowed)
            except InputError as absurd:
                error = absurd
            decision.refused.append((messages[place], error))
        return sane, good
