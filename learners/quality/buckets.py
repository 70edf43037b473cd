"""Quality by the time at which predictions were made, with how many labels are still to come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.quality.maturity import delay_bins, delay_edges, shares_by_age
from learners.quality.tally import Tally
from tidemill.quality import Bucket, Maturity
from tidemill.tasks import Task

PER_WAIT = 12  # buckets in the time a label may take
KEPT = 4 * PER_WAIT
MATURE = 0.9
_POINTS = 9  # ages in a bucket over which its maturity is averaged
_STEPS_MS = tuple(
    seconds * 1000
    for seconds in (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def step_of(wait_ms: int) -> int:
    """A bucket's length (ms): the shortest round one of which `PER_WAIT` cover the wait."""
    return next((step for step in _STEPS_MS if step * PER_WAIT >= wait_ms), wait_ms // PER_WAIT)


class Buckets:
    """The newest `KEPT` buckets of `step_ms` each; what is older has left."""

    def __init__(self, task: Task, roles: tuple[str, ...], wait_ms: int, step_ms: int) -> None:
        self._roles, self._wait, self._step = roles, wait_ms, step_ms
        self._tallies = [Tally(task, KEPT) for _ in roles]
        self._edges = delay_edges(wait_ms)
        self._delays = np.zeros((KEPT, len(self._edges)), np.int64)
        self._numbers = np.full(KEPT, -1, np.int64)

    def add(self, times: Ints, labels: Floats, scores: Floats, weights: Floats) -> None:
        """Take in examples by the times (ms) of their predictions; `scores` is (roles, rows)."""
        self._claim(times)
        self.put(times, labels, scores, weights, 1)

    def note_delays(self, times: Ints, delays: Ints) -> None:
        """Count how long (ms) the first labels of predictions of these times took."""
        kept = self._kept(times)
        bins = delay_bins(delays[kept], self._edges)
        np.add.at(self._delays, (times[kept] // self._step % KEPT, bins), 1)

    def put(self, times: Ints, labels: Floats, scores: Floats, weights: Floats, sign: int) -> None:
        """As `add`, into the buckets that are there; `sign` -1 takes the examples out."""
        kept = self._kept(times)
        slots = times[kept] // self._step % KEPT
        for tally, each in zip(self._tallies, scores, strict=True):
            tally.add(slots, labels[kept], each[kept], weights[kept], sign)

    def maturity(self, now: int, since: int, before: Maturity | None) -> Maturity:
        """The share of labels that comes by each age; `before` is what is known until then.

        Only buckets that began after `since` are asked: of older ones the early labels are missing.
        """
        oldest = np.where(
            self._numbers * self._step >= since, now - (self._numbers + 1) * self._step, -1
        )
        shares = shares_by_age(self._delays, oldest.astype(np.float64), self._edges)
        if shares is None:
            return before or Maturity(self._wait, False, [], [])
        ages = [int(edge) for edge in self._edges]
        return Maturity(self._wait, True, ages, [round(share, 4) for share in shares.tolist()])

    def report(self, now: int, since: int, maturity: Maturity) -> list[Bucket]:
        """Every bucket that has examples, oldest first."""
        held = [int(slot) for slot in np.argsort(self._numbers) if self._tallies[0].rows[slot] > 0]
        return [self._bucket(slot, now, since, maturity) for slot in held]

    def _bucket(self, slot: int, now: int, since: int, maturity: Maturity) -> Bucket:
        begin = int(self._numbers[slot]) * self._step
        end = begin + self._step
        share = share_come(maturity, now - end, now - begin)
        return Bucket(
            begin, end, int(self._tallies[0].rows[slot]),
            {r: t.measures(slot) for r, t in zip(self._roles, self._tallies, strict=True)},
            maturity=None if share is None else round(share, 4),
            young=share is None or share < MATURE,
            partial=begin < since,
        )  # fmt: skip

    def _claim(self, times: Ints) -> None:
        """Begin the buckets that these times are the first of."""
        for number in np.unique(times // self._step).tolist():
            slot = number % KEPT
            if number > self._numbers[slot]:
                self._numbers[slot] = number
                self._delays[slot] = 0
                for tally in self._tallies:
                    tally.clear(slot)

    def _kept(self, times: Ints) -> NDArray[np.bool_]:
        numbers = times // self._step
        kept: NDArray[np.bool_] = self._numbers[numbers % KEPT] == numbers
        return kept


def share_come(maturity: Maturity, youngest: int, oldest: int) -> float | None:
    """The share of labels that has come to predictions of these ages (ms), None if not known."""
    if youngest >= maturity.wait_ms:
        return 1.0
    if not maturity.known:
        return None
    ages = np.linspace(max(youngest, 0), max(oldest, 0), _POINTS)
    shares = np.interp(ages, [0, *maturity.ages_ms], [0.0, *maturity.shares])
    return float(np.where(ages >= maturity.wait_ms, 1.0, shares).mean())
