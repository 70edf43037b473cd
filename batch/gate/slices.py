"""Is any slice of the requests served worse? Each value of a declared field, judged together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch.gate.paired import Blocks, chances

MOST_VALUES = 50
"""Of a field only so many values are looked at, those with the most rows."""
FEWEST_BLOCKS = 5
"""A slice must have been asked in so many stretches of time: one day says nothing of the next."""
MISSING = "missing"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SliceResult:
    """One slice: the losses of both on its rows, and the chance of such a difference by noise.

    `chance` counts all slices that were looked at.
    """

    field: str
    value: str
    rows: int
    candidate: float
    rival: float
    chance: float


def judge_slices(
    slices: Mapping[str, NDArray[Any]],
    losses: tuple[Floats, Floats],
    weights: Floats,
    blocks: Blocks,
    allowed: tuple[float, int],
) -> tuple[SliceResult, ...]:
    """Compare the losses (rows,) of candidate and rival within each slice that has enough rows.

    `slices` are the values (rows,) of each field; `allowed` are by how much
    a slice may be worse, relative, and the fewest rows.
    """
    (candidate, rival), (worse, fewest) = losses, allowed
    excess = candidate - (1 + worse) * rival
    found, sums = [], []
    for field, value, rows in _cut(slices, fewest):
        of_slice = blocks.sums(excess, rows)
        if (of_slice[1] > 0).sum() >= FEWEST_BLOCKS:
            means = [float(np.average(each[rows], weights=weights[rows])) for each in losses]
            found.append((field, value, int(rows.sum()), means[0], means[1]))
            sums.append(of_slice)
    if not found:
        return ()
    by_chance = chances(*(np.stack([each[part] for each in sums]) for part in (0, 1)))
    return tuple(
        SliceResult(*each, float(chance)) for each, chance in zip(found, by_chance, strict=True)
    )


def _cut(
    slices: Mapping[str, NDArray[Any]], fewest: int
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """The field, the value and the rows (rows,) of each slice that is large enough."""
    for field, values in slices.items():
        names = np.array([MISSING if each is None else str(each) for each in values], object)
        shown, codes, counts = np.unique(names, return_inverse=True, return_counts=True)
        largest = np.argsort(-counts, kind="stable")[:MOST_VALUES]
        for code in sorted(int(each) for each in largest if counts[each] >= fewest):
            yield field, str(shown[code]), codes == code
