"""What the api needs from outside, built by the composition root and passed in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from features.inspection.look import Inspector
from features.plan import FeaturePlan
from features.store import MemoryStore
from features.vectors import VectorReader
from tidemill.bus import Producer
from tidemill.declaration import Project
from tidemill.errors import InputError
from tidemill.registry import Registry
from tidemill.roles import RoleChange
from tidemill.wire import Announcement, Prediction

if TYPE_CHECKING:
    from api.measuring.tracing import Tracing


async def no_snapshots(learner: str, release: str, number: int) -> list[bytes]:
    """No learner but the champion's has any."""
    return []


@dataclass(frozen=True, slots=True)
class PlanPorts:
    """What depends on one declaration, mostly read from the store; that raises StoreUnavailable.

    `read_snapshots` gives what brings a reader of its learner's snapshots from a release and number
    to the newest one (see `ModelSource`); `read_progress` gives
    source partition → next event offset applied to its state at every target partition;
    `read_worker_status` gives its worker's status and the newest bad cases, ready for JSON;
    `note_serving` remembers that it is the declaration that serves; `inspector` looks at entities;
    `read_challenger` is `read_snapshots` for another learner, which is named first; `orders` takes
    those about its releases, from the disk, and is None where none are taken.
    """

    reader: VectorReader
    read_snapshots: Callable[[str, int], Awaitable[list[bytes]]]
    read_progress: Callable[[], Awaitable[Mapping[int, int]]]
    read_worker_status: Callable[[], Awaitable[tuple[dict[str, Any], list[Any]]]]
    note_serving: Callable[[], Awaitable[None]]
    inspector: Inspector
    read_challenger: Callable[[str, str, int], Awaitable[list[bytes]]] = no_snapshots
    orders: RoleOrders | None = None


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """The project file the api was started with: the only code it ever loads again.

    `load` raises DeclarationError; `stamp` changes when the file does. Both may block on the disk.
    """

    load: Callable[[], Project]
    stamp: Callable[[], object]


@dataclass(frozen=True, slots=True)
class KeyStore:
    """Where idempotency keys lie; both raise StoreUnavailable, times are in milliseconds.

    `take(key, blob, expires)` sets what is not there and gives None, or gives what is there: of
    several callers at once, also of several processes, one gets None. `keep` sets it in any case.
    """

    take: Callable[[str, bytes, int], Awaitable[bytes | None]]
    keep: Callable[[str, bytes, int], Awaitable[None]]


def keys_in_memory() -> KeyStore:
    """Keys that this process alone knows."""
    store = MemoryStore()

    async def keep(key: str, blob: bytes, expires_ms: int) -> None:
        await store.write([(key, blob)], [expires_ms])

    return KeyStore(store.take, keep)


class ArchivedPrediction(msgspec.Struct, frozen=True):
    """An answer of before: its record, the names of its vector's features, and its outcomes.

    `features` are empty where nobody knows any more what the vector's schema was.
    """

    prediction: Prediction
    features: list[str] = []
    labels: list[dict[str, Any]] = []


async def nothing_archived(prediction: str) -> ArchivedPrediction | None:
    """There is no archive to look into."""
    return None


@dataclass(frozen=True, slots=True)
class RoleOrder:
    """Who wants it and why, when (ms), in spite of a retirement, and for a challenger its share."""

    by: str
    why: str
    now_ms: int
    force: bool = False
    share: float = 0.0


class RoleOrders(Protocol):
    """The releases and their roles, and what an operator may order; every call may block.

    Orders raise InputError for what is not allowed, ArtifactError for a damaged release, and
    OSError; they return the change, or None where nothing was to be done.
    """

    def releases(self) -> list[dict[str, Any]]:
        """Every release, oldest first, ready for JSON: `release`, `role`, `share` and more."""
        ...

    def changes(self, release: str | None = None) -> list[RoleChange]:
        """Every change of role, oldest first; of one release if it is named."""
        ...

    def promote(self, release: str, order: RoleOrder) -> RoleChange | None:
        """Make it the champion."""
        ...

    def roll_back(self, release: str, order: RoleOrder) -> RoleChange | None:
        """Let it take the champion's place, which is out then."""
        ...

    def challenge(self, release: str, order: RoleOrder) -> RoleChange | None:
        """Set it beside the champion, answering `order.share` of the requests."""
        ...

    def retire(self, release: str, order: RoleOrder) -> RoleChange | None:
        """Take it out for good."""
        ...

    def announcement(self, change: RoleChange) -> Announcement:
        """What tells every process to look at the roles."""
        ...


async def no_jobs() -> bytes | None:
    """No scheduler has told of any job."""
    return None


async def no_replay(prediction: str) -> bytes:
    """Nobody replays predictions here."""
    allowed = "an api that `tidemill api` has started"
    raise InputError("no_replay", "replay", prediction, allowed)


@dataclass(frozen=True, slots=True)
class Ports:
    """The real clients behind small calls; they raise StoreUnavailable and BusUnavailable.

    `announcements` begins a new reading of the `models` topic from now on and never ends by itself;
    `check_store` and `check_broker` return when the other side answers; `of_plan` gives what
    depends on one declaration; `read_jobs` gives what a scheduler last told of the project's jobs;
    `find_archived` looks an old prediction up by its id, `replay` rebuilds it (and raises Refused);
    `tracing` is None where no request is traced.
    """

    producer: Producer
    registry: Registry
    announcements: Callable[[], AsyncIterator[Announcement]]
    check_store: Callable[[], Awaitable[None]]
    check_broker: Callable[[], Awaitable[None]]
    of_plan: Callable[[FeaturePlan], PlanPorts]
    project_file: ProjectFile
    read_jobs: Callable[[], Awaitable[bytes | None]] = no_jobs
    keys: KeyStore = field(default_factory=keys_in_memory)
    find_archived: Callable[[str], Awaitable[ArchivedPrediction | None]] = nothing_archived
    tracing: Tracing | None = None
    replay: Callable[[str], Awaitable[bytes]] = no_replay
