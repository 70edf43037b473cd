"""How much of what an expert says reaches a mixture's prediction, between two rows.

The rescale rule (Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating
Activation Differences", ICML 2017, section 3.5.1) as Chen, Lundberg and Lee use it for models in a
row ("Explaining a series of models by propagating Shapley values", Nature Communications 2022):
each step from an input to an output is replaced by the slope of the secant between the two rows.
So what the experts differ by, times these slopes, is exactly what the mixture differs by.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.mixture.blend import Blend
from learners.mixture.kernels import COUNT, HIGH, LEAST, LOW, MASS, SLEEP, SQUARES

_NEAR = 1e-6  # log-odds nearer than this have the curve's own slope: a secant's would be noise
_LEAST_RECENT = 1e-3  # as the blend's kernels have it

Floats = NDArray[np.float64]


def slopes_of_odds(blend: Blend, start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """Between the experts' log-odds `start` and `end` (rows, experts): slopes of the mixture's.

    The slopes are (rows, experts); beside them the mixture's log-odds at `start` (rows,).
    """
    count = start.shape[1]
    weights, constants = _stackers(blend, count)
    first, last = _heard(start), _heard(end)
    reach = _secant(last - first, end - start, 1.0)
    low = np.concatenate([first, first @ weights.T + constants], axis=1)
    high = np.concatenate([last, last @ weights.T + constants], axis=1)
    shares = blend.shares
    steps = _secant(_chance(high) - _chance(low), high - low, _slope((low + high) / 2))
    begun, ended = _chance(low) @ shares, _chance(high) @ shares
    odds, differing = _odds(begun), _odds(ended) - _odds(begun)
    middle = np.clip((begun + ended) / 2, LEAST, 1 - LEAST)
    near = np.abs(differing) < _NEAR
    rise = np.where(near, 1.0, ended - begun)
    back = np.where(near, 1 / (middle * (1 - middle)), differing / rise)
    parts = steps * shares
    return back[:, None] * reach * (parts[:, :count] + parts[:, count:] @ weights), odds


def slopes_of_values(blend: Blend, start: Floats, end: Floats) -> Floats:
    """As `slopes_of_odds` for values (rows, experts), of which the first is the release's.

    The blend holds everything within the labels seen and what the release says. Where that range
    moves with the release, the release has half of what moves when either goes first.
    """
    count = start.shape[1]
    weights, rest = _value_stackers(blend, count)
    (first, last), shares = (start[:, 0], end[:, 0]), blend.shares
    own, moved = _held(blend, start, end)
    own[:, 0], moved[:, 0] = last - first, 0.0
    run = last - first
    # A stacker's value is linear in the experts' held values and the release's own.
    sides = [_value_of_stackers(blend, some, weights, rest) for some in (start, end)]
    through, aside = _held(blend, sides[0], sides[1], first, last)
    steps = _ratio(through, sides[1] - sides[0]) * shares[count:]
    slopes = (shares[:count] + steps @ weights) * _ratio(own, end - start)
    direct = (steps * (1 - weights.sum(axis=1) - rest[1])).sum(axis=1)
    pushed = (
        moved @ shares[:count] + ((steps @ weights) * moved).sum(axis=1) + aside @ shares[count:]
    )
    slopes[:, 0] += direct + _ratio(pushed, run)
    return slopes


def _stackers(blend: Blend, experts: int) -> tuple[Floats, Floats]:
    """Each stacker's weights of the experts' log-odds, and what it adds to them."""
    arrays = blend.arrays
    awake = arrays.numbers[COUNT] >= SLEEP
    weights = arrays.coefficients[:, :experts] * (blend.warm | awake)
    recents = len(arrays.recents)
    odds = np.diff(np.log(np.maximum(arrays.recents, _LEAST_RECENT)), axis=1)[:, 0]
    said = arrays.coefficients[:, experts : experts + recents] @ odds * awake
    # The bias is that of class 0.
    return weights, said - arrays.coefficients[:, experts + recents]


def _value_stackers(blend: Blend, experts: int) -> tuple[Floats, tuple[Floats, Floats]]:
    """Each stacker's weights of the experts, what it adds, and its weight of recent labels."""
    arrays = blend.arrays
    awake = arrays.numbers[COUNT] >= SLEEP
    weights = arrays.coefficients[:, :experts] * (blend.warm | awake)
    recents = arrays.coefficients[:, experts : experts + len(arrays.recents)] * awake
    mass = arrays.numbers[MASS]
    scale = np.sqrt(arrays.numbers[SQUARES] / mass) if mass > 0 else 0.0
    added = recents @ arrays.recents[:, 0] + arrays.coefficients[:, -1] * scale
    return weights, (added, recents.sum(axis=1))


def _value_of_stackers(
    blend: Blend, values: Floats, weights: Floats, rest: tuple[Floats, Floats]
) -> Floats:
    """What the stackers say (rows, stackers) before it is held within the range."""
    release = values[:, :1]
    low, high = _range(blend, release)
    held = np.clip(values, low, high) - release
    return np.asarray(release + held @ weights.T + rest[0] - release * rest[1])


def _range(blend: Blend, release: Floats) -> tuple[Floats, Floats]:
    numbers = blend.arrays.numbers
    return np.minimum(numbers[LOW], release), np.maximum(numbers[HIGH], release)


def _held(
    blend: Blend,
    start: Floats,
    end: Floats,
    first: Floats | None = None,
    last: Floats | None = None,
) -> tuple[Floats, Floats]:
    """How far held values move: by their own step, and by that of the range; together all of it."""
    first = start[:, 0] if first is None else first
    last = end[:, 0] if last is None else last
    before, after = _range(blend, first[:, None]), _range(blend, last[:, None])
    corners = [[np.clip(value, *limits) for limits in (before, after)] for value in (start, end)]
    own = (corners[1][0] - corners[0][0] + corners[1][1] - corners[0][1]) / 2
    moved = (corners[0][1] - corners[0][0] + corners[1][1] - corners[1][0]) / 2
    return own, moved


def _heard(odds: Floats) -> Floats:
    """Log-odds as the blend's logarithms have them: probabilities have a lower end."""
    chance = _chance(odds)
    return np.log(np.maximum(chance, LEAST)) - np.log(np.maximum(1 - chance, LEAST))


def _chance(odds: Floats) -> Floats:
    with np.errstate(over="ignore"):  # exp is infinite only where the chance is 0
        return np.asarray(np.maximum(1 / (1 + np.exp(-odds)), LEAST))


def _odds(chance: Floats) -> Floats:
    held = np.clip(chance, LEAST, 1 - LEAST)
    return np.asarray(np.log(held) - np.log1p(-held))


def _slope(odds: Floats) -> Floats:
    chance = _chance(odds)
    return chance * (1 - chance)


def _secant(rise: Floats, run: Floats, slope: Floats | float) -> Floats:
    near = np.abs(run) < _NEAR
    return np.where(near, slope, rise / np.where(near, 1.0, run))


def _ratio(rise: Floats, run: Floats) -> Floats:
    """`rise` / `run`, 0 where nothing runs."""
    return np.where(run == 0, 0.0, rise / np.where(run == 0, 1.0, run))
