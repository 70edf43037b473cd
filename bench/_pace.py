"""How fast a core is while something else runs on it.

Who shares a machine with others shares its cores' units and caches too: the same work may take
twice the processor time for some seconds, and no counter of the system says so. So a fixed piece of
work is timed there now and then; it takes a thousandth of the core.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import numpy as np

from bench._cores import Cores, on

_GAP_SECONDS, _ROUNDS, _PATIENCE_SECONDS = 0.25, 6_000, 10.0


@dataclass
class Pace:
    """When the work was done, by `time.monotonic`, and how much processor time it took."""

    seen: list[tuple[float, float]] = field(default_factory=list)

    def microseconds(self, began: float, ended: float) -> float:
        """The mean between two moments; NaN where none was taken."""
        found = [taken for when, taken in self.seen if began <= when <= ended]
        return float(np.mean(found)) if found else float("nan")


@contextmanager
def watched(cores: Cores) -> Iterator[Pace]:
    """Time the service's core meanwhile, at least once; what was seen is there afterwards."""
    pace, context = Pace(), multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with on(cores.others):
        process = context.Process(target=_watch, args=(cores, there), daemon=True)
        process.start()
    try:
        yield pace
        here.send(None)
        if not here.poll(_PATIENCE_SECONDS):
            raise TimeoutError("the watch over the core's pace did not answer")
        pace.seen += here.recv()
    finally:
        process.terminate()
        process.join(_PATIENCE_SECONDS)


def _watch(cores: Cores, pipe: Connection) -> None:
    seen: list[tuple[float, float]] = []
    while not seen or not pipe.poll(_GAP_SECONDS):
        with on(cores.service):
            seen.append((time.monotonic(), _work() * 1e6))
    pipe.send(seen)


def _work() -> float:
    """Processor seconds of a fixed piece of work; of the thread, so that waiting is not counted."""
    began, total = time.thread_time(), 0
    for number in range(_ROUNDS):
        total += number * number
    return time.thread_time() - began
