"""Linear releases without empty slots: read as the whole ones, or refused."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from case_linear import CLASSES, SCHEMA, labels_of
from releases import synthetic

from batch.compression.linear import compact_bytes
from batch.trainers.linear import LinearTrainer
from batch.trainers.trainer import TrainingRows
from learners.linear.compact import CompactRelease
from learners.linear.frozen import FrozenLinear
from learners.linear.learner import LinearLearner
from tidemill import Linear
from tidemill.errors import ArtifactError
from tidemill.tasks import BINARY, REGRESSION, Task
from tidemill.trainer_kinds import LinearModel

VECTORS, _ = synthetic(300, seed=4)


def whole(task: Task = BINARY, hash_bits: int | None = 10) -> FrozenLinear:
    """A release."""
    vectors, labels = labels_of(task, 500, 1)
    trainer = LinearTrainer(LinearModel(hash_bits=hash_bits), SCHEMA, task)
    return FrozenLinear.parse(trainer.train(TrainingRows.of(vectors, labels)).data)


def used(frozen: FrozenLinear) -> np.ndarray:
    """The slots that say something."""
    return np.flatnonzero((frozen.evidence > 0).any(axis=1))


@pytest.mark.parametrize("hash_bits", [10, None])
@pytest.mark.parametrize("task", [BINARY, REGRESSION, CLASSES], ids=lambda task: task.kind)
def test_without_empty_slots_nothing_differs(task: Task, hash_bits: int | None) -> None:
    """Weights, evidence and predictions are those of the whole release."""
    frozen = whole(task, hash_bits)
    again = FrozenLinear.parse(compact_bytes(frozen, used(frozen), halved=False))
    np.testing.assert_array_equal(frozen.weights, again.weights)
    np.testing.assert_array_equal(frozen.evidence, again.evidence)
    np.testing.assert_array_equal(frozen.raw_many(VECTORS), again.raw_many(VECTORS))


@pytest.mark.parametrize("task", [BINARY, REGRESSION, CLASSES], ids=lambda task: task.kind)
def test_half_of_the_bits_say_nearly_the_same(task: Task) -> None:
    """Weights to a thousandth of the largest, evidence to a tenth; a learner starts from it."""
    frozen = whole(task)
    again = FrozenLinear.parse(compact_bytes(frozen, used(frozen), halved=True))
    largest = np.abs(frozen.weights).max()
    np.testing.assert_allclose(again.weights, frozen.weights, atol=largest / 1000)
    np.testing.assert_allclose(again.evidence, frozen.evidence, rtol=0.1)
    learner = LinearLearner.warm_start(again, Linear(), SCHEMA)
    np.testing.assert_allclose(
        learner.predict_many(VECTORS), again.predict_many(VECTORS), rtol=1e-9
    )


def changed(**parts: Any) -> bytes:
    """A compact release with other parts."""
    frozen = whole()
    release = msgspec.msgpack.decode(compact_bytes(frozen, used(frozen), True), type=CompactRelease)
    return msgspec.msgpack.encode(msgspec.structs.replace(release, **parts))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"slots": 2**40}, "used"),
        ({"slots": -1}, "used"),
        ({"slots": 1}, "used"),
        ({"used": np.array([2, 1], "<u4").tobytes()}, "used"),
        ({"used": b"123"}, "linear release"),
        ({"weights": b"\0\0"}, "found 1 numbers"),
        ({"evidence": b""}, "found 0 numbers"),
        ({"scale": float("nan")}, "scale"),
        ({"scale": float("inf")}, "scale"),
        ({"unit": 0.0}, "below 0"),
        ({"hash_bits": 60}, "hash_bits"),
    ],
)
def test_damaged_bytes_are_refused(parts: dict[str, Any], message: str) -> None:
    """Before anything large is made of them."""
    with pytest.raises(ArtifactError, match=message):
        FrozenLinear.parse(changed(**parts))
