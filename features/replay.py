"""The same kernel offline: events in, vectors out, for backfill and training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.arena import Arena
from features.columns import entity_keys, window_rows
from features.plan import FeaturePlan
from features.static.rows import StaticBlock
from features.vectors import Assembler


class Replayer:
    """Folds whole columns of events and answers requests, exactly as the worker and the api do."""

    def __init__(self, plan: FeaturePlan) -> None:
        self.plan = plan
        self._assembler = Assembler(plan)
        self._arenas = [Arena(entity) for entity in plan.entities]
        self._events = {event.name: index for index, event in enumerate(plan.events)}

    def apply(self, event_name: str, columns: Mapping[str, NDArray[Any]]) -> int:
        """Fold events of one kind (its fields and `time` in ms); returns how many came too late."""
        rows = len(columns["time"])
        late = 0
        for entity, group in self.plan.groups_of(self._events[event_name]):
            found = window_rows(entity, group, columns, rows)
            arena = self._arenas[entity.index]
            missing = arena.missing(found.keys)
            arena.load(missing, [None] * len(missing))
            times = columns["time"][found.rows]
            late += arena.fold(group, found.keys, found.codes, times, found.values)
        return late

    def vectors(
        self, columns: Mapping[str, NDArray[Any]], static: Sequence[StaticBlock] | None = None
    ) -> NDArray[np.float32]:
        """The vectors of requests (their fields and `time`), shape (requests, features).

        `static` are their static rows (`StaticReader.read`), which are missing without it: they are
        those of now, not of the requests' times.
        """
        rows = [arena.rows(entity_keys(arena.plan, columns)) for arena in self._arenas]
        return self._assembler.assemble(columns, rows, static).matrix

    @property
    def entities(self) -> int:
        """How many entities there are."""
        return sum(len(arena) for arena in self._arenas)

    def blobs(self) -> Iterator[tuple[str, str, bytes]]:
        """The whole state, to be loaded into a store: entity name, key, blob."""
        for arena in self._arenas:
            for key, blob in arena.blobs():
                yield arena.plan.entity.name, key, blob
