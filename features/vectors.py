"""Feature vectors: windows at the request's time, request features and derived ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.columns import entity_keys, field_columns, request_values, write_finite
from features.plan import EntityPlan, FeaturePlan
from features.store import OnlineStore
from features.windows import finalise
from tidemill.declaration import DerivedFeature, RequestFeature
from tidemill.errors import StoreUnavailable
from tidemill.topics import Names


@dataclass(frozen=True, slots=True)
class Vectors:
    """What the model sees, and how fresh it is.

    matrix float32 (requests, features), NaN for missing; ages_ms float64 (requests, entities): from
    the entity's newest event to the request, NaN for an entity never seen.
    """

    matrix: NDArray[np.float32]
    ages_ms: NDArray[np.float64]


class Assembler:
    """Builds vectors from entity rows; shared by the api, replay and backfill."""

    def __init__(self, plan: FeaturePlan) -> None:
        self.plan = plan
        names = {name: position for position, name in enumerate(plan.schema.names)}
        features = plan.project.features
        self._request = [(names[f.name], f) for f in features if isinstance(f, RequestFeature)]
        self._derived = [
            (names[f.name], f, [(name, names[name]) for name in sorted(f.value.names())])
            for f in features
            if isinstance(f, DerivedFeature)
        ]

    def columns(self, requests: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """The requests' fields and times as columns."""
        return field_columns(self.plan.project.request.columns, requests)

    def assemble(
        self,
        columns: Mapping[str, NDArray[Any]],
        rows: Sequence[tuple[NDArray[np.int32], NDArray[np.int64]]],
    ) -> Vectors:
        """Vectors from, per entity, an arena's words and each request's row (-1: never seen)."""
        times = columns["time"]
        matrix = np.full((len(times), len(self.plan.schema.names)), np.nan, dtype=np.float32)
        ages = np.full((len(times), len(self.plan.entities)), np.nan)
        for entity, (words, slots) in zip(self.plan.entities, rows, strict=True):
            finalise(words, slots, times, entity.features, matrix)
            seen = slots >= 0
            ages[seen, entity.index] = times[seen] - words.view(np.int64)[slots[seen], 0]
        self._complete(columns, matrix)
        return Vectors(matrix, ages)

    def without_windows(self, columns: Mapping[str, NDArray[Any]]) -> Vectors:
        """Vectors with the request features alone; every window is missing."""
        rows = len(columns["time"])
        matrix = np.full((rows, len(self.plan.schema.names)), np.nan, dtype=np.float32)
        self._complete(columns, matrix)
        return Vectors(matrix, np.full((rows, len(self.plan.entities)), np.nan))

    def _complete(self, columns: Mapping[str, NDArray[Any]], matrix: NDArray[np.float32]) -> None:
        request_values(self._request, columns, matrix)
        for position, feature, sources in self._derived:
            inputs = {name: matrix[:, source] for name, source in sources}
            write_finite(matrix[:, position], feature.value.evaluate(inputs, len(matrix)))


class VectorReader:
    """Reads the vectors of all waiting requests from the online store in one round trip."""

    def __init__(
        self, plan: FeaturePlan, names: Names, store: OnlineStore, deadline_ms: int = 250
    ) -> None:
        self.assembler = Assembler(plan)
        self._plan, self._names, self._store = plan, names, store
        self._deadline_seconds = deadline_ms / 1000

    async def read(self, requests: Sequence[Any]) -> Vectors:
        """The requests' vectors; raises StoreUnavailable, at the latest after the deadline."""
        columns = self.assembler.columns(requests)
        places: dict[str, int] = {}
        wanted: list[tuple[list[str], NDArray[np.int64]]] = []
        for entity in self._plan.entities:
            wanted.append(self._wanted(entity, columns, places))
        try:
            async with asyncio.timeout(self._deadline_seconds):
                blobs = await self._store.read(list(places))
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {self._deadline_seconds} s") from None
        found = dict(zip(places, blobs, strict=True))
        rows = [
            _rows(entity, [found[key] for key in keys], slots)
            for entity, (keys, slots) in zip(self._plan.entities, wanted, strict=True)
        ]
        return self.assembler.assemble(columns, rows)

    def without_store(self, requests: Sequence[Any]) -> Vectors:
        """The vectors when the store is gone: request features alone."""
        return self.assembler.without_windows(self.assembler.columns(requests))

    def _wanted(
        self, entity: EntityPlan, columns: Mapping[str, NDArray[Any]], places: dict[str, int]
    ) -> tuple[list[str], NDArray[np.int64]]:
        """One entity's distinct store keys and, per request, which is its own (-1: none)."""
        distinct: dict[str, int] = {}
        keys = entity_keys(entity, columns)
        slots = np.full(len(keys), -1, dtype=np.int64)
        for i, key in enumerate(keys):
            if key is not None:
                slots[i] = distinct.setdefault(key, len(distinct))
        partition_of, name = self._names.entity_partition, entity.entity.name
        stored = [self._names.blob(partition_of(key), name, key) for key in distinct]
        for key in stored:
            places.setdefault(key, len(places))
        return stored, slots


def _rows(
    entity: EntityPlan, blobs: Sequence[bytes | None], slots: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Blobs as one arena; requests whose blob is missing or of another layout get row -1."""
    empty = bytes(entity.bytes)
    layout = entity.layout.to_bytes(4, "little")
    good = [b is not None and len(b) == entity.bytes and b[8:12] == layout for b in blobs]
    parts = [blob if ok and blob else empty for blob, ok in zip(blobs, good, strict=True)]
    words = np.frombuffer(b"".join(parts) or empty, np.int32).reshape(-1, entity.words)
    if not all(good):
        usable = np.array([*good, False])
        slots = np.where(usable[slots], slots, -1)
    return words, slots
