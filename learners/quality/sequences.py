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

LASTING = 16  # blocks that shocks may last, however short the run that is judged
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
        return self._largest(contrast, STRETCHES[-1])[0]

    def _largest(self, contrast: Floats, length: int) -> tuple[float, int]:
        """The variance, and how many stretches have shown it.

        Of stretches as long as a run of this length, and shorter ones: what lasts longer shifts all
        of the run. For short runs too those of `LASTING` blocks are looked at.
        """
        residual, found = contrast.copy(), list[tuple[float, int]]()
        residual[0] -= self.mean(contrast)
        for each in self._stretches:
            found.append((each.variance(residual, self.blocks), each.number))
            if each.size >= max(length, LASTING):
                break
        return max(found)

    def interval(self, contrast: Floats, alpha: float, best: float) -> Interval:
        """The mean per row with its bounds, each of them with chance `alpha` of failing, ever."""
        mean = self.mean(contrast)
        if self.blocks < FEWEST or not self.total[0] > 0:
            return Interval(-math.inf, mean, math.inf)
        deviation = math.sqrt(self.variance(contrast))
        width = _widened(margin(self.blocks, alpha, best), self.blocks)
        half = float(width) * deviation / float(self.total[0])
        return Interval(mean - half, mean, mean + half)

    def since(self, before: BlockSums, contrast: Floats, alpha: float, best: float) -> Interval:
        """The mean per row of a run of blocks with its bounds, `alpha` being the chance of each.

        `before` are these sums as they were when the run began. How much blocks vary is told by
        those before it: else the very jump that a run shows would pass for noise, and the more so
        the larger it is. The run's own blocks count if they vary more around their mean. A run of
        one block shows nothing, nor does one after few.
        """
        length, total = self.blocks - before.blocks, self.total - before.total
        weight = float(total[0])
        mean = float(contrast @ total) / weight if weight > 0 else 0.0
        if length < 2 or before.blocks < FEWEST or not (weight > 0 and before.total[0] > 0):
            return Interval(-math.inf, mean, math.inf)
        residual = contrast.copy()
        residual[0] -= mean
        own = self._stretches[0].squares(residual) - before._stretches[0].squares(residual)
        variance, stretches = before._largest(contrast, length)
        usual = variance * weight / float(before.total[0])
        # A variance of few long stretches is worth no more than their number.
        width = float(_widened(margin(length, alpha, best), stretches))
        half = width * math.sqrt(max(own, usual, 0.0)) / weight
        return Interval(mean - half, mean, mean + half)

    def copy(self) -> BlockSums:
        """Sums of their own with the same state."""
        return self.decode(self.columns, self.encode())

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
        self.size, self._columns = size, columns
        self.number = self._filled = 0
        self._partial = np.zeros(columns)
        self._products = np.zeros((columns, columns))

    def add(self, block: Floats) -> None:
        self._partial += block
        self._filled += 1
        if self._filled == self.size:
            self._products += np.outer(self._partial, self._partial)
            self.number += 1
            self._filled = 0
            self._partial[:] = 0

    def variance(self, residual: Floats, blocks: int) -> float:
        """Of the sum over so many blocks, by the stretches that are whole; 0 for too few."""
        if self.number < FEWEST:
            return 0.0
        share = blocks / (self.number * self.size)
        squares = max(self.squares(residual), 0.0)
        return squares * share * self.number / (self.number - 1)

    def squares(self, residual: Floats) -> float:
        """The sum over the whole stretches of what the residual makes of each, squared."""
        return float(residual @ self._products @ residual)

    def transformed(self, matrix: Floats) -> _Stretches:
        found = _Stretches(self.size, self._columns)
        found.number, found._filled = self.number, self._filled
        found._partial = matrix @ self._partial
        found._products = matrix @ self._products @ matrix.T
        return found

    def data(self) -> Floats:
        counts = np.array([self.number, self._filled], np.float64)
        return np.concatenate([counts, self._partial, self._products.ravel()])

    def restore(self, row: Floats) -> None:
        self.number, self._filled = int(row[0]), int(row[1])
        self._partial = row[2 : 2 + self._columns].copy()
        self._products = row[2 + self._columns :].reshape(self._columns, -1).copy()
