"""How often each rule calls a candidate worse that is equal, or worse by so much: simulated.

A world is a holdout of some days: so many rows, differences of two models' log-losses whose noise
is skewed (standard deviation .1, as on flights), and shocks that a day and an hour share. The
candidate is truly equal or worse by 1, 2 or 5 % of a loss of .45. A rule refuses when it holds the
difference for shown, at .95. The rules: `point` (the mean is above 0), `rows` (independent rows),
`moving` blocks of a day (Kuensch, Annals of Statistics 1989), `stationary` blocks (Politis and
Romano, JASA 1994), `betting` on rows (Waudby-Smith and Ramdas, JRSS B 2024, predictable plug-in,
looked at after each row), `days` betting on daily means, and `gate`, the rule in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batch.gate.paired import Blocks
from bench._result import own_versions, result
from tidemill.durations import DAY_MS, HOUR_MS

CHANCE, LOSS, NOISE, DRAWS = 0.05, 0.45, 0.1, 300
NORMAL = 1.6449  # the quantile of 1 - CHANCE
LARGEST = 2.0  # differences are clipped there for betting, which needs a bound
EXCESS = (0.0, 0.01, 0.02, 0.05)
Floats = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True)
class Sizes:
    """A kind of world: rows, days, the standard deviation of a day's shock, and its memory."""

    rows: int
    days: int
    shock: float
    memory: float = 0.0

    @property
    def name(self) -> str:
        """How the result file calls it."""
        return f"{self.rows}_rows_{self.days}_days_shock_{self.shock:g}_memory_{self.memory:g}"


WORLDS = (
    Sizes(1_000, 7, 0.0),
    Sizes(1_000, 7, 0.005),
    Sizes(20_000, 7, 0.0),
    Sizes(20_000, 7, 0.005),
    Sizes(20_000, 7, 0.005, 0.5),
    Sizes(20_000, 30, 0.005),
    Sizes(100_000, 7, 0.005),
)


def differences(random: Random, world: Sizes, excess: float) -> tuple[NDArray[np.int64], Floats]:
    """When each row was asked (ms, sorted) and by how much the candidate's loss is higher."""
    times = np.sort(random.integers(0, world.days * DAY_MS, world.rows))
    days, hours = _remembering(random, world.days, world.memory), world.days * 24
    shared = days[times // DAY_MS] + _remembering(random, hours, 0.8)[times // HOUR_MS] / 2
    noise = (random.gamma(0.25, size=world.rows) - 0.25) / 0.5 * NOISE
    return times, excess * LOSS + world.shock * shared + noise


def _remembering(random: Random, steps: int, memory: float) -> Floats:
    """A series of variance 1 in which each value remembers the one before."""
    values = random.normal(size=steps)
    for step in range(1, steps):
        values[step] = memory * values[step - 1] + (1 - memory**2) ** 0.5 * values[step]
    return values


def point(random: Random, times: NDArray[np.int64], values: Floats) -> bool:
    """The mean as it is."""
    return bool(values.mean() > 0)


def rows(random: Random, times: NDArray[np.int64], values: Floats) -> bool:
    """Rows as independent draws; their bootstrap says the same at these sizes."""
    return bool(values.mean() > NORMAL * values.std() / len(values) ** 0.5)


def _by_hour(times: NDArray[np.int64], values: Floats) -> tuple[Floats, Floats]:
    hours, number = times // HOUR_MS, int(times.max() // DAY_MS + 1) * 24
    sums, counts = (np.bincount(hours, each, number) for each in (values, np.ones(len(values))))
    return sums.astype(np.float64), counts.astype(np.float64)


def moving(random: Random, times: NDArray[np.int64], values: Floats) -> bool:
    """Whole days drawn from a circle of hours."""
    sums, counts = _by_hour(times, values)
    starts = random.integers(0, len(sums), (DRAWS, len(sums) // 24))
    drawn = ((starts[:, :, None] + np.arange(24)) % len(sums)).reshape(DRAWS, -1)
    return _low(sums, counts, drawn) > 0


def stationary(random: Random, times: NDArray[np.int64], values: Floats) -> bool:
    """Stretches of a day on average, drawn from a circle of hours."""
    sums, counts = _by_hour(times, values)
    number = len(sums)
    begins = random.random((DRAWS, number)) < 1 / 24
    begins[:, 0] = True
    begun = np.maximum.accumulate(np.where(begins, np.arange(number), 0), axis=1)
    starts = np.take_along_axis(random.integers(0, number, (DRAWS, number)), begun, 1)
    return _low(sums, counts, (starts + np.arange(number) - begun) % number) > 0


def _low(sums: Floats, counts: Floats, drawn: NDArray[np.int64]) -> float:
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return float(np.quantile(means, CHANCE))


def betting(random: Random, times: NDArray[np.int64], values: Floats) -> bool:
    """Wealth that can only grow by chance twentyfold in one of twenty worlds, at any time."""
    bets = np.clip(values, -LARGEST, LARGEST)
    number = np.arange(1, len(bets) + 1)
    means = np.cumsum(bets) / number
    spread = (0.25 + np.cumsum((bets - means) ** 2)) / (number + 1)
    known_mean, known_spread = np.r_[0.0, means[:-1]], np.r_[0.25, spread[:-1]]
    stakes = np.clip(known_mean / (known_spread + known_mean**2), 0, 0.5 / LARGEST)
    return bool(np.cumsum(np.log1p(stakes * bets)).max() >= np.log(1 / CHANCE))


def days(random: Random, times: NDArray[np.int64], values: Floats) -> bool:
    """The same with one bet a day."""
    day = times // DAY_MS
    return betting(random, times, np.bincount(day, values) / np.bincount(day))


def gate(random: Random, times: NDArray[np.int64], values: Floats) -> bool:
    """The rule in use."""
    return Blocks(times, np.ones(len(times))).interval(values, CHANCE, CHANCE).above(0)


RULES: tuple[Callable[[Random, NDArray[np.int64], Floats], bool], ...] = (
    point, rows, moving, stationary, betting, days, gate,
)  # fmt: skip


def run(quick: bool) -> dict[str, object]:
    """The share of worlds in which each rule refuses."""
    random, repeats = np.random.default_rng(7), 20 if quick else 400
    shares: dict[str, tuple[str, list[float]]] = {}
    for world in WORLDS[:2] if quick else WORLDS:
        for excess in EXCESS:
            refused = np.zeros(len(RULES))
            for _ in range(repeats):
                made = differences(random, world, excess)
                refused += [rule(random, *made) for rule in RULES]
            for rule, count in zip(RULES, refused.tolist(), strict=True):
                name = f"{world.name}_worse_{excess:.0%}_{rule.__name__}".replace("%", "_percent")
                shares[name] = ("share", [count / repeats])
    return result("gate", shares, equal=True, ratios={}, skipped={}, versions=own_versions("numpy"))
