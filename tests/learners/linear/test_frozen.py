"""A linear release is read exactly, or refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from case_linear import CLASSES, SCHEMA, labels_of
from releases import synthetic

from batch.trainers.linear import LinearTrainer
from batch.trainers.trainer import TrainingRows
from learners.linear.frozen import FrozenLinear
from tidemill.errors import ArtifactError
from tidemill.tasks import BINARY, Task
from tidemill.trainer_kinds import LinearModel

NAN = np.array([np.nan]).tobytes()


@cache
def made(task: Task = BINARY) -> bytes:
    """The bytes of a release."""
    vectors, labels = labels_of(task, 500, 1)
    trainer = LinearTrainer(LinearModel(hash_bits=None), SCHEMA, task)
    return trainer.train(TrainingRows.of(vectors, labels)).data


def test_predictions_are_the_linked_raws() -> None:
    """Probabilities of log-odds, of classes a softmax."""
    vectors, _ = synthetic(50, seed=2)
    frozen, classes = FrozenLinear.parse(made()), FrozenLinear.parse(made(CLASSES))
    expected = 1 / (1 + np.exp(-frozen.raw_many(vectors)))
    np.testing.assert_allclose(frozen.predict_many(vectors), expected, atol=1e-12)
    powers = np.exp(classes.raw_many(vectors))
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classes.predict_many(vectors), expected, atol=1e-12)


def test_a_category_it_never_saw_counts_nothing() -> None:
    """It is scored by the other columns."""
    frozen = FrozenLinear.parse(made())
    vectors = np.array([[77_777, *[0.0] * 7], [88_888, *[0.0] * 7]], np.float32)
    first, second = frozen.raw_many(vectors)
    assert first == second


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("task", lambda _: "ranking"),
        ("classes", lambda _: 3),
        ("hash_bits", lambda _: 60),
        ("hash_bits", lambda _: 4),
        ("unit", lambda _: 0.0),
        ("unit", lambda _: float("nan")),
        ("moments", lambda data: data[8:]),
        ("moments", lambda data: np.array([-1.0]).tobytes() + data[8:]),
        ("keys", lambda data: data[8:]),
        ("keys", lambda data: data[:-8] + data[:8]),
        ("weights", lambda data: data[1:]),
        ("weights", lambda data: NAN + data[8:]),
        ("evidence", lambda data: data + data),
        ("evidence", lambda data: np.array([-1.0]).tobytes() + data[8:]),
        ("features", lambda names: names[1:]),
    ],
)
def test_a_damaged_release_is_refused(field: str, change: Callable[[Any], object]) -> None:
    """What does not fit together is an ArtifactError, never a wrong score."""
    parts = msgspec.msgpack.decode(made())
    parts[field] = change(parts[field])
    with pytest.raises(ArtifactError):
        FrozenLinear.parse(msgspec.msgpack.encode(parts))


@pytest.mark.parametrize("data", [b"", b"tree\nversion=v4\n", made()[:-1]])
def test_other_bytes_are_refused(data: bytes) -> None:
    """A model of another kind, or half of one."""
    with pytest.raises(ArtifactError, match="linear release"):
        FrozenLinear.parse(data)
