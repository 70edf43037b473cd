"""One net trained by two processes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from net_rows import ODD_ROWS, SCHEMA, TWO, Watched, killed, rows_of

pytest.importorskip("torch")

from batch.trainers.net import job  # noqa: E402  after torch is known to be there
from batch.trainers.net.distributed import main  # noqa: E402
from batch.trainers.net.job import FAILED, MODEL, Job, read_job, write_job  # noqa: E402
from batch.trainers.net.trainer import NetTrainer  # noqa: E402
from learners.net.frozen_net import FrozenNet  # noqa: E402
from tidemill.errors import TrainingFailed  # noqa: E402
from tidemill.tasks import BINARY  # noqa: E402

ALONE = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}


class Counted:
    """Counts what progress is told."""

    def __init__(self) -> None:
        self.steps = 0

    def start(self, stage: str, steps: int) -> None:
        """Begin."""

    def advance(self, steps: int = 1) -> None:
        """Add up."""
        self.steps += steps


@cache
def together() -> tuple[bytes, int]:
    """What two processes made, and what progress was told."""
    progress = Counted()
    trainer = NetTrainer(TWO, SCHEMA, BINARY, progress=progress)
    return trainer.train(rows_of(1, ODD_ROWS)).data, progress.steps


def test_two_processes_make_the_net_of_one() -> None:
    """Of the same batches, but for the order in which slopes are added."""
    alone = NetTrainer(replace(TWO, processes=1), SCHEMA, BINARY).train(rows_of(1, ODD_ROWS))
    one, two = FrozenNet.parse(alone.data), FrozenNet.parse(together()[0])
    vectors = rows_of(2).vectors
    np.testing.assert_allclose(one.raw_many(vectors), two.raw_many(vectors), atol=2e-4)
    np.testing.assert_allclose(one.network.sums, two.network.sums, rtol=1e-3)
    assert 2 == together()[1]


def test_two_processes_make_the_same_bytes_again(tmp_path: Path) -> None:
    """Also where whoever started them was killed, and they go on from their checkpoint."""
    killed(tmp_path)
    trainer = NetTrainer(TWO, SCHEMA, BINARY, checkpoints=tmp_path)
    assert together()[0] == trainer.train(rows_of(1, ODD_ROWS)).data
    assert not (tmp_path / "job").exists()


def test_what_fails_in_them_is_said_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process writes down why; whoever started it says the same."""
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    rows = replace(rows_of(1, ODD_ROWS), weights=np.full(ODD_ROWS, 1e38))
    write_job(tmp_path, Job(replace(TWO, learning_rate=100.0), SCHEMA, BINARY), rows)
    assert 1 == main(tmp_path)
    assert "found a loss of" in (tmp_path / FAILED).read_text()
    assert not (tmp_path / MODEL).exists()


@pytest.mark.parametrize(
    ("written", "said"),
    [({FAILED: b"net: too hot"}, "net: too hot"), ({}, "2 processes: it broke")],
)
def test_no_model_is_a_training_that_failed(
    monkeypatch: pytest.MonkeyPatch, written: dict[str, bytes], said: str
) -> None:
    """With the reason written down, or the last that was said on stderr."""

    def run(folder: Path, processes: int, progress: object) -> str:
        for name, data in written.items():
            (folder / name).write_bytes(data)
        return "Traceback\nit broke\n\n"

    monkeypatch.setattr(job, "_run", run)
    with pytest.raises(TrainingFailed, match=said):
        NetTrainer(TWO, SCHEMA, BINARY).train(rows_of(1, ODD_ROWS))


def test_with_a_watch_one_process_trains() -> None:
    """It is told of every epoch."""
    watch = Watched(rows_of(2, 10).vectors)
    NetTrainer(TWO, SCHEMA, BINARY).train(rows_of(1, ODD_ROWS), watch=watch)
    assert [1, 2] == [epoch for epoch, _ in watch.told]


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Settings, schema, task and rows."""
    job = Job(TWO, SCHEMA, BINARY, 1, tmp_path / "kept")
    write_job(tmp_path, job, rows_of(1, ODD_ROWS))
    found, rows = read_job(tmp_path)
    assert job == found
    np.testing.assert_array_equal(rows_of(1, ODD_ROWS).vectors, rows.vectors)
