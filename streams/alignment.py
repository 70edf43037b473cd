"""Records of several topics in the order of their stamps, also when one topic is read faster.

After an outage a client brings whole backlogs of one topic before the first record of another. What
came later must not be applied first: it would end waits whose labels are there, unread. So a record
is held back while a topic without a record at hand is known to have more, as Kafka Streams does
(`max.task.idle.ms`, KIP-353 and KIP-695).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog

from streams.step import Records
from tidemill.bus import Consumer, Message

MOST_HELD = 10_000
"""Records of one topic's partition at hand, beyond which no more of it is read."""
_log = structlog.get_logger()


def in_order(records: Records, kinds: Sequence[str]) -> Iterator[tuple[str, Message]]:
    """All records, the one with the lowest stamp of those at the fronts first.

    Of equal stamps that of the kind that is named first.
    """
    fronts = {kind: 0 for kind in kinds if records.get(kind)}
    while len(fronts) > 1:
        kind = _lowest(fronts, records)
        yield kind, records[kind][fronts[kind]]
        fronts[kind] += 1
        if fronts[kind] == len(records[kind]):
            del fronts[kind]
    for kind, start in fronts.items():
        for message in records[kind][start:]:
            yield kind, message


class Alignment:
    """Holds back records of one step's partitions; what it holds is not processed, only read."""

    def __init__(
        self,
        kinds: Sequence[str],
        consumer: Consumer,
        patience_seconds: float,
        now_seconds: Callable[[], float],
    ) -> None:
        self._kinds, self._consumer = tuple(kinds), consumer
        self._patience_seconds, self._now_seconds = patience_seconds, now_seconds
        self._held: dict[int, dict[str, list[Message]]] = {}
        self._waiting_since: dict[int, float] = {}
        self._unheard: set[int] = set()  # partitions that go on without what does not come
        self._paused: set[tuple[str, int]] = set()

    @property
    def held(self) -> int:
        """Records that were read and wait for others."""
        return sum(len(records) for held in self._held.values() for records in held.values())

    def take(self, partition: int, records: Records) -> Records:
        """The records of a partition that may be processed now; `records` are those just read."""
        held = self._held.setdefault(partition, {kind: [] for kind in self._kinds})
        for kind, messages in records.items():
            held[kind].extend(messages)
        if not any(held.values()):
            return {}
        ready = self._ready(partition, held)
        for kind, count in ready.items():
            self._pause(kind, partition, len(held[kind]) - count)
        taken = {kind: held[kind][:count] for kind, count in ready.items() if count}
        for kind, count in ready.items():
            del held[kind][:count]
        return taken

    def forget(self, partition: int) -> None:
        """Drop what is held of a partition; it will be read again, by whoever owns it."""
        for kind in self._kinds:
            self._pause(kind, partition, 0)
        self._held.pop(partition, None)
        self._waiting_since.pop(partition, None)
        self._unheard.discard(partition)

    def _ready(self, partition: int, held: Mapping[str, Sequence[Message]]) -> dict[str, int]:
        """How many of each kind come before any record that is known of and not at hand."""
        ready = dict.fromkeys(self._kinds, 0)
        awaited = {kind for kind in self._kinds if self._has_more(kind, partition)}
        if awaited and self._is_overdue(partition, held, awaited):
            awaited = set()
        fronts = {kind: 0 for kind in self._kinds if held[kind]}
        while fronts and awaited <= fronts.keys():
            if len(fronts) == 1 and not awaited:
                (kind,) = fronts
                ready[kind] = len(held[kind])
                break
            kind = _lowest(fronts, held)
            fronts[kind] += 1
            ready[kind] = fronts[kind]
            if fronts[kind] == len(held[kind]):
                del fronts[kind]
        return ready

    def _has_more(self, kind: str, partition: int) -> bool:
        """True when it has records that were not read, also when that is not known yet."""
        return self._consumer.behind(kind, partition) != 0

    def _is_overdue(
        self, partition: int, held: Mapping[str, Sequence[Message]], awaited: set[str]
    ) -> bool:
        """True when a record that is said to be there has not come for too long."""
        missing = [kind for kind in awaited if not held[kind]]
        if not missing:
            self._waiting_since.pop(partition, None)
            self._unheard.discard(partition)
            return False
        since = self._waiting_since.setdefault(partition, self._now_seconds())
        if self._now_seconds() - since < self._patience_seconds:
            return False
        if partition not in self._unheard:
            self._unheard.add(partition)
            _log.warning("not_aligned", partition=partition, without=missing)
        return True

    def _pause(self, kind: str, partition: int, held: int) -> None:
        """Read no more of what is held enough of; read on when it is not."""
        place, paused = (kind, partition), held >= MOST_HELD
        if paused and place not in self._paused:
            self._consumer.pause(kind, partition)
            self._paused.add(place)
        elif not paused and place in self._paused:
            self._consumer.resume(kind, partition)
            self._paused.discard(place)


def _lowest(fronts: Mapping[str, int], records: Mapping[str, Sequence[Message]]) -> str:
    # Of equal stamps the first kind: min keeps the first, and the fronts are in their order.
    return min(fronts, key=lambda kind: records[kind][fronts[kind]].timestamp)
