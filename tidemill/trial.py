"""When a challenger becomes the champion, and when a champion has to go: the declared limits."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.checks import check_kind, check_range, check_whole
from tidemill.durations import duration_ms


@dataclass(frozen=True, slots=True)
class Trial:
    """How challengers are compared with the champion on matured labels, all the time.

    Both score every request; the losses of each `block` of stream time are one observation. With
    `promote`, a challenger is promoted once it is shown to be better, whenever one looks: the
    chance of ever promoting one that is equal is at most `alpha`, counted from `min_blocks` blocks
    and `min_rows` examples on. For `watch` after it has become champion, the one before goes on
    beside it, and takes its place again when it is shown to be better by more than `tolerance`
    (relative to its loss) within any `window` of that time.

    A model also loses its place when, over a minute, more than `errors` of its answers fail or its
    99th percentile is above `latency_us`; and when its mean score is shown to miss the mean label
    by more than `calibration` (relative to the rarer label's share; in units of the labels' spread
    for a regression). None is no limit.
    """

    promote: bool = True
    alpha: float = 0.05
    block: str = "10min"
    min_blocks: int = 30
    min_rows: int = 1000
    watch: str = "24h"
    window: str = "6h"
    tolerance: float = 0.0
    errors: float | None = 0.01
    latency_us: float | None = None
    calibration: float | None = None

    def __post_init__(self) -> None:
        check_kind("Trial.promote", (self.promote,), bool, "True or False")
        check_range("Trial.alpha", self.alpha, 1e-6, 0.5)
        for name in ("block", "watch", "window"):
            duration_ms(f"Trial.{name}", getattr(self, name))
        check_whole("Trial.min_blocks", self.min_blocks, 5, 1_000_000)
        check_whole("Trial.min_rows", self.min_rows, 1, 1_000_000_000_000)
        check_range("Trial.tolerance", self.tolerance, 0, 10)
        if self.errors is not None:
            check_range("Trial.errors", self.errors, 0, 1)
        if self.latency_us is not None:
            check_range("Trial.latency_us", self.latency_us, 0.1, 60_000_000)
        if self.calibration is not None:
            check_range("Trial.calibration", self.calibration, 0, 10)

    @property
    def block_ms(self) -> int:
        """A block in milliseconds of stream time."""
        return duration_ms("Trial.block", self.block)

    @property
    def watch_ms(self) -> int:
        """How long a new champion is watched, in milliseconds of stream time."""
        return duration_ms("Trial.watch", self.watch)

    @property
    def window_ms(self) -> int:
        """Within how many milliseconds of stream time a champion that turns bad is to go."""
        return duration_ms("Trial.window", self.window)
