"""What a training runs on: device, threads, number formats, a compiler."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from tidemill.errors import SettingsError

COMPILERS = ("c++", "g++", "clang++")  # torch.compile looks for one of these


def device_of(wanted: str, rank: int = 0) -> torch.device:
    """The device to train on; of several GPUs each process takes its own.

    Raises SettingsError for a GPU that is not there.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise SettingsError("NetModel.device: found 'cuda' without a GPU; allowed: 'auto', 'cpu'")
    return torch.device("cuda", rank % torch.cuda.device_count())


@contextmanager
def running(threads: int) -> Iterator[None]:
    """Have torch use so many threads: a sum's last bits depend on how many."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.sparse.check_sparse_tensor_invariants(enable=False):  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.set_num_threads(before)


def why_not_compiled(
    device: torch.device, find: Callable[[str], str | None] = shutil.which
) -> str | None:
    """What torch.compile lacks here, None when nothing."""
    if device.type == "cpu" and not any(find(name) for name in COMPILERS):
        return f"no C++ compiler: found none of {', '.join(COMPILERS)}"
    return None
