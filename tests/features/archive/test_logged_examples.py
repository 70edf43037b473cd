"""Examples come in the order of their log, from an offset up to before another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from features.archive.files import BACKFILL, ArchiveWriter, examples_table
from features.archive.logged_examples import LoggedExamples
from tidemill.durations import DAY_MS
from tidemill.topics import EXAMPLES
from tidemill.wire import Example, Prediction, vector_bytes

START = 1_367_366_400_000
VECTOR = vector_bytes(np.zeros(2, np.float32))


def example(offset: int) -> Example:
    """One example; its neighbours in the log are of other days."""
    time = START + offset % 3 * DAY_MS
    prediction = Prediction(f"p{offset}", "k", time, VECTOR, "s", 0.5, 0.5, "r0001", 1, time)
    return Example(prediction, 1.0, time, time, 0, offset + 1)


def append(home: Path, first: int, end: int, partition: int | str = 0) -> None:
    """Archive the examples of these offsets together."""
    table = examples_table(
        [example(o) for o in range(first, end)], 0, range(first, end), [0] * (end - first)
    )
    ArchiveWriter(home, "shop", EXAMPLES, partition).write(table, end)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Thirty examples, archived ten at a time, beside some of history."""
    for first in (0, 10, 20):
        append(tmp_path, first, first + 10)
    append(tmp_path, 0, 5, BACKFILL)
    return tmp_path


def offsets(home: Path, first: int, end: int) -> list[int]:
    """The offsets between these."""
    tables = LoggedExamples(home, "shop").between(first, end)
    return [offset for table in tables for offset in table["offset"].to_pylist()]


@pytest.mark.parametrize(("first", "end"), [(0, 30), (7, 23), (12, 13), (5, 5), (25, 99)])
def test_a_stretch_comes_in_order(home: Path, first: int, end: int) -> None:
    """Whatever dates its examples are of, and without history."""
    assert list(range(first, min(end, 30))) == offsets(home, first, end)


def test_all_that_a_learner_needs_comes(home: Path) -> None:
    """Vector, schema, label, weight and the place in the join."""
    (table,) = LoggedExamples(home, "shop").between(3, 4)
    (row,) = table.to_pylist()
    assert (VECTOR, "s", 1.0, 1.0, 0, 4) == tuple(
        row[name] for name in ("vector", "schema", "label", "weight", "join_partition", "sequence")
    )


def test_how_far_it_reaches(home: Path) -> None:
    """To the end of what is committed; past it, nowhere."""
    log = LoggedExamples(home, "shop")
    assert (30, 30, 30, 31) == (log.end, log.reach(0), log.reach(30), log.reach(31))
    assert (0, 7) == (LoggedExamples(home, "other").end, LoggedExamples(home, "other").reach(7))


def test_what_was_deleted_is_missed(home: Path) -> None:
    """What lies before a gap is reached, what lies behind it is not."""
    for path in home.rglob("0-000000000010-*.parquet"):
        path.unlink()
    log = LoggedExamples(home, "shop")
    assert (10, 12, 30) == (log.reach(0), log.reach(12), log.reach(20))
