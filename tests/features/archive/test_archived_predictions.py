"""Predictions are found in the archive by their ids, with all they were computed from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from features.archive.files import ArchiveWriter, predictions_table
from features.archive.predictions import (
    FoundPrediction,
    LoggedPrediction,
    find_prediction,
    find_predictions,
)
from tidemill.durations import DAY_MS
from tidemill.topics import PREDICTIONS
from tidemill.wire import ArmScore, Prediction, vector_bytes

START = 1_367_366_400_000
VECTOR = vector_bytes(np.array([1.5, np.nan], np.float32))
OTHERS = [ArmScore("r0003", 4, 70, 0.75), ArmScore("r0004", 1, 60, 0.5)]


def prediction(number: int) -> Prediction:
    """One of five answers over three days; the last by a canary."""
    time = START + number * DAY_MS // 2
    return Prediction(
        f"p{number}", f"k{number}", time, VECTOR, "s", 0.25, 0.5, "r0002", 1, time + 7,
        b"{}" if number else b"", 40 + number, *(("canary", OTHERS) if number == 4 else ()),
    )  # fmt: skip


def archive(home: Path) -> Path:
    """Five answers in two files a day, the second of them twice."""
    made = [prediction(number) for number in range(5)]
    writer = ArchiveWriter(home, "shop", PREDICTIONS, 1)
    writer.write(predictions_table(made[:2], 1, range(2), [0, 0]), 2)
    writer.write(predictions_table([made[1], *made[2:]], 1, range(2, 6), [0] * 4), 6)
    return home


def test_an_answer_is_found_with_its_place(tmp_path: Path) -> None:
    """Everything that was logged of it, but for vector and request."""
    found = find_prediction(archive(tmp_path), "shop", "p3")
    time = START + 3 * DAY_MS // 2
    expected = FoundPrediction("p3", time, "k3", "s", 0.25, 0.5, "r0002", 1, time + 7, 1, 4, 43)
    assert expected == found


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    """Neither in an archive without it nor without an archive."""
    assert find_prediction(tmp_path, "shop", "p0") is None
    assert find_prediction(archive(tmp_path), "shop", "p9") is None
    assert {} == find_predictions(tmp_path, "other", ["p0"])


def test_many_are_found_in_one_look(tmp_path: Path) -> None:
    """Each once, also one that was sent twice, with vector, request and what others said."""
    found = find_predictions(archive(tmp_path), "shop", ["p0", "p1", "p4", "p9"])
    assert {"p0", "p1", "p4"} == set(found)
    assert {LoggedPrediction} == {type(each) for each in found.values()}
    assert [VECTOR] * 3 == [each.vector for each in found.values()]
    assert (None, b"{}") == (found["p0"].request, found["p1"].request)
    assert ("champion", []) == (found["p0"].arm, found["p0"].others)
    assert ("canary", 44, OTHERS) == (found["p4"].arm, found["p4"].learned_to, found["p4"].others)


def test_an_answer_of_an_earlier_version_is_found(tmp_path: Path) -> None:
    """How far its learner had come is not known; it was the champion's."""
    home = archive(tmp_path)
    for path in home.rglob("*.parquet"):
        columns = ["learned_to", "arm", "arms"]
        pq.write_table(pq.ParquetFile(path).read().drop_columns(columns), path)
    found = find_predictions(home, "shop", ["p4"])["p4"]
    assert (None, "champion", []) == (found.learned_to, found.arm, found.others)
