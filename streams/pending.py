"""The predictions that wait for their label: what the join remembers, as it lies in the store."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Literal

import msgspec

from streams.label_policy import Gathered
from tidemill.bus import Headers
from tidemill.wire import LabelEvent, Prediction

Outcome = Literal["joined", "missing", "expired"]


class KeptLabel(msgspec.Struct, frozen=True, array_like=True):
    """A label with its place in the log, when the broker stamped it, and its bytes.

    Has what a `Message` has, so that it can still become a dead letter.
    """

    label: LabelEvent
    offset: int
    timestamp: int
    body: bytes = b""

    @property
    def key(self) -> bytes | None:
        """The join key as the record's key."""
        return self.label.key.encode()

    @property
    def value(self) -> bytes | None:
        """The record's bytes."""
        return self.body or msgspec.json.encode(self.label)

    @property
    def headers(self) -> Headers:
        """Nothing: what stood beside it is not kept while it waits."""
        return ()


class Waiting(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A prediction that waits for its label.

    `gathered` sums up the labels so far where several are declared; `later` are those whose time
    lies after the wait, to be judged as corrections when it is over.
    """

    prediction: Prediction
    expires: int
    gathered: Gathered | None = None
    later: tuple[KeptLabel, ...] = ()


class Early(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """Labels before their prediction, in the order of the log."""

    labels: tuple[KeptLabel, ...]
    expires: int


class _OneEarly(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """An early label as earlier versions wrote it."""

    label: LabelEvent
    offset: int
    produced_ms: int
    expires: int


class Done(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """How a wait ended; kept to tell a second label from an unknown one, and to be corrected.

    Where corrections are declared it has the prediction, the end of its wait and the labels used.
    """

    outcome: Outcome
    expires: int
    prediction: Prediction | None = None
    waited_until: int = 0
    value: float | None = None
    gathered: Gathered | None = None


Entry = Waiting | Early | Done
_PREFIX = "key:"  # keeps join keys apart from the outbox in the same hash
_DECODER: msgspec.msgpack.Decoder[Entry | _OneEarly] = msgspec.msgpack.Decoder(Entry | _OneEarly)
_ENCODER = msgspec.msgpack.Encoder()
_MOST_STALE = 10_000  # places in the queue that mean nothing any more


class PendingTable:
    """One partition's entries by join key; remembers what changed since the last commit.

    Stream time is the newest request time seen; entries expire by it, not by the clock. Entries
    beyond `limit` are those that expire first.
    """

    def __init__(self, stored: Mapping[str, bytes], stream_time: int, limit: int) -> None:
        self._entries: dict[str, Entry] = {
            name.removeprefix(_PREFIX): _decoded(data)
            for name, data in stored.items()
            if name.startswith(_PREFIX)
        }
        self._limit = limit
        self._sort()
        self.stream_time = stream_time
        self._changed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """The entry of a join key."""
        return self._entries.get(key)

    def put(self, key: str, entry: Entry) -> None:
        """Set or replace an entry."""
        self._entries[key] = entry
        self._changed[key] = None
        heapq.heappush(self._queue, (entry.expires, key))
        if len(self._queue) > 2 * len(self._entries) + _MOST_STALE:
            self._sort()

    def remove(self, key: str) -> None:
        """Forget an entry, if there is one."""
        if self._entries.pop(key, None) is not None:
            self._changed[key] = None

    def pop_expired(self) -> tuple[str, Entry] | None:
        """Remove and return the first entry whose time is over, if there is any."""
        return self._pop_first(self.stream_time)

    def pop_beyond(self) -> tuple[str, Entry] | None:
        """Remove and return the first entry to expire while there are more than the limit."""
        return self._pop_first(None) if len(self._entries) > self._limit else None

    def changes(self) -> tuple[dict[str, bytes], list[str]]:
        """What to set and to delete in the store to make it equal; then call `saved`."""
        changed = {key: self._entries.get(key) for key in self._changed}
        to_set = {_PREFIX + k: _ENCODER.encode(entry) for k, entry in changed.items() if entry}
        return to_set, [_PREFIX + k for k, entry in changed.items() if entry is None]

    def saved(self) -> None:
        """The store has the changes."""
        self._changed.clear()

    def _pop_first(self, before: int | None) -> tuple[str, Entry] | None:
        while self._queue and (before is None or self._queue[0][0] < before):
            expires, key = heapq.heappop(self._queue)
            entry = self._entries.get(key)
            if entry is not None and entry.expires == expires:
                self.remove(key)
                return key, entry
        return None

    def _sort(self) -> None:
        """Make the queue anew, without places of entries that were replaced or removed."""
        self._queue = [(entry.expires, key) for key, entry in self._entries.items()]
        heapq.heapify(self._queue)


def _decoded(data: bytes) -> Entry:
    entry = _DECODER.decode(data)
    if isinstance(entry, _OneEarly):
        return Early((KeptLabel(entry.label, entry.offset, entry.produced_ms),), entry.expires)
    return entry
