"""One net trained by several processes: torchrun starts them, their slopes are added up.

    torchrun --standalone --nproc-per-node 2 -m batch.trainers.net.distributed FOLDER

Each process reads the job and its rows from FOLDER, takes its share of every batch, and the first
one writes the model there. Several machines share FOLDER and give torchrun their own addresses.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import torch
from torch import distributed

from batch.trainers.net.device import device_of
from batch.trainers.net.fitting import Group
from batch.trainers.net.job import EPOCH_DONE, FAILED, MODEL, OWNED, read_job
from batch.trainers.net.trainer import NetTrainer
from tidemill.durable import write_whole
from tidemill.errors import TidemillError


class _Printed:
    """Progress that another process reads."""

    def start(self, stage: str, steps: int) -> None:
        """Said by whoever started this."""

    def advance(self, steps: int = 1) -> None:
        """A line for each."""
        for _ in range(steps):
            print(EPOCH_DONE, flush=True)


def main(folder: Path) -> int:
    """Take part in the job of a folder; the exit code."""
    job, rows = read_job(folder)
    device = device_of(job.settings.device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    group = Group(distributed.get_rank(), distributed.get_world_size())
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device_of(job.settings.device, group.rank))
        model = NetTrainer(
            job.settings, job.schema, job.task, threads=job.threads, checkpoints=job.checkpoints,
            group=group, progress=_Printed() if group.rank == 0 else None,
        ).train(rows)  # fmt: skip
        if group.rank == 0:
            write_whole(folder / MODEL, model.data)
    except Exception as error:  # whatever it is, whoever started this must hear of it
        if not (folder / FAILED).exists():  # of the others, who only miss this one, nothing
            told = str(error) if isinstance(error, TidemillError) else repr(error)
            write_whole(folder / FAILED, f"process {group.rank}: {told}".encode())
        return 1
    finally:
        distributed.destroy_process_group()
    return 0


def _end_with_owner() -> None:
    """End when standard input does: whoever started this is gone, perhaps killed."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, name="owner", daemon=True).start()


if __name__ == "__main__":
    if OWNED in sys.argv[2:]:
        _end_with_owner()
    sys.exit(main(Path(sys.argv[1])))
