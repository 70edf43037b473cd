"""Rows for tests of the net's training, and trainings that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batch.trainers.trainer import TrainingRows
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY
from tidemill.trainer_kinds import NetModel

SCHEMA = FeatureSchema(("a", "b", "id"), ("id",), "")
SETTINGS = NetModel(embedding=4, hidden=(12, 8), batch_rows=64, device="cpu")
TWO = replace(SETTINGS, processes=2, epochs=2)
ODD_ROWS = 961  # the last batch has one: nothing for the second process


def killed(folder: Path, *where: object) -> None:
    """Train in a process of its own that is killed there."""
    command = [sys.executable, __file__, str(folder), *map(str, where)]
    told = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run(command, env=told, check=False, timeout=300)
    assert -signal.SIGKILL == ended.returncode


def rows_of(seed: int, rows: int = 1000) -> TrainingRows:
    """Two numbers, now and then missing, and an id; labels that depend on a product and the id."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(rows, 3)).astype(np.float32)
    vectors[:, 2] = random.integers(0, 50, rows)
    odds = vectors[:, 0] * vectors[:, 1] + vectors[:, 2] % 3 - 1
    vectors[random.random(rows) < 0.05, 0] = np.nan
    labels = (random.random(rows) < 1 / (1 + np.exp(-2 * odds))).astype(float)
    return replace(TrainingRows.of(vectors, labels), weights=random.choice([0.5, 1, 2], rows))


class Watched:
    """Watched rows with all that was seen; says stop after `last` epochs."""

    def __init__(self, vectors: NDArray[np.float32], last: int = 10**9) -> None:
        self.vectors, self.last = vectors, last
        self.told: list[tuple[int, NDArray[np.float64]]] = []

    def seen(self, step: int, scores: NDArray[np.float64]) -> bool:
        """Keep what was told."""
        self.told.append((step, scores))
        return step == self.last


class Killed:
    """Progress that kills its process when the first epoch is over."""

    def start(self, stage: str, steps: int) -> None:
        """Go on."""

    def advance(self, steps: int = 1) -> None:
        """Die."""
        if steps:
            os.kill(os.getpid(), signal.SIGKILL)


def killed_after(folder: Path, optimizer: str, epoch: int, done: int) -> None:
    """Train with checkpoints in a folder, and be killed after a step of an epoch."""
    from batch.trainers.net.trainer import NetTrainer

    def stepped(now: int, steps: int) -> None:
        if (now, steps) == (epoch, done):
            os.kill(os.getpid(), signal.SIGKILL)

    settings = replace(SETTINGS, optimizer=optimizer)
    trainer = NetTrainer(settings, SCHEMA, BINARY, checkpoints=folder, stepped=stepped)
    trainer.steps_between_checkpoints = 3
    trainer.train(rows_of(1), watch=Watched(rows_of(2, 100).vectors))


def killed_together(folder: Path) -> None:
    """Have two processes train with checkpoints in a folder, and be killed after an epoch."""
    from batch.trainers.net.trainer import NetTrainer

    trainer = NetTrainer(TWO, SCHEMA, BINARY, checkpoints=folder, progress=Killed())
    trainer.train(rows_of(1, ODD_ROWS))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        killed_together(Path(sys.argv[1]))
    killed_after(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
