"""Take what an aiokafka consumer has fetched a whole record batch at a time.

The client's own road makes two Python objects and three calls for each record, which costs more
than decoding the event it holds. Here the compiled decoder fills a list per batch, and its records
(offset, timestamp, key, value) are passed on as they are. It stands on internals of the pinned
client; the contract tests of the bus run on it.
"""

from __future__ import annotations

from inspect import GEN_CREATED, getgeneratorstate
from typing import Any

from aiokafka.errors import CorruptRecordException


def take_whole_batches(client: Any) -> None:
    """Let the next `getmany` read by whole batches what the client has fetched until now.

    What it fetches later than this comes record by record, as ever: both are a `Message`.
    """
    for fetched in client._fetcher._records.values():
        records = getattr(fetched, "_partition_records", None)  # not of a fetch that failed
        # One that was begun goes on as it began: its generator holds the rest of a batch.
        if records is not None and getgeneratorstate(records._records_iterator) == GEN_CREATED:
            if "getall" not in vars(fetched):
                fetched.getall = _Batches(fetched).take


class _Batches:
    """The records of one fetch of one partition; for consumers that read uncommitted records."""

    def __init__(self, fetched: Any) -> None:
        self._fetched = fetched
        self._left: list[Any] = []  # read, but over the limit
        self._end = fetched._partition_records.next_fetch_offset  # behind the last batch read

    def take(self, limit: int | None = None) -> list[Any]:
        """At most `limit` records in order; moves the consumer's position behind them."""
        fetched = self._fetched
        if not fetched.check_assignment(fetched._topic_partition) or not fetched.has_more():
            return []
        source = fetched._partition_records
        found = self._left
        while source._records.has_next() and (limit is None or len(found) < limit):
            found = found + self._next_batch(source)
        found, self._left = found[:limit], found[limit:] if limit is not None else []
        source.next_fetch_offset = self._left[0].offset if self._left else self._end
        fetched._update_position()
        if not self._left and not source._records.has_next():
            fetched._partition_records = None
        return found

    def _next_batch(self, source: Any) -> list[Any]:
        batch = source._records.next_batch()
        if source._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"invalid CRC: {source._tp}")
        wanted = self._end
        records = [] if batch.is_control_batch else list(batch)
        if records and records[0].offset < wanted:  # a batch is sent whole
            records = [record for record in records if record.offset >= wanted]
        # Past the batch, also when its last records were compacted away.
        self._end = batch.next_offset
        return records
