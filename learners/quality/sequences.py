"""Confidence sequences of means: intervals that hold at every moment at once, so one may look on.

Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, *Time-uniform central limit theory and asymptotic
confidence sequences* (Annals of Statistics 2024), in the one-sided form of their appendix: Robbins'
normal mixture with an estimated variance. Examples of one stretch of time share its weather, so
that blocks of time are the draws, and where the shocks last longer than a block the variance is
that of longer stretches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tidemill.errors import ArtifactError

Floats = NDArray[np.float64]
STRETCHES = (1, 4, 16, 64, 256)
"""Blocks that are looked at together when the variance is estimated; the largest counts."""

FEWEST = 7  # stretches of a length that say anything of a variance


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean per row and its bounds; each holds at all times with the chance that was asked for."""

    low: float
    mean: float
    high: float


def margin(blocks: ArrayLike, alpha: float, best: float) -> Floats:
    """The one-sided boundary of a sum of so many blocks, in standard deviations of that sum.

    Chance alone takes the sum beyond it, ever, with probability `alpha` (asymptotically, in the
    number of blocks after which one begins to look). It is the tightest around `best` blocks: the
    mixture's variance is their approximation of the optimal rho, with 2 alpha for one side.
    """
    number = np.asarray(blocks, np.float64)
    two_sided = -2 * math.log(min(2 * alpha, 0.9))
    rho = (two_sided + math.log1p(two_sided)) / best
    grown = number * rho + 1
    values: Floats = np.sqrt(2 * grown / (number * rho) * np.log1p(np.sqrt(grown) / (2 * alpha)))
    return values


def _widened(margins: Floats, blocks: int) -> Floats:
    """Margins for a variance that is estimated from so many blocks only.

    As far out in the tail of Student's distribution as they are in that of the normal one, by the
    leading term of both (for sequences: Lai, Annals of Statistics 1976). With the number of blocks
    the difference goes to nothing.
    """
    freedom = max(blocks - 1, 1)
    values: Floats = np.sqrt(freedom * np.expm1(margins**2 / freedom))
    return values


class BlockSums:
    """Sums of several columns over blocks of time, each added when it is over.

    The first column is the weight of a block's rows. A contrast weighs the columns: what it makes
    of the sums, divided by the weight, is a mean per row.
    """

    def __init__(self, columns: int) -> None:
        self.columns, self.blocks = columns, 0
        self.total = np.zeros(columns)
        self._stretches = [_Stretches(size, columns) for size in STRETCHES]

    def add(self, block: Floats) -> None:
        """One block's sums, shape (columns,)."""
        self.blocks += 1
        self.total += block
        for each in self._stretches:
            each.add(block)

    def mean(self, contrast: Floats) -> float:
        """What the contrast comes to per row; 0 without rows."""
        return float(contrast @ self.total / self.total[0]) if self.total[0] > 0 else 0.0

    def variance(self, contrast: Floats) -> float:
        """Of the contrast's sum over all blocks: of a ratio to the weight, linearised.

        The largest that any length of stretches shows (a long-run variance of non-overlapping batch
        means), so that shocks which outlast a block do not pass for independent.
        """
        residual = contrast.copy()
        residual[0] -= self.mean(contrast)
        return max(each.variance(residual, self.blocks) for each in self._stretches)

    def interval(self, contrast: Floats, alpha: float, best: float) -> Interval:
        """The mean per row with its bounds, each of them with chance `alpha` of failing, ever."""
        mean = self.mean(contrast)
        if self.blocks < FEWEST or not self.total[0] > 0:
            return Interval(-math.inf, mean, math.inf)
        deviation = math.sqrt(self.variance(contrast))
        width = _widened(margin(self.blocks, alpha, best), self.blocks)
        half = float(width) * deviation / float(self.total[0])
        return Interval(mean - half, mean, mean + half)

    def newest(
        self, blocks: Floats, contrast: Floats, alpha: float, best: float, every: int = 1
    ) -> Interval:
        """The highest lower and the lowest upper bound of any run of blocks that ends now.

        `blocks` (blocks, columns) are the newest, oldest first. A run may begin at every so many
        blocks, and `alpha` is the chance of each. A short run knows little of its own variance: its
        share of that of all blocks counts, if that is larger. A run of one block shows nothing.
        """
        if len(blocks) < 2 or self.blocks < FEWEST or not self.total[0] > 0:
            return Interval(-math.inf, self.mean(contrast), math.inf)
        sums = np.cumsum(blocks[::-1], axis=0)
        weights, found = sums[:, 0], sums @ contrast
        lengths = np.arange(1, len(sums) + 1)
        usable = (weights > 0) & (lengths > 1) & ((self.blocks - lengths) % every == 0)
        means = np.divide(found, weights, out=np.zeros(len(sums)), where=weights > 0)
        values, rows = (blocks @ contrast)[::-1], blocks[::-1, 0]
        own = np.cumsum(values**2) - 2 * means * np.cumsum(values * rows)
        own += means**2 * np.cumsum(rows**2)
        usual = self.variance(contrast) * weights / self.total[0]
        deviations = np.sqrt(np.maximum(np.maximum(own, usual), 0.0))
        widths = margin(lengths, alpha, best)
        half = _widened(widths, self.blocks) * deviations
        low = np.where(usable, means - half / np.where(usable, weights, 1.0), -np.inf)
        high = np.where(usable, means + half / np.where(usable, weights, 1.0), np.inf)
        return Interval(float(low.max()), float(means[-1]), float(high.min()))

    def transformed(self, matrix: Floats) -> BlockSums:
        """The sums of other columns: each of them what a row of the matrix makes of the old."""
        found = BlockSums(self.columns)
        found.blocks, found.total = self.blocks, matrix @ self.total
        found._stretches = [each.transformed(matrix) for each in self._stretches]
        return found

    def encode(self) -> bytes:
        """The sums as bytes; equal sums give equal bytes."""
        parts = [np.array([self.blocks], np.float64), self.total]
        return np.concatenate([*parts, *(each.data() for each in self._stretches)]).tobytes()

    @classmethod
    def decode(cls, columns: int, data: bytes) -> BlockSums:
        """What `encode` gave. Raises ArtifactError for anything else."""
        sums = cls(columns)
        width = 2 + columns + columns * columns
        expected = 8 * (1 + columns + len(STRETCHES) * width)
        if len(data) != expected:
            raise ArtifactError(f"block sums: found {len(data)} bytes; allowed: {expected}")
        values = np.frombuffer(data, np.float64)
        sums.blocks, sums.total = int(values[0]), values[1 : 1 + columns].copy()
        rest = values[1 + columns :].reshape(len(STRETCHES), width)
        for each, row in zip(sums._stretches, rest, strict=True):
            each.restore(row)
        return sums


class _Stretches:
    """Products of the sums of so many blocks in a row."""

    def __init__(self, size: int, columns: int) -> None:
        self._size, self._columns = size, columns
        self._number = self._filled = 0
        self._partial = np.zeros(columns)
        self._products = np.zeros((columns, columns))

    def add(self, block: Floats) -> None:
        self._partial += block
        self._filled += 1
        if self._filled == self._size:
            self._products += np.outer(self._partial, self._partial)
            self._number += 1
            self._filled = 0
            self._partial[:] = 0

    def variance(self, residual: Floats, blocks: int) -> float:
        """Of the sum over so many blocks, by the stretches that are whole; 0 for too few."""
        if self._number < FEWEST:
            return 0.0
        squares = float(residual @ self._products @ residual)
        share = blocks / (self._number * self._size)
        return max(squares, 0.0) * share * self._number / (self._number - 1)

    def transformed(self, matrix: Floats) -> _Stretches:
        found = _Stretches(self._size, self._columns)
        found._number, found._filled = self._number, self._filled
        found._partial = matrix @ self._partial
        found._products = matrix @ self._products @ matrix.T
        return found

    def data(self) -> Floats:
        counts = np.array([self._number, self._filled], np.float64)
        return np.concatenate([counts, self._partial, self._products.ravel()])

    def restore(self, row: Floats) -> None:
        self._number, self._filled = int(row[0]), int(row[1])
        self._partial = row[2 : 2 + self._columns].copy()
        self._products = row[2 + self._columns :].reshape(self._columns, -1).copy()
