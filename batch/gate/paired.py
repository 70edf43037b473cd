"""Is one model worse than another by more than chance? Rows of one day hold together as a block.

Rows that came at one time share their weather, their campaign, their fraudster, so that their
losses are no independent draws. Rows are cut into stretches of time, and it is the stretches' sums
whose signs are drawn: the wild bootstrap of blocks (Cameron, Gelbach and Miller, Bootstrap-based
improvements for inference with clustered errors, 2008, section III.B, with the null imposed).
Inverted to an interval its ends are order statistics of the means of all subsets of the blocks
(Hartigan, Using subsample values as typical values, JASA 1969), exact for blocks that are
symmetric about the mean, however few (Canay, Romano and Shaikh, Econometrica 2017).
docs/gate.md has the rates of false refusals of this rule beside those of others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.durations import DAY_MS

FEWEST_DAYS, STRETCHES, MOST_BLOCKS = 7, 8, 64
"""Blocks are days (UTC) where there are that many, else so many equal stretches of time; of very
many days several make a block."""

_ENUMERATED = 12  # with more blocks than that, not all patterns of signs, but so many:
_PATTERNS = 4096
_SEED = 7

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and how far it may be off; None where there are too few blocks to say."""

    mean: float
    low: float | None
    high: float | None

    def above(self, limit: float) -> bool:
        """True when it is shown to be above the limit."""
        return self.low is not None and self.low > limit

    def may_be_above(self, limit: float) -> bool:
        """True when it cannot be excluded that it is above the limit."""
        return self.high is None or self.high > limit


class Blocks:
    """Rows by the stretch of time they were asked in."""

    def __init__(self, times: NDArray[np.int64], weights: Floats) -> None:
        days = times // DAY_MS
        first, number = int(days.min()), int(days.max() - days.min()) + 1
        if number >= FEWEST_DAYS:
            self._of_row = (days - first) // -(-number // MOST_BLOCKS)
        else:
            begin, end = int(times.min()), int(times.max()) + 1
            self._of_row = (times - begin) * STRETCHES // (end - begin)
        self._number = int(self._of_row.max()) + 1
        self._weights = weights

    def sums(self, values: Floats, rows: NDArray[np.bool_] | None = None) -> tuple[Floats, Floats]:
        """Weighted sums of (rows,) values and of their weights in each block, for some of the rows.

        Both are (blocks,), 0 where there is no row.
        """
        weights = self._weights if rows is None else np.where(rows, self._weights, 0.0)
        return self._summed(weights * values), self._summed(weights)

    def _summed(self, values: Floats) -> Floats:
        return np.bincount(self._of_row, values, self._number).astype(np.float64)

    def interval(self, values: Floats, below: float, above: float) -> Interval:
        """The mean of (rows,) values, with what blocks of rows say of its error.

        The true mean lies under `low` with a chance of `below`, over `high` with one of `above`.
        """
        sums, weights = self.sums(values)
        sums, weights = sums[weights > 0], weights[weights > 0]
        mean = float(sums.sum() / weights.sum())
        flipped = _signs(len(sums)) < 0
        flipped = flipped[flipped.any(axis=1)]
        means = np.sort((flipped @ sums) / (flipped @ weights))
        low, high = _place(below, len(means)), _place(above, len(means))
        return Interval(
            mean,
            None if low < 0 else float(means[low]),
            None if high < 0 else float(means[-1 - high]),
        )


def _place(chance: float, subsets: int) -> int:
    """Which of the sorted means is the end of an interval, negative where none is."""
    return int(chance * (subsets + 1) * (1 + 1e-12)) - 1


def chances(sums: Floats, weights: Floats) -> Floats:
    """For each of several groups of rows the chance of such a mean, or a larger, were it 0.

    `sums` and `weights` (groups, blocks) as `Blocks.sums` gives them. The chances are those of
    the largest studentised mean of all groups under the same patterns of signs, stepping down
    (Romano and Wolf, Exact and approximate stepdown methods for multiple hypothesis testing, JASA
    2005): with `chance <= .05` as the rule, one group in 20 families is wrongly called worse.
    """
    patterns = _signs(sums.shape[1])
    drawn = np.stack([_studentised(patterns, *each) for each in zip(sums, weights, strict=True)], 1)
    found = drawn[0]  # the first pattern changes no sign
    chance, before = np.ones(len(found)), 0.0
    order = np.argsort(-found, kind="stable")
    for place, group in enumerate(order):
        largest = drawn[:, order[place:]].max(axis=1)
        before = max(before, float((largest >= found[group] - 1e-9).mean()))
        chance[group] = before
    return chance


def _studentised(patterns: Floats, sums: Floats, weights: Floats) -> Floats:
    """The t of the weighted mean of blocks under each pattern of signs, (patterns,)."""
    held = weights > 0
    signed = patterns[:, held] * sums[held]
    means = signed.sum(axis=1) / weights.sum()
    left = signed - means[:, None] * weights[held]
    blocks = int(held.sum())
    error = np.sqrt((left**2).sum(axis=1) * blocks / max(blocks - 1, 1)) / weights.sum()
    certain = np.where(means == 0, 0.0, np.copysign(np.inf, means))
    found: Floats = np.divide(means, error, out=certain, where=error > 0)
    return found


def _signs(blocks: int) -> Floats:
    """Patterns of signs (patterns, blocks), the first all 1: every one, or a draw of many."""
    if blocks <= _ENUMERATED:
        bits = np.arange(2**blocks)[:, None] >> np.arange(blocks)
        return np.asarray(1.0 - 2.0 * (bits & 1), np.float64)
    drawn = np.random.default_rng(_SEED).choice([1.0, -1.0], (_PATTERNS, blocks))
    drawn[0] = 1.0
    return drawn
