"""Watches the loss with River's detectors."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.drift import Drift

REFERENCE_BLOCKS = 64  # what "as usual" is, after a release began to answer
RECENT_BLOCKS = 16  # what is compared with it
_KEPT = 4096

# Blocks are given in standard deviations of the reference's, so that these mean the same for every
# loss. A false alarm may cost a retrain: set so that two million examples without a shift gave none
# (Page-Hinkley by Siegmund's formula for CUSUM, the others by trial).
ADWIN: dict[str, Any] = {"delta": 0.002, "clock": 4}
PAGE_HINKLEY: dict[str, Any] = {
    "min_instances": 30, "delta": 0.25, "threshold": 25.0, "mode": "up",
}  # fmt: skip
# KSWIN costs 0.2 ms a test: it is asked once per KSWIN_NEWEST blocks, over the newest window.
KSWIN_WINDOW, KSWIN_NEWEST, KSWIN_ALPHA = 100, 30, 1e-4


@dataclass(frozen=True, slots=True)
class LossRise:
    """The loss before and after, and which detectors said so."""

    before: float
    after: float
    detectors: tuple[str, ...]


class LossWatch:
    """Takes losses in their order; says when they have risen, and when they are back."""

    def __init__(self, settings: Drift) -> None:
        self._settings = settings
        self._rest = np.zeros((2, 0))  # of the block that is not full: weighted losses, weights
        self._blocks: deque[float] = deque(maxlen=_KEPT)
        self._usual: tuple[float, float] | None = None  # mean and deviation of the reference
        self._detectors = _detectors(settings.detectors)  # now: River takes a second to load
        self.rise: LossRise | None = None

    @property
    def recent(self) -> int:
        """How many examples `after` is the mean of."""
        return RECENT_BLOCKS * self._settings.block

    def add(self, losses: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        """Take in losses with their importances; `rise` is then set, or None again."""
        size = self._settings.block
        rows = np.hstack([self._rest, [losses * weights, weights]])
        full = rows.shape[1] // size
        self._rest = rows[:, full * size :]
        sums = rows[:, : full * size].reshape(2, full, size).sum(axis=2)
        for mean in (sums[0] / np.maximum(sums[1], 1e-12)).tolist():
            self._add_block(mean)

    def _add_block(self, mean: float) -> None:
        self._blocks.append(mean)
        if self._usual is None:
            if len(self._blocks) >= REFERENCE_BLOCKS:
                self._usual = _usual(self._blocks)
                self._detectors = _detectors(self._settings.detectors)
        elif self.rise is not None:
            self._see_whether_it_is_over(self.rise)
        else:
            self._ask(mean, *self._usual)

    def _ask(self, mean: float, usual: float, deviation: float) -> None:
        block = (mean - usual) / deviation
        # Every detector has to see every block.
        found = [each.name for each in self._detectors if each.add(block)]
        if not found:
            return
        before, after = self._before_and_after()
        if after > before * (1 + self._settings.loss_limit):
            self.rise = LossRise(before, after, tuple(found))
            self._detectors = []

    def _see_whether_it_is_over(self, rise: LossRise) -> None:
        """Half way back is back: what is learned online may never quite reach where it was."""
        if self._before_and_after()[1] <= (rise.before + rise.after) / 2:
            self.rise = None
            self._detectors = _detectors(self._settings.detectors)

    def _before_and_after(self) -> tuple[float, float]:
        """The mean of the newest blocks and of those before them."""
        earlier = max(len(self._blocks) - RECENT_BLOCKS, 1)
        newest = list(islice(self._blocks, earlier, None))
        return float(np.mean(list(islice(self._blocks, earlier)))), float(np.mean(newest))


class _Detector:
    """One of River's detectors, fed with blocks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._made = _made(name)
        self._window: deque[float] = deque(maxlen=KSWIN_WINDOW)
        self._since = 0

    def add(self, block: float) -> bool:
        """Whether it finds a change now."""
        if self.name != "kswin":
            self._made.update(block)
            return bool(self._made.drift_detected)
        self._window.append(block)
        self._since += 1
        if len(self._window) < KSWIN_WINDOW or self._since < KSWIN_NEWEST:
            return False
        self._since = 0
        made = _made("kswin", list(self._window)[:-1])
        made.update(block)
        return bool(made.drift_detected)


def _made(name: str, window: list[float] | None = None) -> Any:
    # Only where drift is watched: River brings SciPy and pandas with it.
    from river import drift

    if name == "adwin":
        return drift.ADWIN(**ADWIN)  # type: ignore[no-untyped-call]
    if name == "page_hinkley":
        return drift.PageHinkley(**PAGE_HINKLEY)
    return drift.KSWIN(KSWIN_ALPHA, KSWIN_WINDOW, KSWIN_NEWEST, seed=7, window=window)


def _detectors(names: tuple[str, ...]) -> list[_Detector]:
    return [_Detector(name) for name in names]


def _usual(blocks: deque[float]) -> tuple[float, float]:
    values = np.array(blocks)
    return float(values.mean()), max(float(values.std(ddof=1)), 1e-9)
