"""What one api process has counted and timed; plain numbers that metrics and status read."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from api.latency import LatencyRecorder

SERIES_POINTS = 600


@dataclass(frozen=True, slots=True)
class SwapPoint:
    """A change of the release being served."""

    time_ms: int
    release: str
    snapshot: int


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """One second of scoring."""

    time_ms: int
    scores_per_second: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(slots=True)
class Measurements:
    """Counters and durations; only the event loop's thread writes them."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    request_seconds: dict[str, LatencyRecorder] = field(
        default_factory=lambda: defaultdict(LatencyRecorder)
    )
    stage_seconds: dict[str, LatencyRecorder] = field(
        default_factory=lambda: defaultdict(LatencyRecorder)
    )
    label_to_weights: LatencyRecorder = field(default_factory=LatencyRecorder)
    predictions: int = 0
    bad_cases: Counter[str] = field(default_factory=Counter)
    swaps: Counter[str] = field(default_factory=Counter)
    swaps_refused: int = 0
    release_changes: list[SwapPoint] = field(default_factory=list)
    series: deque[SeriesPoint] = field(default_factory=lambda: deque(maxlen=SERIES_POINTS))
    _ticked_ms: int | None = None
    _ticked_predictions: int = 0
    _ticked_requests: int = 0

    def tick(self, now_ms: int, route: str) -> None:
        """Close the time since the last tick as one point of the series, timed by one route."""
        seconds = self.request_seconds[route]
        seconds.fold()
        count = seconds.count()
        elapsed_ms = 0 if self._ticked_ms is None else now_ms - self._ticked_ms
        if elapsed_ms > 0:
            scored = self.predictions - self._ticked_predictions
            summary = seconds.percentiles_ms(count - self._ticked_requests)
            rate = round(scored * 1000 / elapsed_ms, 1)
            self.series.append(SeriesPoint(now_ms, rate, summary["p50"], summary["p99"]))
        self._ticked_ms, self._ticked_predictions = now_ms, self.predictions
        self._ticked_requests = count

    def totals(self, routes: tuple[str, ...]) -> tuple[int, int]:
        """Requests on these routes, and how many of them failed with a 5xx."""
        found = [(status, n) for (route, status), n in self.requests.items() if route in routes]
        return sum(n for _, n in found), sum(n for status, n in found if status >= 500)
