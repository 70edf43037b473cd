"""What the api needs from outside, built by the composition root and passed in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from features.inspection.look import Inspector
from features.plan import FeaturePlan
from features.vectors import VectorReader
from tidemill.bus import Producer
from tidemill.declaration import Project
from tidemill.registry import Registry
from tidemill.wire import Announcement


@dataclass(frozen=True, slots=True)
class PlanPorts:
    """What is read from the store for one declaration; all raise StoreUnavailable.

    `read_snapshots` gives what brings a reader of its learner's snapshots from a release and number
    to the newest one (see `ModelSource`); `read_progress` gives
    source partition → next event offset applied to its state at every target partition;
    `read_worker_status` gives its worker's status and the newest bad cases, ready for JSON;
    `note_serving` remembers that it is the declaration that serves; `inspector` looks at entities.
    """

    reader: VectorReader
    read_snapshots: Callable[[str, int], Awaitable[list[bytes]]]
    read_progress: Callable[[], Awaitable[Mapping[int, int]]]
    read_worker_status: Callable[[], Awaitable[tuple[dict[str, Any], list[Any]]]]
    note_serving: Callable[[], Awaitable[None]]
    inspector: Inspector


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """The project file the api was started with: the only code it ever loads again.

    `load` raises DeclarationError; `stamp` changes when the file does. Both may block on the disk.
    """

    load: Callable[[], Project]
    stamp: Callable[[], object]


async def no_jobs() -> bytes | None:
    """No scheduler has told of any job."""
    return None


@dataclass(frozen=True, slots=True)
class Ports:
    """The real clients behind small calls; they raise StoreUnavailable and BusUnavailable.

    `announcements` begins a new reading of the `models` topic from now on and never ends by itself;
    `check_store` and `check_broker` return when the other side answers; `of_plan` gives what is
    read for one declaration; `read_jobs` gives what a scheduler last told of the project's jobs.
    """

    producer: Producer
    registry: Registry
    announcements: Callable[[], AsyncIterator[Announcement]]
    check_store: Callable[[], Awaitable[None]]
    check_broker: Callable[[], Awaitable[None]]
    of_plan: Callable[[FeaturePlan], PlanPorts]
    project_file: ProjectFile
    read_jobs: Callable[[], Awaitable[bytes | None]] = no_jobs
