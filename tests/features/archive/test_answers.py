"""Labels of answers are found in the archive, and answers counted by their release."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from features.archive.answers import Answered, FoundLabel, answered_by, find_labels
from features.archive.files import ArchiveWriter, examples_table, predictions_table
from tidemill.durations import DAY_MS
from tidemill.topics import EXAMPLES, PREDICTIONS
from tidemill.wire import Example, Prediction, vector_bytes

START = 1_367_366_400_000


def prediction(number: int) -> Prediction:
    """One of five answers over three days."""
    release, snapshot = ("r0001", 1 + number % 2) if number < 3 else ("r0002", 1)
    time = START + number * DAY_MS // 2
    vector = vector_bytes(np.zeros(2, np.float32))
    return Prediction(
        f"p{number}", f"k{number}", time, vector, "s", 0.25, 0.5, release, snapshot, time + 7
    )


def archive(home: Path) -> Path:
    """Five answers, of which the first got a label and then a correction."""
    made = [prediction(number) for number in range(5)]
    writer = ArchiveWriter(home, "shop", PREDICTIONS, 1)
    writer.write(predictions_table(made[:2], 1, range(2), [0, 0]), 2)
    writer.write(predictions_table(made[2:], 1, range(2, 5), [0, 0, 0]), 5)
    labels = [
        Example(made[0], 1.0, START + 9, START, 0, 1),
        Example(made[0], 0.0, START + 99, START, 0, 2, kind="correction"),
    ]
    table = examples_table(labels, 0, range(2), [0, 0])
    ArchiveWriter(home, "shop", EXAMPLES, 0).write(table, 2)
    return home


def test_every_label_of_an_answer_is_found(tmp_path: Path) -> None:
    """Its correction too; of an answer without one, none."""
    expected = [
        FoundLabel(1.0, START + 9, "label", 0),
        FoundLabel(0.0, START + 99, "correction", 1),
    ]
    home = archive(tmp_path)
    assert expected == find_labels(home, "shop", "p0", START)
    assert [] == find_labels(home, "shop", "p1", START + DAY_MS // 2)


def test_answers_are_counted_by_release_and_snapshot(tmp_path: Path) -> None:
    """With the times of the first and the last."""
    home = archive(tmp_path)
    assert Answered(3, START, START + DAY_MS) == answered_by(home, "shop", "r0001")
    assert Answered(1, START + DAY_MS // 2, START + DAY_MS // 2) == answered_by(
        home, "shop", "r0001", 2
    )
    assert answered_by(home, "shop", "r0003") is None
