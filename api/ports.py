"""What the api needs from outside, built by the composition root and passed in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from features.vectors import VectorReader
from tidemill.bus import Producer
from tidemill.registry import Registry
from tidemill.wire import Announcement


@dataclass(frozen=True, slots=True)
class Ports:
    """The real clients behind small calls; they raise StoreUnavailable and BusUnavailable.

    `announcements` begins a new reading of the `models` topic from now on and never ends by itself;
    `read_snapshot` gives the newest snapshot's bytes or None; `check_store` and `check_broker`
    return when the other side answers; `read_progress` gives source partition → next event offset
    applied at every target partition; `read_worker_status` gives the worker's status and the newest
    bad cases, ready for JSON.
    """

    reader: VectorReader
    producer: Producer
    registry: Registry
    announcements: Callable[[], AsyncIterator[Announcement]]
    read_snapshot: Callable[[], Awaitable[bytes | None]]
    check_store: Callable[[], Awaitable[None]]
    check_broker: Callable[[], Awaitable[None]]
    read_progress: Callable[[], Awaitable[Mapping[int, int]]]
    read_worker_status: Callable[[], Awaitable[tuple[dict[str, Any], list[Any]]]]
