"""A net's training that was killed goes on, and ends with the same bytes."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from net_rows import SCHEMA, SETTINGS, Watched, killed, rows_of

from batch.trainers.net.checkpoint import Checkpoints, Progressed
from batch.trainers.net.trainer import NetTrainer
from tidemill import durable
from tidemill.tasks import BINARY

pytest.importorskip("torch")

Seen = list[tuple[int, np.ndarray]]


def trained(folder: Path | None, optimizer: str = "adagrad") -> tuple[bytes, Seen, list[int]]:
    """The same training here: the model, what a watch was told, and the steps it took."""
    taken: list[int] = []
    trainer = NetTrainer(
        replace(SETTINGS, optimizer=optimizer), SCHEMA, BINARY, checkpoints=folder,
        stepped=lambda epoch, done: taken.append(done),
    )  # fmt: skip
    trainer.steps_between_checkpoints = 3
    watch = Watched(rows_of(2, 100).vectors)
    return trainer.train(rows_of(1), watch=watch).data, watch.told, taken


@pytest.mark.parametrize(
    ("optimizer", "epoch", "done", "left"),
    [("adagrad", 1, 8, 26), ("adagrad", 0, 2, 48), ("lars", 2, 16, 1)],
)
def test_a_killed_training_ends_with_the_same_bytes(
    tmp_path: Path, optimizer: str, epoch: int, done: int, left: int
) -> None:
    """Whichever step it is killed at; only what came after its last checkpoint is done again."""
    expected, told, _ = trained(None, optimizer)
    killed(tmp_path, optimizer, epoch, done)
    found, again, taken = trained(tmp_path, optimizer)
    assert expected == found
    assert [step for step, _ in told] == [step for step, _ in again]
    np.testing.assert_array_equal([s for _, s in told], [s for _, s in again])
    assert left == len(taken)


def test_a_training_at_its_end_is_not_done_again(tmp_path: Path) -> None:
    """The caller may be killed before it has kept the model."""
    first, second = trained(tmp_path), trained(tmp_path)
    assert (first[0], 0) == (second[0], len(second[2]))


def test_one_of_other_rows_is_not_gone_on_with(tmp_path: Path) -> None:
    """Its file has another name."""
    trained(tmp_path)
    rows = rows_of(3)
    plain = NetTrainer(SETTINGS, SCHEMA, BINARY).train(rows)
    assert plain == NetTrainer(SETTINGS, SCHEMA, BINARY, checkpoints=tmp_path).train(rows)
    assert 2 == len(list(tmp_path.iterdir()))


def test_a_damaged_one_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And says so."""
    expected, _, taken = trained(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    found, _, again = trained(tmp_path)
    assert (expected, taken) == (found, again)
    assert "training begins anew" in caplog.text


def test_a_full_disk_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half written stays."""
    kept = Checkpoints(tmp_path, {}, {})
    kept.write(Progressed(1, 2))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        kept.write(Progressed(2, 0))
    assert (1, 2) == (kept.read().epochs, kept.read().steps)
    assert 1 == len(list(tmp_path.iterdir()))
