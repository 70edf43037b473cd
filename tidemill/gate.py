"""What a candidate must show before it is published."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.checks import check_range, check_whole
from tidemill.durations import duration_ms


@dataclass(frozen=True, slots=True)
class Gate:
    """What a candidate must show before it is published; docs/gate.md says how each is judged.

    Candidate and champion are compared on the newest `holdout` of labelled examples by log-loss (or
    squared error); at least `min_rows` examples are needed before it and in it. The candidate is
    refused when it is shown, at `confidence`, to be worse by more than `tolerance`, when it cannot
    be excluded that it is worse by `harm` more than that, and when it is shown to be on a part: a
    slice, the bad cases (all relative to the champion's loss).

    `calibration`: by how much its expected calibration error may exceed the champion's, relative to
    the rarer label's share; `calibration_error`: what it may be at all. `slice_rows`: a slice with
    fewer examples is not judged. `bad_cases`: by how much more often than by the champion's answers
    a rule of Project.bad_cases may be met, relative. `latency_us`: the 99th percentile of a single
    answer, in microseconds; `size_bytes`: the model's file. None is no limit.
    """

    holdout: str = "7d"
    tolerance: float = 0.0
    min_rows: int = 1000
    confidence: float = 0.95
    harm: float = 0.05
    calibration: float | None = 0.1
    calibration_error: float | None = None
    slice_rows: int = 200
    bad_cases: float = 0.5
    latency_us: float | None = None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        duration_ms("Gate.holdout", self.holdout)
        check_range("Gate.tolerance", self.tolerance, 0, 1)
        check_whole("Gate.min_rows", self.min_rows, 1, 1_000_000_000_000)
        check_range("Gate.confidence", self.confidence, 0.5, 0.999)
        check_range("Gate.harm", self.harm, 0, 10)
        check_whole("Gate.slice_rows", self.slice_rows, 20, 1_000_000_000_000)
        check_range("Gate.bad_cases", self.bad_cases, 0, 1000)
        if self.calibration is not None:
            check_range("Gate.calibration", self.calibration, 0, 10)
        if self.calibration_error is not None:
            check_range("Gate.calibration_error", self.calibration_error, 0, 1)
        if self.latency_us is not None:
            check_range("Gate.latency_us", self.latency_us, 0.1, 60_000_000)
        if self.size_bytes is not None:
            check_whole("Gate.size_bytes", self.size_bytes, 1, 1_000_000_000_000)

    @property
    def allowed(self) -> float:
        """By how much a part may be worse, relative."""
        return self.tolerance + self.harm

    @property
    def holdout_ms(self) -> int:
        """The holdout in milliseconds of stream time."""
        return duration_ms("Gate.holdout", self.holdout)
