"""Cuts history into steps of event time with a barrier between what is known and what is asked.

Step k begins at t_k: first every event up to and including t_k is applied, then the requests of
[t_k, t_k + step) are scored. So a vector depends on the data alone, never on how fast anything ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cli.demo.history import Columns, History


@dataclass(frozen=True)
class Range:
    """A span of stream time: requests with `start_ms` <= time < `end_ms`, cut every `step_ms`."""

    start_ms: int
    end_ms: int
    step_ms: int


@dataclass(frozen=True)
class Step:
    """What happens at one barrier; all are row numbers into the history's tables."""

    barrier_ms: int
    events: Mapping[str, slice]
    labels: NDArray[np.int64]
    requests: slice


def steps(history: History, span: Range, from_ms: int | None = None) -> Iterator[Step]:
    """The steps of a range, in order, and on until the last label of its requests is known.

    Events come from after `from_ms` on (those before are taken as applied already; default: from
    the beginning of history), labels only for requests of the range.
    """
    labels = _labels_of(history, span)
    last = int(history.labels["time"][labels[-1]]) if len(labels) else span.end_ms
    cursors = {
        name: 0 if from_ms is None else _after(table["time"], from_ms)
        for name, table in history.events.items()
    }
    label_times, said = history.labels["time"][labels], 0
    asked = history.requests["time"]
    barrier = span.start_ms
    while barrier < span.end_ms or barrier < last + span.step_ms:
        events = {
            name: slice(cursors[name], _after(table["time"], barrier))
            for name, table in history.events.items()
        }
        cursors = {name: rows.stop for name, rows in events.items()}
        known = _after(label_times, barrier)
        end = min(barrier + span.step_ms, span.end_ms)
        first, stop = np.searchsorted(asked, (min(barrier, end), end), "left").tolist()
        yield Step(barrier, events, labels[said:known], slice(first, stop))
        said = known
        barrier += span.step_ms


def rows(table: Columns, chosen: slice | NDArray[np.int64]) -> Columns:
    """Some rows of a table."""
    return {name: column[chosen] for name, column in table.items()}


def _labels_of(history: History, span: Range) -> NDArray[np.int64]:
    asked = history.labels["asked"]
    return np.flatnonzero((asked >= span.start_ms) & (asked < span.end_ms))


def _after(times: NDArray[np.int64], moment: int) -> int:
    return int(np.searchsorted(times, moment, "right"))
