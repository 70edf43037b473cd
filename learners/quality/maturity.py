"""How many of the labels come by an age, seen while many are still to come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PER_OCTAVE, OCTAVES = 4, 16
_BINS = PER_OCTAVE * OCTAVES

Floats = NDArray[np.float64]


def delay_edges(wait_ms: int) -> Floats:
    """The upper ages (ms) of the bins of delays, each a fifth more; the last is the wait."""
    upper = wait_ms * 2.0 ** (np.arange(1 - _BINS, 1) / PER_OCTAVE)
    return np.append(upper, wait_ms)


def delay_bins(delays: NDArray[np.int64], edges: Floats) -> NDArray[np.int64]:
    """The bin of each delay (ms); the last takes what came at the end of the wait or later."""
    return np.searchsorted(edges[:-1], delays, side="right")


def shares_by_age(counts: NDArray[np.int64], oldest: Floats, edges: Floats) -> Floats | None:
    """The share of labels that come by each edge; None until delays as long as the wait were seen.

    `counts` (buckets, bins) are labels by their prediction's bucket and their delay; `oldest`
    (buckets,) is the age that all of a bucket's predictions have reached.

    A delay is only seen when it is shorter than its prediction's age: the data are truncated on the
    right, and counting them as they are would call young buckets complete. Lagakos, Barraj and De
    Gruttola (Biometrika 1988): the Kaplan-Meier estimator in reverse time, where a bin's delays are
    compared only with shorter ones of predictions old enough to show both. Exact when the delays of
    all buckets have one distribution.
    """
    shown = oldest[:, None] >= edges  # (buckets, bins): the bin can hold all it ever will
    at_risk = (np.cumsum(counts, axis=1) * shown).sum(axis=0)
    if at_risk[-1] == 0:
        return None
    ended = (counts * shown).sum(axis=0)
    stay = 1 - np.divide(ended, at_risk, out=np.zeros(len(edges)), where=at_risk > 0)
    shares: Floats = np.append(np.cumprod(stay[:0:-1])[::-1], 1.0)
    return shares
