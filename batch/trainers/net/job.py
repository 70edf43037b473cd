"""A net that several processes train together: what they are told, and what starts them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from batch.progress import Progress
from batch.trainers.trainer import TrainingRows
from tidemill.errors import TrainingFailed
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task
from tidemill.trainer_kinds import NetModel

MEMBER = "batch.trainers.net.distributed"
"""The module of each process."""

JOB, MODEL, FAILED = "job.json", "model.safetensors", "failed.txt"
OWNED = "--owned"  # said where whoever started this holds its standard input open
EPOCH_DONE = "epoch done"  # what the first process prints after each
_ROWS = ("vectors", "labels", "weights")


@dataclass(frozen=True, slots=True)
class Job:
    """What every process is told."""

    settings: NetModel
    schema: FeatureSchema
    task: Task
    threads: int = 1
    checkpoints: Path | None = None


def train_together(job: Job, rows: TrainingRows, progress: Progress) -> bytes:
    """A release's bytes, by as many processes on this machine as the settings say.

    Raises TrainingFailed with what the first of them to fail said.
    """
    with _folder(job.checkpoints) as folder:
        write_job(folder, job, rows)
        said = _run(folder, job.settings.processes, progress)
        if (folder / FAILED).exists():
            raise TrainingFailed((folder / FAILED).read_text(encoding="utf-8"))
        if not (folder / MODEL).exists():
            lines = [line.strip() for line in said.splitlines() if re.search("[a-z]", line)]
            last = lines[-1] if lines else "nothing on stderr"
            raise TrainingFailed(f"net: {job.settings.processes} processes: {last}")
        return (folder / MODEL).read_bytes()


@contextmanager
def _folder(checkpoints: Path | None) -> Iterator[Path]:
    """Where the job lies meanwhile: by the checkpoints, so that a killed one's is replaced."""
    if checkpoints is None:
        with tempfile.TemporaryDirectory(prefix="tidemill-net-") as name:
            yield Path(name)
        return
    folder = checkpoints / "job"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_job(folder: Path, job: Job, rows: TrainingRows) -> None:
    """Put into a folder what the processes read."""
    for name in _ROWS:
        np.save(folder / f"{name}.npy", getattr(rows, name), allow_pickle=False)
    checkpoints = None if job.checkpoints is None else str(job.checkpoints.absolute())
    told = {
        "settings": job.settings,
        "schema": job.schema,
        "task": job.task,
        "threads": job.threads,
        "checkpoints": checkpoints,
    }
    (folder / JOB).write_bytes(msgspec.json.encode(told))


def read_job(folder: Path) -> tuple[Job, TrainingRows]:
    """What `write_job` wrote; the rows stay on the disk until they are read."""
    job = msgspec.json.decode((folder / JOB).read_bytes(), type=Job, dec_hook=lambda _, v: Path(v))
    rows = [np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in _ROWS]
    return job, TrainingRows(*rows)


def _run(folder: Path, processes: int, progress: Progress) -> str:
    """Let torchrun do the job; what was said on stderr."""
    command = (
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(processes), "-m", MEMBER, str(folder), OWNED,
    )  # fmt: skip
    # The parts of an installed wheel are found by the path this process was given.
    told = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    with (
        open(folder / "stderr.txt", "w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command,
            env=told,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as run,
    ):
        try:
            for line in run.stdout or ():
                progress.advance(line.count(EPOCH_DONE))
            run.wait()
        finally:
            run.terminate()  # torchrun ends its own processes; after its end this does nothing
        errors.seek(0)
        return errors.read()
