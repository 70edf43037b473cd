"""What one api process has counted and timed; plain numbers that metrics and status read."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from api.measuring.ages import FeatureAges
from api.measuring.latency import (
    GROUP_BOUNDS_ROWS,
    STAGE_BOUNDS_SECONDS,
    Distribution,
    LatencyRecorder,
)

SERIES_POINTS = 600
REFUSALS, CHANGES, MOST_ARMS = 20, 1_000, 32
"""How many are remembered: a process may run for years."""
STAGES = ("decode", "features", "model", "encode", "log", "shadow")
"""What an answer goes through; `log` and `shadow` come behind its back."""
DROPS = ("prediction", "shadow")
"""What can be given up because something is behind."""


@dataclass(frozen=True, slots=True)
class SwapPoint:
    """A change of the release being served."""

    time_ms: int
    release: str
    snapshot: int


@dataclass(frozen=True, slots=True)
class RefusedSwap:
    """An artifact that was not served, and why."""

    time_ms: int
    artifact: str
    error: str


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """One second of scoring."""

    time_ms: int
    scores_per_second: float
    p50_ms: float | None
    p99_ms: float | None


class GroupTimes(NamedTuple):
    """When a group's features were read and its model called, and the ids of its predictions.

    The moments are those of `perf_counter`: features from and to, model from and to.
    """

    ids: Sequence[str]
    moments: tuple[float, float, float, float]


def _stage() -> LatencyRecorder:
    return LatencyRecorder(STAGE_BOUNDS_SECONDS)


def _stages() -> dict[str, LatencyRecorder]:
    return defaultdict(_stage, {stage: _stage() for stage in STAGES})


@dataclass(slots=True)
class Measurements:
    """Counters and durations; only the event loop's thread writes them.

    Where a group of requests shares a read and a model call it is noted once for the group. What
    is noted is only appended; `tick` and the readers do the arithmetic.
    """

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers by route and status."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Requests that were refused, by cause."""
    request_seconds: dict[str, LatencyRecorder] = field(
        default_factory=lambda: defaultdict(LatencyRecorder)
    )
    stage_seconds: dict[str, LatencyRecorder] = field(default_factory=_stages)
    """Time of each of `STAGES`."""
    group_rows: Distribution = field(default_factory=lambda: Distribution(GROUP_BOUNDS_ROWS))
    """Requests scored together."""
    groups: deque[GroupTimes] | None = None
    """Each group by itself, where somebody traces requests."""
    ages: FeatureAges = field(default_factory=FeatureAges)
    label_to_weights: LatencyRecorder = field(default_factory=LatencyRecorder)
    predictions: int = 0
    degraded: Counter[str] = field(default_factory=Counter)
    """Answers that lacked something, by what."""
    drops: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(DROPS, 0)))
    """What was given up because something is behind, by `DROPS`."""
    arm_answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Answers by release and as what it gave them: champion, canary or default."""
    arm_failures: Counter[str] = field(default_factory=Counter)
    """Vectors that a release could not score, whether it answers or not."""
    arm_seconds: dict[str, LatencyRecorder] = field(default_factory=lambda: defaultdict(_stage))
    """Time of one model call by release, for the champion and those beside it."""
    bad_cases: Counter[str] = field(default_factory=Counter)
    swaps: Counter[str] = field(default_factory=Counter)
    swaps_refused: int = 0
    refused_swaps: deque[RefusedSwap] = field(default_factory=lambda: deque(maxlen=REFUSALS))
    """The newest artifacts that were refused, the last one last."""
    release_changes: deque[SwapPoint] = field(default_factory=lambda: deque(maxlen=CHANGES))
    """The newest changes of the release being served, of `changes_made` altogether."""
    changes_made: int = 0
    series: deque[SeriesPoint] = field(default_factory=lambda: deque(maxlen=SERIES_POINTS))
    _ticked_ms: int | None = None
    _ticked_predictions: int = 0
    _ticked_requests: int = 0

    def change_release(self, change: SwapPoint) -> None:
        """Count and remember that another release answers."""
        self.changes_made += 1
        self.release_changes.append(change)

    def changes_since(self, number: int) -> list[SwapPoint]:
        """Those after the first `number`, as far as they are remembered, oldest first."""
        new = min(self.changes_made - number, len(self.release_changes))
        return list(self.release_changes)[len(self.release_changes) - new :]

    def refuse_swap(self, now_ms: int, artifact: str, error: str) -> None:
        """Count and remember an artifact that is not served."""
        self.swaps_refused += 1
        self.refused_swaps.append(RefusedSwap(now_ms, artifact, error))

    def tick(self, now_ms: int, route: str) -> None:
        """Close the time since the last tick as one point of the series, timed by one route."""
        self.fold()
        seconds = self.request_seconds[route]
        count = seconds.count()
        elapsed_ms = 0 if self._ticked_ms is None else now_ms - self._ticked_ms
        if elapsed_ms > 0:
            scored = self.predictions - self._ticked_predictions
            summary = seconds.percentiles_ms(count - self._ticked_requests)
            rate = round(scored * 1000 / elapsed_ms, 1)
            self.series.append(SeriesPoint(now_ms, rate, summary["p50"], summary["p99"]))
        self._ticked_ms, self._ticked_predictions = now_ms, self.predictions
        self._ticked_requests = count
        self._forget_arms()

    def fold(self) -> None:
        """Count what was noted since the last time; what is noted takes memory until then."""
        for distribution in self._distributions():
            distribution.fold()
        self.ages.fold()

    def totals(self, routes: tuple[str, ...]) -> tuple[int, int]:
        """Requests on these routes, and how many of them failed with a 5xx."""
        found = [(status, n) for (route, status), n in self.requests.items() if route in routes]
        return sum(n for _, n in found), sum(n for status, n in found if status >= 500)

    def _forget_arms(self) -> None:
        """Keep the newest releases; one that was forgotten and scores again begins at nothing."""
        while len(self.arm_seconds) > MOST_ARMS:
            gone = next(iter(self.arm_seconds))
            del self.arm_seconds[gone]
            self.arm_failures.pop(gone, None)
            for answered in [each for each in self.arm_answers if each[0] == gone]:
                del self.arm_answers[answered]

    def _distributions(self) -> Iterable[Distribution]:
        for by_name in (self.request_seconds, self.stage_seconds, self.arm_seconds):
            yield from by_name.values()
        yield self.group_rows
        yield self.label_to_weights
