"""What a peer is told, and what it tells: events read, the time they took, their sums."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

_LOOK_EVERY = 256


@dataclass(frozen=True)
class Task:
    """Read `events` of a topic, or as many as `seconds` allow, and write the result to `file`."""

    broker: str
    topic: str
    partitions: int
    group: str
    events: int
    seconds: float
    file: str

    @staticmethod
    def from_arguments() -> Task:
        """The task that the benchmark gave on the command line."""
        return Task(**json.loads(sys.argv[1]))


@dataclass
class Tally:
    """Counts from the first event on; `totals` is filled by peers that keep state."""

    task: Task
    totals: dict[str, list[float]] = field(default_factory=dict)
    count: int = 0
    sum: float = 0.0
    _began: float = 0.0
    _cpu: float = 0.0

    def note(self, amount: float) -> bool:
        """One more event; True when it was the last one."""
        if not self.count:
            # The peer's own start and its joining of the group are not its speed.
            self._began, self._cpu = time.perf_counter(), time.process_time()
        self.count += 1
        self.sum += amount
        if self.count >= self.task.events:
            return True
        if self.count % _LOOK_EVERY:
            return False
        return time.perf_counter() - self._began >= self.task.seconds

    def write(self, totals: dict[str, list[float]] | None = None) -> None:
        """Write the result."""
        found: dict[str, Any] = {
            "events": self.count,
            "seconds": time.perf_counter() - self._began,
            "cpu_seconds": time.process_time() - self._cpu,
            "sum": self.sum,
            "totals": self.totals if totals is None else totals,
        }
        partial = Path(self.task.file + ".partial")
        partial.write_text(json.dumps(found))
        partial.replace(self.task.file)

    def end(self, totals: dict[str, list[float]] | None = None) -> NoReturn:
        """Write the result and end the process at once, whatever else it still runs."""
        self.write(totals)
        os._exit(0)
