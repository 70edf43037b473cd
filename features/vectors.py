"""Feature vectors: windows at the request's time, request features and derived ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.arena import EntityRows, usable
from features.columns import (
    distinct_keys,
    entity_keys,
    field_columns,
    joined_blobs,
    request_values,
    write_finite,
)
from features.plan import EntityPlan, FeaturePlan, SketchFeature, outputs_of
from features.sketches.state import SketchState
from features.static.rows import StaticBlock, StaticReader, static_plans, write_static
from features.store import OnlineStore
from features.windows import finalise
from tidemill.errors import StoreUnavailable
from tidemill.feature_kinds import DerivedFeature, RequestFeature
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
        self._static = static_plans(plan.project)

    def columns(self, requests: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """The requests' fields and times as columns."""
        return field_columns(self.plan.project.request.columns, requests)

    def assemble(
        self,
        columns: Mapping[str, NDArray[Any]],
        rows: Sequence[EntityRows],
        static: Sequence[StaticBlock] | None = None,
    ) -> Vectors:
        """Vectors from the rows of every entity of the plan.

        `static` are the static rows, missing without it.
        """
        times = columns["time"]
        matrix, ages = self._missing(len(times))
        for entity, own in zip(self.plan.entities, rows, strict=True):
            finalise(own.words, own.slots, times, entity.features, entity.parameters,
                     entity.forget_ms, matrix)  # fmt: skip
            if entity.sketch_features:
                finalise_sketches(entity, own, times, matrix)
            seen = own.slots >= 0
            newest = own.words.view(np.int64)[own.slots[seen], 0]
            ages[seen, entity.index] = times[seen] - newest
        if static is not None:
            write_static(self._static, static, matrix)
        self._complete(columns, matrix)
        return Vectors(matrix, ages)

    def without_windows(self, columns: Mapping[str, NDArray[Any]]) -> Vectors:
        """Vectors with the request features alone; every window is missing."""
        matrix, ages = self._missing(len(columns["time"]))
        self._complete(columns, matrix)
        return Vectors(matrix, ages)

    def forget(
        self, columns: Mapping[str, NDArray[Any]], vectors: Vectors, old: NDArray[np.bool_]
    ) -> Vectors:
        """The same with the windows of `old` (requests, entities) missing, and what follows."""
        matrix = vectors.matrix.copy()
        for entity in self.plan.entities:
            rows = np.flatnonzero(old[:, entity.index])
            matrix[rows[:, np.newaxis], outputs_of(self.plan.project, entity.entity)] = np.nan
        self._complete(columns, matrix)
        return Vectors(matrix, vectors.ages_ms)

    def _missing(self, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """A matrix and ages in which nothing is known yet."""
        matrix = np.empty((rows, len(self.plan.schema.names)), dtype=np.float32)
        ages = np.empty((rows, len(self.plan.entities)))
        matrix.fill(np.nan)
        ages.fill(np.nan)
        return matrix, ages

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
        self._static = StaticReader(plan.project, names)
        self._deadline_seconds = deadline_ms / 1000

    async def read(self, requests: Sequence[Any]) -> Vectors:
        """The requests' vectors; raises StoreUnavailable, at the latest after the deadline."""
        columns = self.assembler.columns(requests)
        names: list[str] = []
        wanted: list[tuple[EntityPlan, slice, NDArray[np.int64]]] = []
        for entity in self._plan.entities:
            keys, slots = distinct_keys(entity_keys(entity, columns))
            wanted.append((entity, slice(len(names), len(names) + len(keys)), slots))
            names += self._names.blobs(entity.entity.name, keys)
        asked = self._static.ask(columns)
        static_from = len(names)
        names += self._static.keys(asked)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                found = await self._store.read(names)
                static = await self._static.blocks(asked, found[static_from:], self._store)
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {self._deadline_seconds} s") from None
        rows = [entity_rows(entity, found[own], slots) for entity, own, slots in wanted]
        return self.assembler.assemble(columns, rows, static)

    def forget(self, requests: Sequence[Any], vectors: Vectors, old: NDArray[np.bool_]) -> Vectors:
        """The same vectors, the windows missing of those entities that are `old`.

        `old` is (requests, entities); ages stay as they are.
        """
        return self.assembler.forget(self.assembler.columns(requests), vectors, old)

    def without_store(self, requests: Sequence[Any]) -> Vectors:
        """The vectors when the store is gone: request features alone."""
        return self.assembler.without_windows(self.assembler.columns(requests))


def finalise_sketches(
    entity: EntityPlan,
    rows: EntityRows,
    times: NDArray[np.int64],
    matrix: NDArray[np.float32],
) -> None:
    """Write what is read from sketches; of nothing distinct is 0, all else missing."""
    longs = rows.words.view(np.int64)
    for i, (slot, time) in enumerate(zip(rows.slots.tolist(), times.tolist(), strict=True)):
        state = rows.sketches.get(slot)
        for feature in entity.sketch_features:
            silent = state and 0 < entity.forget_ms < time - int(longs[slot, feature.group // 2])
            values = _sketched(None if silent else state, feature, time)
            matrix[i, feature.output : feature.output + len(values)] = values


def _sketched(state: SketchState | None, feature: SketchFeature, time: int) -> list[float]:
    ring, length, number = feature.ring, feature.length_ms, feature.number
    if feature.kind == "distinct":
        return [state.distinct(ring, time, length) if state else 0.0]
    if feature.kind == "quantiles":
        return state.quantiles(ring, time, length, [number / 100]) if state else [np.nan]
    return state.top(ring, time, length, number) if state else [np.nan] * number


def entity_rows(
    entity: EntityPlan, blobs: Sequence[bytes | None], slots: NDArray[np.int64]
) -> EntityRows:
    """Blobs as rows; requests whose blob is missing or of another layout get slot -1."""
    size, empty = entity.bytes, bytes(entity.bytes)
    if not entity.sketch_rings and (whole := joined_blobs(blobs, size)):
        words = np.frombuffer(whole, np.int32).reshape(-1, entity.words)
        if (words.view(np.uint32)[:, 2] == entity.layout).all():
            return EntityRows(words, slots)
    good = [blob is not None and usable(entity, blob) for blob in blobs]
    parts = [blob[:size] if ok and blob else empty for blob, ok in zip(blobs, good, strict=True)]
    words = np.frombuffer(b"".join(parts) or empty, np.int32).reshape(-1, entity.words)
    if not all(good):
        known = np.array([*good, False])
        slots = np.where(known[slots], slots, -1)
    sketches = {
        slot: SketchState.decode(entity.sketch_rings, blob[size:])
        for slot, blob in enumerate(blobs)
        if entity.sketch_rings and blob is not None and good[slot]
    }
    return EntityRows(words, slots, sketches)
