"""New York's flights of 2013 as a stream: the example's features and each plane's last leg.

Scored an hour before departure. The vectors come from the kernel that the service computes them
with (`cli/demo/backfill.py`), told of each event when it became known; a label is known when the
flight has landed or was given up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas

from bench.streams.stream import Stream
from cli.demo.backfill import Backfill
from cli.demo.history import Columns, History, data_folder, read_history
from cli.demo.history import read_flights as as_moments
from cli.demo.options import month_start_ms
from features.plan import FeaturePlan, compile_plan
from tidemill.durations import DAY_MS, MINUTE_MS
from tidemill.loading import load_project

PROJECT = Path(__file__).resolve().parents[1] / "projects" / "flights_rotation.py"
FIRST_MONTH, LAST_MONTH = 5, 12
BARRIER_MS = 5 * MINUTE_MS
"""What is known is brought up to date this often, and so are the weights that score."""


def read_flights(
    project: Path = PROJECT, last_month: int = LAST_MONTH, releases_a_month: int = 1
) -> Stream:
    """Trained on January to April, scored from May on. Raises TidemillError without the data."""
    plan = compile_plan(load_project(project))
    history = _declared(with_legs(read_history()), plan)
    end = month_start_ms(last_month + 1)
    chosen, vectors = Backfill(plan, history, end, BARRIER_MS).run()
    place = {key: at for at, key in enumerate(history.labels["key"].tolist())}
    said = np.array([place[key] for key in history.requests["flight"][chosen].tolist()])
    times = history.requests["time"][chosen].astype(np.int64)
    return Stream(
        "flights", vectors, history.labels["value"][said].astype(float), times,
        history.labels["time"][said].astype(np.int64), plan.schema,
        int(np.searchsorted(times, month_start_ms(FIRST_MONTH))),
        _retrains(last_month, releases_a_month), times // DAY_MS - int(times[0]) // DAY_MS,
        BARRIER_MS,
    )  # fmt: skip


def _declared(history: History, plan: FeaturePlan) -> History:
    """History with the kinds of event that the project knows."""
    names = [event.name for event in plan.project.events]
    events = {name: history.events[name] for name in names}
    return History(events, history.requests, history.labels)


def with_legs(history: History) -> History:
    """History with two more kinds of event: what a departure and a landing tell of a plane's leg.

    They are known when the departure and the arrival are.
    """
    frame = pandas.read_csv(data_folder() / "flights.csv.zip")
    raw = {name: frame[name].to_numpy() for name in frame}
    flights = as_moments({n: _with_none(c) if c.dtype.kind in "OTU" else c for n, c in raw.items()})
    minutes = (flights["landed_at"] - flights["left_at"]) / MINUTE_MS
    legs = {
        "flown": _in_order(flights, "left_at", {"distance": flights["distance"].astype(float)}),
        "arrived": _in_order(flights, "landed_at", {"minutes": minutes}),
    }
    return History(history.events | legs, history.requests, history.labels)


def _with_none(column: Any) -> Any:
    """Text with None where there is none, as the demo's reader gives it."""
    return np.array([None if text != text else text for text in column.tolist()], dtype=object)


def _in_order(flights: Columns, known: str, more: Columns) -> Columns:
    """Rows in the order of the time at which they are known."""
    order = np.argsort(flights[known], kind="stable")
    columns = {"time": flights[known], "tail": flights["tail"], "origin": flights["origin"]}
    columns.update(more)
    return {name: column[order] for name, column in columns.items()}


def _retrains(last_month: int, each: int) -> tuple[int, ...]:
    """So many in every month, the first one of May left out: the release is there already."""
    found: list[int] = []
    for month in range(FIRST_MONTH, last_month + 1):
        begin, end = month_start_ms(month), month_start_ms(month + 1)
        found += [begin + (end - begin) // each * k for k in range(each)]
    return tuple(found[1:])
