"""The ports to the log: what a step needs from a Kafka client to read and to write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

Headers = Sequence[tuple[str, bytes]]
"""What stands beside a record's bytes, such as `traceparent`."""

Outgoing = tuple[bytes | None, bytes] | tuple[bytes | None, bytes, Headers]
"""A record to be written: key, value and, where there are any, headers."""


class Message(Protocol):
    """One record as it was read."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""
        ...

    @property
    def key(self) -> bytes | None:
        """The record's key."""
        ...

    @property
    def value(self) -> bytes | None:
        """The record's bytes; None for a tombstone."""
        ...

    @property
    def timestamp(self) -> int:
        """When it was produced, ms since 1970."""
        ...

    @property
    def headers(self) -> Headers:
        """What stands beside it; mostly nothing."""
        ...


class Producer(Protocol):
    """Writes records to the project's topics; the client behind it batches and retries."""

    async def send_many(
        self,
        kind: str,
        records: Sequence[Outgoing],
        partition: int | None = None,
    ) -> Mapping[int, int]:
        """Write records, in order, to the topic of this kind (see `tidemill.topics`).

        Goes to `partition`, or where each key's hash says. Returns when the broker has acknowledged
        all of them: for each partition written to, the offset that follows. Raises BusUnavailable
        when it did not; then the first of each partition's records may have been written, so a
        caller that tries again from the first writes at least once and leaves no gap.
        """
        ...


Assigned = Callable[[int], Awaitable[Mapping[str, int]]]
Revoked = Callable[[int], Awaitable[None]]


class Consumer(Protocol):
    """One member of a step's group; partitions of one number are assigned together."""

    async def start(self, assigned: Assigned, revoked: Revoked) -> None:
        """Join the group; raises BusUnavailable when the broker cannot be reached.

        `assigned` returns, per topic kind, the offset to read a partition from; both callbacks are
        awaited before the group goes on.
        """
        ...

    async def poll(self, wait_ms: int, limit: int) -> dict[tuple[str, int], Sequence[Message]]:
        """At most `limit` records by (kind, partition); empty after `wait_ms` without any.

        Raises BusUnavailable, and LogLost when a partition was assigned whose log is empty although
        it is to be read from a later offset.
        """
        ...

    def seek(self, kind: str, partition: int, offset: int) -> None:
        """Read on from `offset`."""
        ...

    def lag(self) -> int:
        """Records in the assigned partitions that have not been read yet, as far as is known."""
        ...

    def behind(self, kind: str, partition: int) -> int | None:
        """Records of one partition after the last that `poll` returned, as far as is known.

        None while nothing is known, 0 for a partition that is not assigned.
        """
        ...

    def pause(self, kind: str, partition: int) -> None:
        """Let `poll` return nothing of this partition until `resume` or a new assignment."""
        ...

    def resume(self, kind: str, partition: int) -> None:
        """Let `poll` return records of this partition again."""
        ...

    async def stop(self) -> None:
        """Leave the group; the callbacks are not called any more."""
        ...
