"""Batches of a net's training, however they are made."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from net_rows import SCHEMA, SETTINGS, rows_of

torch = pytest.importorskip("torch")

from batch.trainers.net.inputs import Inputs  # noqa: E402  after torch is known to be there
from batch.trainers.net.loader import Loader, Resident, Streamed, new_loader  # noqa: E402
from batch.trainers.net.preparing import prepared, targets_of  # noqa: E402
from batch.trainers.net.trainer import NetTrainer  # noqa: E402
from tidemill.tasks import BINARY  # noqa: E402

CPU = torch.device("cpu")
PARTS = [np.array([5, 1, 3]), np.array([], np.int64), np.array([999, 0])]


def inputs() -> Inputs:
    """A thousand rows."""
    rows = rows_of(1)
    network = prepared(SETTINGS, SCHEMA, BINARY, rows.vectors)
    targets = targets_of(network, rows.labels, rows.weights)
    return Inputs(network, rows.vectors, targets, rows.weights)


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_rows_encoded_at_once_or_ahead_are_the_same(ahead: int) -> None:
    """Batch for batch, in the order asked for."""
    made = inputs()
    loaders: list[Loader] = [Resident(made, CPU), Streamed(made, CPU, ahead)]
    for one, other in zip(*[loader.batches(PARTS) for loader in loaders], strict=True):
        for name in ("numbers", "ids", "targets", "weights"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)


def test_a_flag_that_is_never_up_is_left_out() -> None:
    """Of two numbers one is missing now and then: three inputs of four."""
    assert [0, 1, 2] == inputs().kept.tolist()


def test_what_fails_ahead_fails_where_it_is_asked_for() -> None:
    """And the thread ends."""
    before = threading.active_count()
    batches = Streamed(inputs(), CPU, 4).batches([np.array([1]), np.array([10_000])])
    assert 1 == len(next(iter(batches)))
    with pytest.raises(IndexError):
        list(batches)
    assert before == threading.active_count()


def test_leaving_early_ends_the_thread() -> None:
    """Also while it waits for room."""
    before = threading.active_count()
    batches = Streamed(inputs(), CPU, ahead=1).batches([np.array([1])] * 50)
    next(batches)
    batches.close()
    assert before == threading.active_count()


def test_too_many_rows_are_encoded_as_they_come() -> None:
    """The model is the same to the last bit."""
    assert isinstance(new_loader(inputs(), CPU, 1000, 4), Streamed)
    trainer = NetTrainer(SETTINGS, SCHEMA, BINARY)
    expected = trainer.train(rows_of(1))
    trainer.encoded_bytes = 1000
    assert expected == trainer.train(rows_of(1))
