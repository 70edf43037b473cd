"""The api finds old predictions in the archive, with their outcomes, one look at a time."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from cli.archived_predictions import ArchivedPredictions
from features.archive.files import ArchiveWriter, examples_table, predictions_table
from tidemill.topics import EXAMPLES, PREDICTIONS
from tidemill.wire import ArmScore, Example, Prediction, vector_bytes

TIME = 1_367_366_400_000
RECORD = Prediction(
    "p1", "k1", TIME, vector_bytes(np.array([1.5, np.nan], np.float32)), "s", 0.25, 0.5, "r0002",
    1, TIME + 7, b'{"a":1}', 40, "canary", [ArmScore("r0003", 4, 70, 0.75)],
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An archive with one prediction and its outcome."""
    ArchiveWriter(tmp_path, "shop", PREDICTIONS, 0).write(
        predictions_table([RECORD], 0, [0], [TIME]), 1
    )
    example = Example(RECORD, 1.0, TIME + 9, TIME, 0, 1)
    ArchiveWriter(tmp_path, "shop", EXAMPLES, 0).write(examples_table([example], 0, [0], [TIME]), 1)
    return tmp_path


async def test_a_record_comes_back_whole(home: Path) -> None:
    """As it was logged, with what became of it; of an unknown schema without names."""
    found = await ArchivedPredictions(home, "shop").find("p1")
    assert found is not None
    assert RECORD == found.prediction
    assert [] == found.features
    assert [(1.0, TIME + 9, "label")] == [
        (each["label"], each["label_time"], each["kind"]) for each in found.labels
    ]


async def test_what_is_not_there_is_none(home: Path, tmp_path_factory) -> None:
    """Nor in a home without any archive."""
    assert None is await ArchivedPredictions(home, "shop").find("p2")
    empty = tmp_path_factory.mktemp("empty")
    assert None is await ArchivedPredictions(empty, "shop").find("p1")


async def test_a_look_that_nobody_waits_for_is_not_joined_by_another(home: Path) -> None:
    """A thread cannot be stopped, so callers who give up must not start any number of them."""
    archive, going, looks = ArchivedPredictions(home, "shop"), threading.Event(), []

    def slow(prediction: str) -> None:
        looks.append(prediction)
        going.wait(5)

    archive._look = slow  # type: ignore[assignment, method-assign]
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await archive.find("p1")
    assert ["p1"] == looks
    going.set()
    async with asyncio.timeout(5):
        await archive.find("p2")
    assert ["p1", "p2"] == looks
