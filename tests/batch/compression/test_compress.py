"""Compression to a target within a limit of loss, for every family."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from own_trainer import Nearest
from small_models import CASES, NAMES, SCHEMA, model_of, project_of, rows_of

from batch.compression.compress import Compressed, compress, compressed_alike
from batch.compression.judge import loss_of
from batch.compression.latency import BATCH_ROWS, measure
from batch.trainers.families import new_trainer
from batch.trainers.trainer import TrainingRows
from learners.families import warm_start
from learners.release import ModelFile, read_model
from tidemill import Compression, EmbeddingNet, Linear, OwnModel, TreeHead
from tidemill.compression import METHODS
from tidemill.errors import GateRefused
from tidemill.tasks import BINARY, REGRESSION, Task

HEADS = {"trees": TreeHead(), "hashed": Linear(), "numbered": Linear(hash_bits=None)}
NET_HEAD = EmbeddingNet(embedding=4, hidden=(16, 8), block=16)


class Ticks:
    """A clock that goes on by a microsecond each time it is looked at."""

    def __init__(self, step: float = 1e-6) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        """The time."""
        self.now += self.step
        return self.now


def compressed(family: str, task: Task, **settings: Any) -> Compressed:
    """The family's model, compressed."""
    model, project = model_of(family, task), project_of(task)
    declared = Compression(**settings)
    rows, checked = rows_of(task), rows_of(task, 2)
    return compress(model, rows, checked, declared, project, timer=Ticks(), threads=1)


@pytest.mark.parametrize(("family", "task"), CASES, ids=NAMES)
def test_every_family_gets_smaller_within_the_limit(family: str, task: Task) -> None:
    """The report says what the model that comes back is."""
    target = 1.4 if family == "numbered" else 2.0  # the names of its categories stay
    done = compressed(family, task, smaller=target, loss=0.02)
    report, project = done.report, project_of(task)
    assert report["target_reached"]
    assert target <= report["smaller"] == len(model_of(family, task)) / len(done.model)
    assert report["relative_loss"] <= 0.02
    frozen, checked = read_model(done.model, project), rows_of(task, 2)
    loss = loss_of(frozen.predict_many(checked.vectors), checked, task.kind)
    assert report["loss_after"] == pytest.approx(loss, rel=1e-9)
    assert len(done.model) == report["bytes_after"]
    assert report["operations_after"] <= report["operations_before"]
    json.dumps(report)


@pytest.mark.parametrize(("family", "task"), CASES, ids=NAMES)
def test_the_same_input_gives_the_same_bytes(family: str, task: Task) -> None:
    """Whatever the clock says."""
    assert compressed(family, task).model == compressed(family, task).model


@pytest.mark.parametrize(("family", "task"), CASES, ids=NAMES)
def test_a_learner_starts_as_the_compressed_release(family: str, task: Task) -> None:
    """The warm start holds for what is served, and one example moves it little."""
    done = compressed(family, task, smaller=None, loss=0.05)
    frozen = read_model(done.model, project_of(task))
    learner = warm_start(HEADS.get(family, NET_HEAD), frozen, SCHEMA)
    rows = rows_of(task, 3)
    expected = frozen.predict_many(rows.vectors)
    np.testing.assert_allclose(learner.predict_many(rows.vectors), expected, rtol=1e-9)
    learner.learn_many(rows.vectors[:16], rows.labels[:16])
    moved = np.abs(learner.predict_many(rows.vectors) - expected)
    assert 0 < moved.max() < (0.2 if task.kind != "regression" else 0.5 * expected.std())


def test_without_a_target_it_is_as_small_as_the_limit_allows() -> None:
    """A larger limit gives a smaller model, and stronger steps were tried and found too lossy."""
    strict, loose = (compressed("trees", BINARY, smaller=None, loss=loss) for loss in (0.001, 0.05))
    assert len(loose.model) < len(strict.model)
    assert loose.report["target_reached"]
    assert any(one["relative_loss"] > 0.05 for one in loose.report["tried"])


def test_of_those_that_reach_the_target_the_best_is_taken() -> None:
    """Not the smallest."""
    done = compressed("trees", BINARY, smaller=2.5, loss=0.03)
    there = [
        one for one in done.report["tried"] if one["bytes"] * 2.5 <= done.report["bytes_before"]
    ]
    assert done.report["relative_loss"] == min(one["relative_loss"] for one in there)


def test_a_target_that_is_missed_is_told() -> None:
    """The smallest within the limit comes back; where it is required, nothing does."""
    done = compressed("trees", BINARY, smaller=500.0, loss=0.01)
    assert (False, True) == (done.report["target_reached"], done.report["smaller"] > 1.2)
    with pytest.raises(GateRefused, match=r"compression: found \d+ bytes .*; allowed: smaller 500"):
        compressed("trees", BINARY, smaller=500.0, loss=0.01, required=True)


def test_fewer_operations_are_a_target_without_a_stopwatch() -> None:
    """Nodes visited are counted."""
    report = compressed("trees", BINARY, smaller=None, faster=2.0, loss=0.05).report
    assert report["target_reached"]
    assert 2 * report["operations_after"] <= report["operations_before"]


def test_a_latency_target_is_measured() -> None:
    """With a clock that never reaches it the target is missed; with one that does, it is there."""
    model, project, rows = model_of("trees", BINARY), project_of(BINARY), rows_of(BINARY)
    wanted = Compression(smaller=None, most_microseconds=10.0, methods=("slim", "prune"))
    for step, reached in ((1e-6, True), (1.0, False)):
        done = compress(model, rows, rows_of(BINARY, 2), wanted, project, timer=Ticks(step))
        assert reached == done.report["target_reached"]
        assert done.report["single_row_microseconds_after"] == pytest.approx(step * 1e6 / 200)


def test_only_declared_methods_are_tried() -> None:
    """And nothing at all where the target is reached already."""
    done = compressed("trees", BINARY, methods=("rounds",))
    assert {"rounds"} == {one["method"] for one in done.report["tried"]}
    done = compressed("trees", BINARY, smaller=None, most_bytes=10_000_000)
    assert ([], "none") == (done.report["tried"], done.report["method"])
    assert model_of("trees", BINARY) == done.model


def test_every_method_belongs_to_a_family() -> None:
    """The closed list is the one of the families."""
    from batch.compression.judge import FAMILIES

    assert sorted(METHODS) == sorted(
        name for family in FAMILIES.values() for name in family.strengths
    )


def test_a_model_of_ones_own_stays_as_it_is() -> None:
    """Its maker knows how to make it smaller; the report says that nothing was done."""
    trainer = OwnModel("nearest", Nearest)
    rows = rows_of(BINARY, 4).take(~np.isnan(rows_of(BINARY, 4).vectors).any(axis=1))
    model = new_trainer(trainer, SCHEMA, BINARY, 1).train(rows)
    done = compress(model, rows, rows, Compression(), project_of(BINARY, trainer), timer=Ticks())
    assert (model, False, 1.0) == (
        done.model,
        done.report["target_reached"],
        done.report["smaller"],
    )


def test_it_is_judged_on_rows() -> None:
    """Without any there is nothing to say about its loss."""
    none = TrainingRows.of(np.empty((0, 5), np.float32), np.empty(0))
    with pytest.raises(ValueError, match="checked: found no rows"):
        compress(
            model_of("trees", BINARY), rows_of(BINARY), none, Compression(), project_of(BINARY)
        )


def test_latency_is_a_median_of_what_the_clock_says() -> None:
    """One row and a batch, in microseconds a row."""
    frozen = read_model(model_of("trees", REGRESSION), project_of(REGRESSION))
    found = measure(frozen, rows_of(REGRESSION).vectors[:3], Ticks(1e-3))
    assert (pytest.approx(5.0), pytest.approx(200 / BATCH_ROWS)) == (found.single, found.batch)


def test_a_model_file_is_compressed_twice_in_vain() -> None:
    """A compressed model can be compressed again: it is a release like any other."""
    once = compressed("net", BINARY).model
    again = compress(once, rows_of(BINARY), rows_of(BINARY, 2), Compression(), project_of(BINARY))
    assert isinstance(again.model, ModelFile)
    assert len(again.model) <= len(once)


@pytest.mark.parametrize("family", ["trees", "net", "hashed"])
def test_a_model_of_all_rows_is_made_smaller_alike(family: str) -> None:
    """By the report alone; with the same rows it is the same model."""
    done = compressed(family, BINARY, smaller=None, loss=0.02)
    again = compressed_alike(model_of(family, BINARY), rows_of(BINARY), done.report, threads=1)
    assert done.model == again


def test_what_was_not_compressed_stays_as_it_is() -> None:
    """A report without a method changes nothing."""
    model = model_of("trees", BINARY)
    assert model is compressed_alike(model, rows_of(BINARY), {"method": "none"})
