"""Training vectors of the current declaration: logged ones reused, what is new backfilled.

A feature whose meaning has not changed is taken from the vector logged at scoring time. The others
are computed from the archived events by the kernel that serves, for each prediction from what was
known when it was made: an event that became known later does not count, whatever its own time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.archive.definitions import read_definitions, unchanged
from features.archive.events import Rules, knowledge_until, known_events, request_columns
from features.archive.files import read_archive, read_examples
from features.archive.point_in_time import Columns, KnownEvents, earliest_ms, vectors_at
from features.evolution.differences import Definition, define
from features.plan import FeaturePlan
from tidemill.topics import EVENTS

Compute = Callable[[FeaturePlan, KnownEvents, Columns, NDArray[np.int64]], NDArray[np.float32]]
"""`vectors_at`, or something that gives the same bytes elsewhere."""


@dataclass(frozen=True, slots=True)
class Backfilled:
    """Vectors of the current declaration.

    vectors float32 (rows, features); rows int64: which of the examples they are, the others cannot
    be brought to this declaration; `computed` counts those of which a part was computed.
    """

    vectors: NDArray[np.float32]
    rows: NDArray[np.int64]
    computed: int


class TrainingSet:
    """Brings archived examples to one declaration."""

    def __init__(
        self,
        home: Path,
        plan: FeaturePlan,
        rules: Rules | None = None,
        compute: Compute = vectors_at,
    ) -> None:
        self.home, self.plan = home, plan
        self._rules, self._compute = rules or Rules(), compute
        self._definition = define(plan, 0)

    def vectors(self, examples: pa.Table) -> Backfilled:
        """The vectors of archived examples, whatever declaration they were logged for.

        Raises ValueError for a vector that does not fit the schema it claims.
        """
        if set(examples["schema"].unique().to_pylist()) == {self.plan.schema.hash}:
            logged = logged_vectors(examples["vector"], len(self.plan.schema.names))
            return Backfilled(logged, np.arange(len(examples)), 0)
        matrix = np.full((len(examples), len(self.plan.schema.names)), np.nan, np.float32)
        missing = np.zeros(matrix.shape, np.bool_)
        for rows, definition in self._by_schema(examples):
            missing[rows] = self._reuse(examples, rows, definition, matrix)
        asked = np.flatnonzero(missing.any(axis=1))
        kept = np.ones(len(examples), np.bool_)
        if len(asked):
            found, computed = self._computed(some(examples, asked))
            kept[asked] = False
            asked = asked[found]
            kept[asked] = True
            matrix[asked] = np.where(missing[asked], computed, matrix[asked])
        return Backfilled(matrix[kept], np.flatnonzero(kept), len(asked))

    def _by_schema(
        self, examples: pa.Table
    ) -> Iterator[tuple[NDArray[np.int64], Definition | None]]:
        own = self.plan.schema.hash
        known = read_definitions(self.home, self.plan.project.name) | {own: self._definition}
        codes = examples["schema"].combine_chunks().dictionary_encode()
        for code, schema in enumerate(codes.dictionary.to_pylist()):
            yield np.flatnonzero(codes.indices.to_numpy() == code), known.get(schema)

    def _reuse(
        self,
        examples: pa.Table,
        rows: NDArray[np.int64],
        definition: Definition | None,
        matrix: NDArray[np.float32],
    ) -> NDArray[np.bool_]:
        """Copy what the logged vectors say; which features (features,) they do not say."""
        names = list(self.plan.schema.names)
        missing = np.ones(len(names), np.bool_)
        if definition is None:
            return missing
        before = {name: place for place, name in enumerate(definition.features)}
        logged = logged_vectors(some(examples, rows)["vector"], len(before))
        same = unchanged(definition, self._definition)
        places = np.array([names.index(name) for name in same], np.int64)
        matrix[rows[:, None], places] = logged[:, [before[name] for name in same]]
        missing[places] = False
        return missing

    def _computed(self, examples: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The examples with a usable request, and their whole vectors."""
        requests, rows = request_columns(self.plan, examples["request"].to_pylist())
        cuts = knowledge_until(examples)[rows]
        if not len(rows):
            return rows, np.empty((0, len(self.plan.schema.names)), np.float32)
        events = read_known_events(self.home, self.plan, requests, self._rules)
        return rows, self._compute(self.plan, events, requests, cuts)


def some(table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Rows in rising order; a copy only where it is needed."""
    return table if len(rows) == len(table) else table.take(pa.array(rows))


def read_known_events(
    home: Path, plan: FeaturePlan, requests: Columns, rules: Rules, until_ms: int | None = None
) -> KnownEvents:
    """The archive's events that can matter for these requests, of times before `until_ms`."""
    first, project = earliest_ms(plan, requests), plan.project
    labels = read_examples(home, project.name) if project.label_event else None
    events = read_archive(home, project.name, EVENTS, first, until_ms)
    return known_events(plan, events, labels, rules)


def logged_vectors(column: pa.ChunkedArray, features: int) -> NDArray[np.float32]:
    """The vectors of a binary column, without a Python object for each; raises ValueError."""
    parts = [np.empty((0, features), np.float32)]
    for chunk in column.chunks:
        if not len(chunk):
            continue
        ends = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset :][: len(chunk) + 1]
        if chunk.null_count or not (np.diff(ends) == 4 * features).all():
            raise ValueError(f"vector: found other lengths; allowed: {4 * features} bytes")
        data = np.frombuffer(chunk.buffers()[2], "<f4")[ends[0] // 4 : ends[-1] // 4]
        parts.append(data.reshape(-1, features))
    return np.concatenate(parts)
