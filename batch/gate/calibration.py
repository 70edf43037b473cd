"""Do probabilities come true? How far what was said lies from what came, and whether it got worse.

The expected calibration error over groups of equal weight (`learners.quality`) is a sum of rows
once groups and the signs of their gaps are known: so that of two models can be compared row by row,
by the same interval as their losses. A calibrated model has an error too, by the noise of labels;
what it would have (the mean of a folded normal in each group) is taken off, as Broecker
(Estimating reliability and resolution, Climate Dynamics 2012) does for squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learners.quality.measures import CALIBRATION_GROUPS
from learners.quality.tally import cells_of

_SMALLEST = 1e-12
_MOST_STEPS = 50

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well probabilities came true on the compared rows.

    `error`: expected calibration error; `by_noise`: what it would be of a calibrated model.
    `in_the_large`: mean said less share that came. `slope` and `intercept`: what log-odds are
    multiplied by, and what is added, to fit best (Cox, Biometrika 1958): 1 and 0 for a calibrated
    model, a slope below 1 for one that is too sure. `z`: Spiegelhalter (Statistics in Medicine
    1986), standard normal for a calibrated model on independent rows.
    """

    error: float
    by_noise: float
    in_the_large: float
    slope: float | None
    intercept: float | None
    z: float | None


def calibration_of(labels: Floats, scores: Floats, weights: Floats) -> Calibration:
    """Measure (rows,) probabilities; weights say how many examples each row stands for."""
    total = float(weights.sum())
    slope, intercept = _cox(labels, scores, weights)
    return Calibration(
        error=float(weights @ contributions(labels, scores, weights)) / total,
        by_noise=_by_noise(scores, weights),
        in_the_large=float(weights @ (scores - labels)) / total,
        slope=slope,
        intercept=intercept,
        z=_spiegelhalter(labels, scores, weights),
    )


def contributions(labels: Floats, scores: Floats, weights: Floats) -> Floats:
    """What each row adds to the expected calibration error, (rows,): their mean is the error."""
    groups, gaps = _groups(scores, weights), scores - labels
    signs = np.sign(np.bincount(groups, weights * gaps, CALIBRATION_GROUPS))
    found: Floats = signs[groups] * gaps
    return found


def _groups(scores: Floats, weights: Floats) -> NDArray[np.int64]:
    """The group of each row, groups of about equal weight in rising order of the scores.

    Scores that are all but equal stay together: to part them by their last digits would part them
    by what a model learned just now, and find an error that nobody could see in its answers.
    """
    cells = cells_of(scores)
    held = np.bincount(cells, weights)
    middle = (np.cumsum(held) - held / 2) / held.sum()
    of_cell = np.clip(middle * CALIBRATION_GROUPS, 0, CALIBRATION_GROUPS - 1).astype(np.int64)
    return np.asarray(of_cell[cells], np.int64)


def _by_noise(scores: Floats, weights: Floats) -> float:
    variance = weights**2 * scores * (1 - scores)
    of_groups = np.bincount(_groups(scores, weights), variance, CALIBRATION_GROUPS)
    return float(np.sqrt(2 / np.pi * of_groups).sum() / weights.sum())


def _spiegelhalter(labels: Floats, scores: Floats, weights: Floats) -> float | None:
    lean = weights * (1 - 2 * scores)
    variance = float((lean**2 * scores * (1 - scores)).sum())
    return float((lean * (labels - scores)).sum()) / variance**0.5 if variance > 0 else None


def _cox(labels: Floats, scores: Floats, weights: Floats) -> tuple[float | None, float | None]:
    """Slope and intercept by Newton's method; None where there is no fit (one score, separated)."""
    sure = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    design = np.column_stack([np.log(sure / (1 - sure)), np.ones(len(scores))])
    found = np.array([1.0, 0.0])
    for _ in range(_MOST_STEPS):
        said = 1 / (1 + np.exp(-np.clip(design @ found, -700, 700)))
        hessian = design.T @ ((weights * said * (1 - said))[:, None] * design)
        if np.linalg.cond(hessian) > 1 / _SMALLEST:
            return None, None
        step = np.linalg.solve(hessian, design.T @ (weights * (labels - said)))
        found = found + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            return float(found[0]), float(found[1])
    return None, None
