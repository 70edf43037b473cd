"""Jan–Apr through the kernel: the archive's first examples and the state the store starts with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cli.demo.history import History
from cli.demo.messages import event_records, request_bodies
from cli.demo.timeline import Range, rows, steps
from features.archive.definitions import write_definition
from features.archive.files import ARCHIVE_SCHEMAS, BACKFILL, ArchiveWriter
from features.plan import FeaturePlan
from features.replay import Replayer
from tidemill.topics import EVENTS, EXAMPLES, Names


class Backfill:
    """Replays history before the demo's start with the same barriers as the live part."""

    def __init__(self, plan: FeaturePlan, history: History, start_ms: int, step_ms: int) -> None:
        self._plan, self._history, self._start_ms = plan, history, start_ms
        first = int(history.requests["time"][0])
        # Barriers fall on the same grid as the live part's.
        begin = start_ms - (start_ms - first) // step_ms * step_ms - step_ms
        self._span = Range(begin, start_ms, step_ms)
        self.replayer = Replayer(plan)
        self._applied: dict[str, int] = {}  # rows of each kind

    def run(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The requests' row numbers (rows,) and their vectors (rows, features)."""
        asked = self._history.requests["time"]
        chosen = np.flatnonzero(asked < self._start_ms)
        vectors = np.empty((len(chosen), len(self._plan.schema.names)), np.float32)
        for step in steps(self._history, self._span):
            if step.barrier_ms >= self._start_ms:
                break
            for name, some in step.events.items():
                if some.stop > some.start:
                    self.replayer.apply(name, rows(self._history.events[name], some))
                self._applied[name] = some.stop
            if step.requests.stop > step.requests.start:
                found = self.replayer.vectors(rows(self._history.requests, step.requests))
                vectors[step.requests] = found
        return chosen, vectors

    def blobs(self, names: Names) -> Iterator[tuple[str, bytes]]:
        """Store keys and blobs: the windows as they are before the demo's first step."""
        for entity, key, blob in self.replayer.blobs():
            yield names.blob(names.entity_partition(key), entity, key), blob

    def archive(self, home: Path, chosen: NDArray[np.int64], vectors: NDArray[np.float32]) -> int:
        """Write the events that were applied, and the examples whose label was known at the start.

        Returns how many examples there are.
        """
        labels = self._history.labels
        place = {key: at for at, key in enumerate(labels["key"].tolist())}
        keys = self._history.requests["flight"][chosen]
        said = np.array([place[key] for key in keys.tolist()], dtype=np.int64)
        known = np.flatnonzero(labels["time"][said] < self._start_ms)
        table = self._table(chosen[known], vectors[known], said[known])
        for topic, rows_of in ((EXAMPLES, table), (EVENTS, self._events())):
            writer = ArchiveWriter(home, self._plan.project.name, topic, BACKFILL)
            writer.write(rows_of, writer.next_offset + rows_of.num_rows)
        write_definition(home, self._plan, self._start_ms)
        return int(table.num_rows)

    def _events(self) -> pa.Table:
        """What was applied, in the order of event time, as if it had been known at its own time."""
        tables = []
        for event in self._plan.project.events:
            if not self._applied.get(event.name):
                continue
            some = rows(self._history.events[event.name], slice(self._applied[event.name]))
            records, count = event_records(event, some), len(some["time"])
            nowhere = np.full(count, -1)
            columns = {
                "time": some["time"], "event": [event.name] * count, "id": [None] * count,
                "key": [key.decode() for key, _ in records if key is not None],
                "body": [body for _, body in records],
                "partition": nowhere, "offset": nowhere, "known_ms": some["time"],
            }  # fmt: skip
            tables.append(pa.table(columns, schema=ARCHIVE_SCHEMAS[EVENTS]))
        empty = ARCHIVE_SCHEMAS[EVENTS].empty_table()
        return pa.concat_tables([empty, *tables]).sort_by("time")

    def _table(
        self, chosen: NDArray[np.int64], vectors: NDArray[np.float32], said: NDArray[np.int64]
    ) -> pa.Table:
        history, count = self._history, len(chosen)
        nothing, unknown = np.full(count, np.nan), np.full(count, -1)
        columns = {
            "time": history.requests["time"][chosen],
            "key": history.requests["flight"][chosen],
            "vector": [row.tobytes() for row in vectors.astype("<f4")],
            "schema": [self._plan.schema.hash] * count,
            "label": history.labels["value"][said],
            "label_time": history.labels["time"][said],
            "score": nothing, "baseline": nothing,
            "release": [""] * count, "snapshot": unknown, "partition": unknown, "offset": unknown,
            "prediction_id": [""] * count, "join_partition": unknown, "sequence": unknown,
            "known_ms": history.labels["time"][said],
            "scored_ms": history.requests["time"][chosen],
            "request": self._bodies(chosen),
            "weight": np.ones(count), "sampled": np.ones(count),
            "kind": ["label"] * count, "producer": [""] * count,
        }  # fmt: skip
        schema = ARCHIVE_SCHEMAS[EXAMPLES]
        return pa.table(
            [pa.array(columns[field.name], type=field.type, from_pandas=False) for field in schema],
            schema=schema,
        )

    def _bodies(self, chosen: NDArray[np.int64]) -> list[bytes]:
        names = [field.name for field in self._plan.project.request.columns]
        return request_bodies(names, rows(self._history.requests, chosen))
