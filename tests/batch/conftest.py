"""A small project and an archive of synthetic examples for the batch tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from features.archive.files import ARCHIVE_SCHEMAS, BACKFILL, ArchiveWriter
from tidemill import (
    Event,
    Gate,
    Label,
    LightGBM,
    Project,
    Request,
    RequestFeature,
    TreeHead,
    category,
)
from tidemill.durations import DAY_MS, HOUR_MS
from tidemill.schema import schema_of
from tidemill.topics import EXAMPLES

sys.path.insert(0, str(Path(__file__).parent))  # for `archived`, which the tests share

MAY_1_MS = 1_367_366_400_000
FEATURES = 5


@pytest.fixture
def make_project() -> Callable[..., Project]:
    """Builds a project of four numbers and one category; parts can be replaced."""

    def make(**parts: Any) -> Project:
        request = Request({"kind": str, **{f"x{i}": float for i in range(1, FEATURES)}})
        numbers = tuple(RequestFeature(f"x{i}", request[f"x{i}"]) for i in range(1, FEATURES))
        kind = RequestFeature("kind", category(request.kind), categorical=True)
        settings: dict[str, Any] = {
            "name": "p",
            "events": (Event("seen", key="kind", fields={"kind": str}),),
            "request": request,
            "features": (kind, *numbers),
            "label": Label(key=("kind",), wait="1d"),
            "learner": TreeHead(),
            "trainer": LightGBM(leaves=7, rounds=10, learning_rate=0.2),
            "gate": Gate(holdout="5d", tolerance=0.02, min_rows=100),
        }
        return Project(**{**settings, **parts})

    return make


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """The project as it is mostly used."""
    return make_project()


@pytest.fixture
def columns() -> Callable[..., dict[str, Any]]:
    """Makes the columns of backfilled examples."""
    return example_columns


@pytest.fixture
def append() -> Callable[..., None]:
    """Archives columns of examples."""
    return append_examples


def example_columns(project: Project, rows: int, seed: int, first_ms: int) -> dict[str, Any]:
    """Backfilled examples, one each ten minutes, labelled an hour later by x1 and the kind."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, FEATURES)).astype("<f4")
    vectors[:, 0] = rng.integers(0, 20, rows)
    odds = 2 * vectors[:, 1] + vectors[:, 0] % 2 - 0.5
    times = first_ms + np.arange(rows) * (HOUR_MS // 6)
    return {
        "time": times,
        "key": [f"k{seed}-{i}" for i in range(rows)],
        "vector": [vector.tobytes() for vector in vectors],
        "schema": [schema_of(project).hash] * rows,
        "label": (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float64),
        "label_time": times + HOUR_MS,
        "score": np.full(rows, np.nan),
        "baseline": np.full(rows, np.nan),
        "release": [""] * rows,
        "snapshot": [0] * rows,
        "partition": [-1] * rows,
        "offset": [-1] * rows,
        "prediction_id": [f"b{seed}-{i}" for i in range(rows)],
        "join_partition": [-1] * rows,
        "sequence": [-1] * rows,
        "known_ms": times + HOUR_MS,
        "scored_ms": times,
        "request": [None] * rows,
        "weight": np.ones(rows),
        "sampled": np.ones(rows),
        "kind": ["label"] * rows,
        "producer": [""] * rows,
    }


def live_columns(project: Project, rows: int, seed: int, first_ms: int) -> dict[str, Any]:
    """The same as answered and joined live, with a middling score, by two join partitions."""
    columns = example_columns(project, rows, seed, first_ms)
    numbers = np.arange(rows)
    columns |= {
        "score": np.full(rows, 0.5),
        "release": ["r0001"] * rows,
        "partition": [0] * rows,
        "offset": numbers,
        "join_partition": numbers % 2,
        "sequence": numbers // 2 + 1,
    }
    return columns


def append_examples(home: Path, partition: int | str, columns: dict[str, Any]) -> None:
    """Archive examples after those already there."""
    writer = ArchiveWriter(home, "p", EXAMPLES, partition)
    table = pa.table(columns, schema=ARCHIVE_SCHEMAS[EXAMPLES])
    writer.write(table, writer.next_offset + len(table))


@pytest.fixture
def backfilled(tmp_path: Path, project: Project) -> Path:
    """A home with twenty days of backfilled examples."""
    append_examples(tmp_path, BACKFILL, example_columns(project, 20 * 144, 1, MAY_1_MS))
    return tmp_path


@pytest.fixture
def go_live(project: Project) -> Callable[..., None]:
    """Adds ten days of live examples after the backfilled ones; columns can be replaced."""

    def add(home: Path, **columns: Any) -> None:
        made = live_columns(project, 10 * 144, 2, MAY_1_MS + 20 * DAY_MS)
        append_examples(home, 0, made | columns)

    return add
