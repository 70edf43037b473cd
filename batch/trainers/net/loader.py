"""Batches in the order asked for: cut from rows encoded at once, or encoded ahead by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from batch.trainers.net.inputs import Batch, Inputs

Parts = Sequence[NDArray[np.int64]]
"""The rows of each batch."""


class Loader(Protocol):
    """Where a training gets its batches from."""

    def batches(self, parts: Parts) -> Generator[Batch]:
        """The batches of these rows, in this order; may block."""
        ...


class Resident:
    """All rows encoded once, on the device: a batch is a gather of some rows."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        self._all, self._device = inputs.all().to(device), device

    def batches(self, parts: Parts) -> Generator[Batch]:
        """See `Loader`."""
        for rows in parts:
            yield self._all.at(torch.from_numpy(rows).to(self._device))


class Streamed:
    """Rows encoded when they are asked for, by a thread that is up to `ahead` batches in front.

    The kernels that encode hold no lock of the interpreter, so they run beside a training step. For
    a GPU the batches lie in pinned memory and are copied beside its work. `ahead` 0 is no thread.
    """

    def __init__(self, inputs: Inputs, device: torch.device, ahead: int) -> None:
        self._inputs, self._device, self._ahead = inputs, device, ahead

    def batches(self, parts: Parts) -> Generator[Batch]:
        """See `Loader`. Leaving early ends the thread."""
        made = self._beside(parts) if self._ahead else map(self._made, parts)
        for batch in made:
            yield batch.to(self._device)

    def _made(self, rows: NDArray[np.int64]) -> Batch:
        batch = self._inputs.encoded(rows)
        return batch.pinned() if self._device.type == "cuda" else batch

    def _beside(self, parts: Parts) -> Generator[Batch]:
        ready: queue.Queue[Batch | Exception | None] = queue.Queue(self._ahead)
        left = threading.Event()

        def build() -> None:
            try:
                for rows in parts:
                    if left.is_set():
                        return
                    ready.put(self._made(rows))
                ready.put(None)
            except Exception as error:  # raised where the batch is asked for
                ready.put(error)

        builder = threading.Thread(target=build, name="net-loader", daemon=True)
        builder.start()
        try:
            while (found := ready.get()) is not None:
                if isinstance(found, Exception):
                    raise found
                yield found
        finally:
            left.set()
            while builder.is_alive():  # it may wait for room
                _emptied(ready)
                builder.join(0.01)


def _emptied(ready: queue.Queue[Batch | Exception | None]) -> None:
    while not ready.empty():
        ready.get_nowait()


def new_loader(inputs: Inputs, device: torch.device, most_bytes: int, ahead: int) -> Loader:
    """All rows at once where they fit, else as they come, `ahead` batches in front.

    On a CPU `most_bytes` may be taken, on a GPU half of what is free there.
    """
    if device.type == "cuda":
        most_bytes = torch.cuda.mem_get_info(device)[0] // 2
    fit = inputs.bytes <= most_bytes
    return Resident(inputs, device) if fit else Streamed(inputs, device, ahead)
