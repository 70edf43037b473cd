"""The point-in-time join: each request's vector from what was known when it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.columns import entity_keys
from features.plan import FeaturePlan
from features.replay import Replayer
from tidemill.durations import DAY_MS
from tidemill.feature_kinds import LIFETIME_MS

Columns = Mapping[str, NDArray[Any]]
TILE_SLACK_MS = 2 * DAY_MS  # a window's tail reaches up to one tile of a day further back


@dataclass(frozen=True, slots=True)
class KnownEvents:
    """Events that count, one entry for each of the plan's kinds, in the order they became known.

    columns: the kind's fields and `time` (ms), each (rows,); known_ms int64 (rows,), never falling.
    """

    columns: tuple[Columns, ...]
    known_ms: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return sum(len(known) for known in self.known_ms)

    def take(self, chosen: tuple[NDArray[Any], ...]) -> KnownEvents:
        """Some rows of each kind, by mask or by number, in the order given."""
        return KnownEvents(
            tuple(take(each, rows) for each, rows in zip(self.columns, chosen, strict=True)),
            tuple(known[rows] for known, rows in zip(self.known_ms, chosen, strict=True)),
        )

    def by_event_time(self) -> KnownEvents:
        """The same as if every event had become known at its own time; ties keep their order."""
        order = tuple(np.argsort(each["time"], kind="stable") for each in self.columns)
        sorted_ = self.take(order)
        return KnownEvents(sorted_.columns, tuple(each["time"] for each in sorted_.columns))


def take(columns: Columns, rows: Any) -> dict[str, NDArray[Any]]:
    """Some rows of every column, by mask, slice or number."""
    return {name: column[rows] for name, column in columns.items()}


def vectors_at(
    plan: FeaturePlan, events: KnownEvents, requests: Columns, cuts: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The vectors of requests (their fields and `time`), float32 (requests, features).

    An event counts for a request when it was known at the request's cut (ms) or before; events are
    applied in the order given, by the kernel that serves.
    """
    matrix = np.empty((len(cuts), len(plan.schema.names)), np.float32)
    order = np.argsort(cuts, kind="stable")
    ends = np.stack(
        [np.searchsorted(known, cuts[order], "right") for known in events.known_ms]
        or [np.zeros(len(cuts), np.int64)]
    )
    starts = np.flatnonzero(np.diff(ends, axis=1, prepend=-1).any(axis=0))
    replayer, applied = Replayer(plan), np.zeros(len(ends), np.int64)
    for first, stop in zip(starts, np.append(starts, len(cuts))[1:], strict=True):
        for kind, (columns, end) in enumerate(zip(events.columns, ends[:, first], strict=False)):
            if end > applied[kind]:
                fresh = take(columns, slice(applied[kind], end))
                replayer.apply(plan.events[kind].name, fresh)
        applied = ends[:, first]
        rows = order[first:stop]
        matrix[rows] = replayer.vectors(take(requests, rows))
    return matrix


def earliest_ms(plan: FeaturePlan, requests: Columns) -> int | None:
    """No event before this time can matter for these requests; None: every event can."""
    reach = max((plan.reach_ms(kind) for kind in range(len(plan.events))), default=0)
    if reach >= LIFETIME_MS or not len(requests["time"]):
        return None
    return int(requests["time"].min()) - reach - TILE_SLACK_MS


def since(plan: FeaturePlan, events: KnownEvents, requests: Columns) -> KnownEvents:
    """The events without those too old to matter for these requests."""
    first = earliest_ms(plan, requests)
    if first is None:
        return events
    return events.take(tuple(columns["time"] >= first for columns in events.columns))


def about(plan: FeaturePlan, events: KnownEvents, requests: Columns) -> KnownEvents:
    """The events without those that concern none of the requests' entities."""
    wanted = [set(entity_keys(entity, requests)) - {None} for entity in plan.entities]
    masks = []
    for kind, columns in enumerate(events.columns):
        mask = np.zeros(len(columns["time"]), np.bool_)
        for entity, _ in plan.groups_of(kind):
            keys = wanted[entity.index]
            mask |= np.array([key in keys for key in entity_keys(entity, columns)], np.bool_)
        masks.append(mask)
    return events.take(tuple(masks))
