"""The dataset holds each fitting example of the range once, in the order of the labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from batch.datasets.dataset import Quarantined, extract
from batch.training_set import TrainingSet
from features.archive.files import BACKFILL, read_examples
from features.plan import compile_plan
from tidemill.declaration import Project
from tidemill.durations import DAY_MS

MAY_1_MS = 1_367_366_400_000
LIVE_MS = MAY_1_MS + 20 * DAY_MS


def test_vectors_and_labels_are_the_archived_ones(backfilled: Path, project: Project) -> None:
    """Every array row belongs to one archived example."""
    found = extract(TrainingSet(backfilled, compile_plan(project)))
    table = read_examples(backfilled, "p").sort_by("label_time")
    expected = np.frombuffer(b"".join(table["vector"].to_pylist()), "<f4").reshape(-1, 5)
    np.testing.assert_array_equal(expected, found.data.vectors)
    assert table["label"].to_pylist() == found.data.labels.tolist()
    assert table["time"].to_pylist() == found.data.times.tolist()
    assert {} == found.offsets
    assert not found.data.live.any()


def test_an_empty_archive_is_an_empty_dataset(tmp_path: Path, project: Project) -> None:
    """Nothing archived gives no rows and no offsets."""
    found = extract(TrainingSet(tmp_path, compile_plan(project)))
    assert (0, 5) == found.data.vectors.shape
    assert (0, {}) == (len(found.data), found.offsets)


def test_rows_are_in_the_order_of_their_labels(
    tmp_path: Path, project: Project, append: Callable[..., None], columns: Callable[..., dict]
) -> None:
    """A late label comes late, whatever its request's time."""
    made = columns(project, 100, 3, MAY_1_MS)
    made["label_time"] = made["label_time"] + np.random.default_rng(0).integers(0, DAY_MS, 100)
    append(tmp_path, BACKFILL, made)
    found = extract(TrainingSet(tmp_path, compile_plan(project))).data
    assert sorted(found.label_times) == found.label_times.tolist()
    assert sorted(found.times) != found.times.tolist()


def test_offsets_say_how_far_live_rows_reach(
    backfilled: Path, project: Project, go_live: Callable[..., None]
) -> None:
    """The next offset and each join partition's highest sequence."""
    go_live(backfilled)
    found = extract(TrainingSet(backfilled, compile_plan(project)))
    assert {"examples:0": 1440, "sequence:0": 720, "sequence:1": 720} == found.offsets
    assert 1440 == found.data.live.sum()


def test_examples_sent_again_count_once(
    backfilled: Path, project: Project, go_live: Callable[..., None]
) -> None:
    """A sequence that comes twice is one example, the first; its offset still counts as read."""
    numbers = np.arange(1440)
    again = np.where(numbers >= 1430, numbers - 20, numbers)
    go_live(backfilled, join_partition=again % 2, sequence=again // 2 + 1)
    found = extract(TrainingSet(backfilled, compile_plan(project)))
    assert 1430 == found.data.live.sum()
    assert 1440 == found.offsets["examples:0"]
    assert 715 == found.offsets["sequence:1"]


def test_a_range_is_half_open(backfilled: Path, project: Project) -> None:
    """`from_ms` is inside, `to_ms` is not."""
    from_ms, to_ms = MAY_1_MS + DAY_MS, MAY_1_MS + 3 * DAY_MS
    found = extract(TrainingSet(backfilled, compile_plan(project)), from_ms, to_ms).data
    assert 2 * 144 == len(found)
    assert from_ms == found.times.min()
    assert found.times.max() < to_ms


def test_the_learner_gets_what_the_range_leaves_out(
    backfilled: Path, project: Project, go_live: Callable[..., None]
) -> None:
    """Live rows past the first one left out stay out too, so that none is lost or counted twice."""
    offsets = np.arange(1440)
    offsets[[500, 900]] = offsets[[900, 500]]
    go_live(backfilled, offset=offsets)
    found = extract(TrainingSet(backfilled, compile_plan(project)), to_ms=LIVE_MS + 5 * DAY_MS)
    assert 500 == found.data.live.sum()
    assert 500 == found.offsets["examples:0"]


def test_vectors_of_an_unknown_schema_are_counted_and_left_out(
    backfilled: Path, project: Project, go_live: Callable[..., None]
) -> None:
    """A vector of another width is never read as one of this schema."""
    go_live(backfilled, schema=["other"] * 1440, vector=[b"\0" * 8] * 1440)
    found = extract(TrainingSet(backfilled, compile_plan(project)))
    assert (20 * 144, 1440) == (len(found.data), found.left_out)
    assert 1440 == found.offsets["examples:0"]


def test_a_vector_of_another_length_is_refused(
    backfilled: Path, project: Project, go_live: Callable[..., None]
) -> None:
    """A row that claims the schema and does not fit it raises instead of shifting all others."""
    go_live(backfilled, vector=[b"\0" * 20] * 1439 + [b"\0" * 16])
    with pytest.raises(ValueError, match="vector: found other lengths; allowed: 20 bytes"):
        extract(TrainingSet(backfilled, compile_plan(project)))


def test_a_correction_takes_the_place_of_what_it_corrects(
    backfilled: Path, project: Project, go_live: Callable[..., None]
) -> None:
    """The newest example of a prediction counts; what the learner's log weighed does not."""
    numbers = np.arange(1440)
    corrects = numbers >= 1400
    ids = np.where(corrects, numbers - 40, numbers)
    go_live(
        backfilled,
        prediction_id=[f"b2-{number}" for number in ids],
        label=np.where(corrects, 1.0, 0.0),
        kind=np.where(corrects, "correction", "missing").tolist(),
        weight=np.where(corrects, 1.2, 0.8),
        sampled=np.where(corrects, 1.0, 10.0),
    )
    found = extract(TrainingSet(backfilled, compile_plan(project)))
    live = found.data.take(found.data.live)
    assert (1400, 40) == (len(live), live.labels.sum())
    assert {(1.0, 1.0): 40, (0.0, 10.0): 1360} == {
        each: int(((live.labels == each[0]) & (live.weights == each[1])).sum())
        for each in set(zip(live.labels.tolist(), live.weights.tolist(), strict=True))
    }
    assert {1.0} == set(found.data.take(~found.data.live).weights)
    assert 1440 == found.offsets["examples:0"]


def test_rows_without_a_prediction_id_all_stay(
    backfilled: Path, project: Project, go_live: Callable[..., None]
) -> None:
    """Archives of earlier versions may not name them."""
    go_live(backfilled, prediction_id=[""] * 720 + [None] * 720)
    found = extract(TrainingSet(backfilled, compile_plan(project)))
    assert 1440 == found.data.live.sum()


def test_what_was_put_aside_is_not_trained_on(
    backfilled: Path, project: Project, go_live: Callable[..., None]
) -> None:
    """Ranges left out for good are missing; where learning is paused the dataset ends."""
    go_live(backfilled)
    training = TrainingSet(backfilled, compile_plan(project))
    everything = extract(training)
    without = extract(training, quarantined=Quarantined(skipped=[(10, 30), (100, 101)]))
    assert len(everything.data) - 21 == len(without.data)
    assert everything.offsets == without.offsets
    paused = extract(training, quarantined=Quarantined(since=50))
    assert (50, 50) == (paused.offsets["examples:0"], int(paused.data.live.sum()))
