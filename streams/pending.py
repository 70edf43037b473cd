"""The predictions that wait for their label: what the join remembers, as it lies in the store."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Literal

import msgspec

from tidemill.wire import LabelEvent, Prediction

Closed = Literal["joined", "expired"]


class Waiting(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A prediction that waits for its label."""

    prediction: Prediction
    expires: int


class Early(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """A label before its prediction: its place in the log and when the broker stamped it."""

    label: LabelEvent
    offset: int
    produced_ms: int
    expires: int


class Done(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """How a wait ended; kept for another wait, to tell a second label from an unknown one."""

    outcome: Closed
    expires: int


Entry = Waiting | Early | Done
_PREFIX = "key:"  # keeps join keys apart from the outbox in the same hash
_DECODER: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)
_ENCODER = msgspec.msgpack.Encoder()


class PendingTable:
    """One partition's entries by join key; remembers what changed since the last commit.

    Stream time is the newest request time seen; entries expire by it, not by the clock.
    """

    def __init__(self, stored: Mapping[str, bytes], stream_time: int) -> None:
        self._entries: dict[str, Entry] = {
            name.removeprefix(_PREFIX): _DECODER.decode(data)
            for name, data in stored.items()
            if name.startswith(_PREFIX)
        }
        self._queue = [(entry.expires, key) for key, entry in self._entries.items()]
        heapq.heapify(self._queue)
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

    def pop_expired(self) -> list[tuple[str, Entry]]:
        """Remove and return the entries whose time is over."""
        expired = []
        while self._queue and self._queue[0][0] < self.stream_time:
            expires, key = heapq.heappop(self._queue)
            entry = self._entries.get(key)
            if entry is not None and entry.expires == expires:
                del self._entries[key]
                self._changed[key] = None
                expired.append((key, entry))
        return expired

    def changes(self) -> tuple[dict[str, bytes], list[str]]:
        """What to set and to delete in the store to make it equal; then call `saved`."""
        changed = {key: self._entries.get(key) for key in self._changed}
        to_set = {_PREFIX + k: _ENCODER.encode(entry) for k, entry in changed.items() if entry}
        return to_set, [_PREFIX + k for k, entry in changed.items() if entry is None]

    def saved(self) -> None:
        """The store has the changes."""
        self._changed.clear()
