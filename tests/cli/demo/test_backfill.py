"""The state and the examples that a demo starts with."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from cli.demo.backfill import Backfill
from cli.demo.history import History
from features.archive.events import Rules, known_events
from features.archive.files import read_archive, read_examples
from features.plan import compile_plan
from features.replay import Replayer
from features.store import MemoryStore
from features.vectors import VectorReader
from tidemill.durations import HOUR_MS
from tidemill.loading import load_project
from tidemill.topics import EVENTS, Names

PROJECT = Path(__file__).resolve().parents[3] / "examples" / "flights" / "project.py"
START, STEP = 200 * HOUR_MS, HOUR_MS
NAMES = Names("flights", 2)


def column(value: object, count: int) -> np.ndarray:
    """The same value in every row."""
    return np.full(count, value, dtype=object if isinstance(value, str) or value is None else None)


def history() -> History:
    """A departure every hour, and a flight scored half an hour after each."""
    times = np.arange(1, 240) * HOUR_MS
    count = len(times)
    place = {name: column(name.upper(), count) for name in ("origin", "dest", "carrier", "tail")}
    flights = np.array([f"f{number}" for number in range(count)], dtype=object)
    asked = times + HOUR_MS // 2
    departures = {"time": times, "delay": np.arange(count, dtype=float), **place}
    request = {
        "time": asked, "flight": flights, "scheduled": asked + HOUR_MS,
        "distance": column(100.0, count), "row": np.arange(count), **place,
    }  # fmt: skip
    labels = {
        "time": asked + 5 * HOUR_MS, "key": flights, "asked": asked,
        "value": (np.arange(count) % 2).astype(np.int8),
    }  # fmt: skip
    return History({"departure": departures}, request, labels)


@pytest.fixture(name="backfill")
def make_backfill():
    """A backfill of the history above with the example project."""
    return Backfill(compile_plan(load_project(PROJECT)), history(), START, STEP)


def test_the_archive_has_every_event_that_was_applied(backfill, tmp_path):
    """Replaying the archived events gives the backfill's own state."""
    backfill.archive(tmp_path, *backfill.run())
    plan = backfill.replayer.plan
    found = known_events(plan, read_archive(tmp_path, "flights", EVENTS), None, Rules())
    assert START - 2 * STEP < max(map(max, (c["time"] for c in found.columns if len(c["time"]))))
    replayer = Replayer(plan)
    for event, columns in zip(plan.events, found.columns, strict=True):
        replayer.apply(event.name, columns)
    assert sorted(replayer.blobs()) == sorted(backfill.replayer.blobs())


def test_examples_are_those_whose_label_was_known(backfill, tmp_path):
    """Requests before the start whose label came before it, each with its vector."""
    chosen, vectors = backfill.run()
    count = backfill.archive(tmp_path, chosen, vectors)
    table = read_examples(tmp_path, "flights")
    assert table.num_rows == count
    assert max(table["label_time"].to_pylist()) < START
    found = history()
    before = found.requests["time"] < START
    assert len(chosen) == before.sum()
    assert count == (found.labels["time"] < START).sum()
    first = np.frombuffer(table["vector"][0].as_py(), "<f4")
    assert first.tobytes() == vectors[0].tobytes()
    assert table["label"].to_pylist()[:4] == [0, 1, 0, 1]


def test_vectors_know_only_what_lay_before_their_barrier(backfill):
    """The request half an hour after the n-th departure knows n departures of the last day."""
    _, vectors = backfill.run()
    place = backfill.replayer.plan.schema.names.index("gone_count_origin_24h")
    # The day's tiles are hours: 24 whole ones and the one under way.
    assert vectors[:, place].tolist()[:3] == [1.0, 2.0, 3.0]
    assert vectors[100, place] == 25.0


def test_store_starts_with_the_same_windows(backfill):
    """A reader of the loaded blobs gives the vector that the replay would give."""
    backfill.run()
    store = MemoryStore()
    asyncio.run(store.write(list(backfill.blobs(NAMES))))
    plan = backfill.replayer.plan
    found = history().requests
    row = int(np.searchsorted(found["time"], START))
    columns = {name: values[row : row + 1] for name, values in found.items()}
    reader = VectorReader(plan, NAMES, store)
    reader.assembler.columns = lambda requests: columns
    read = asyncio.run(reader.read([None]))
    expected = backfill.replayer.vectors(columns)
    np.testing.assert_array_equal(read.matrix, expected)
