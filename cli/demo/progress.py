"""What a demo run has done so far: counted by the driver, shown live, reported at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Phase:
    """One part of the run and how long it took."""

    name: str
    seconds: float = 0.0


@dataclass
class Retrain:
    """One retrain: when in stream time, how it ended, its release, how many seconds it ran.

    `starts` counts how often it was begun.
    """

    event_time_ms: int
    outcome: str
    release: str | None
    seconds: float
    reasons: list[str] = field(default_factory=list)
    starts: int = 1


@dataclass
class Progress:
    """Counters and timings; milliseconds for latencies, seconds for wall time."""

    phases: list[Phase] = field(default_factory=list)
    event_time_ms: int = 0
    flights_total: int = 0
    scored: int = 0
    failed: int = 0
    repeated: int = 0
    events_sent: int = 0
    labels_sent: int = 0
    scored_full_speed: int = 0
    seconds_full_speed: float = 0.0
    seconds_overall: float = 0.0
    barrier_seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    retrains: list[Retrain] = field(default_factory=list)
    retraining: bool = False
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Flights scored per second, without the spans throttled for a retrain."""
        return self.scored_full_speed / max(self.seconds_full_speed, 1e-9)

    def latency_ms(self, newest: int = 0) -> dict[str, float]:
        """p50 and p99 over all requests, or over the newest."""
        if not self.latencies_ms:
            return {"p50": 0.0, "p99": 0.0}
        p50, p99 = np.percentile(self.latencies_ms[-newest:], (50, 99))
        return {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}
