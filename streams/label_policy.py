"""What labels come to: several summed up, how much an example weighs, which negatives are kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from tidemill.label import MISSING, Label, Several

_HASHES = 2.0**64
_UNIT = 1 << 20  # counts of the late share are whole numbers of this part of a positive
_MEMORY_SHIFT = 13  # every positive takes 1/8192 off the counts: some 8000 positives are remembered
_DOUBT = 10 * _UNIT  # positives on time that are assumed before any is seen


class Gathered(msgspec.Struct, frozen=True, array_like=True):
    """Several labels of one prediction, in bounded space.

    `last` is the value of the newest by its own time; time, stamp and producer are that label's.
    """

    count: int
    total: float
    largest: float
    last: float
    time: int
    produced_ms: int
    producer: str

    def plus(self, other: Gathered) -> Gathered:
        """These labels and those read after them."""
        newest = other if other.time >= self.time else self
        return Gathered(
            self.count + other.count,
            self.total + other.total,
            max(self.largest, other.largest),
            newest.last,
            newest.time,
            newest.produced_ms,
            newest.producer,
        )

    def value(self, several: Several) -> float:
        """What they come to."""
        if several == "sum":
            return self.total
        if several == "mean":
            return self.total / self.count
        return self.largest if several == "max" else self.last


def corrected(several: Several, before: Gathered | None, label: Gathered) -> Gathered:
    """What is known after a correction: for `first` what it says, else all labels together."""
    if before is None or several == "first":
        return label
    return before.plus(label)


@dataclass(slots=True)
class LateShare:
    """The share of positives that came after the wait, the older the less they count.

    Whole numbers, so that the fence can hold them and a replay comes to the very same.
    """

    positives: int = 0
    late: int = 0

    def add(self, *, late: bool) -> None:
        """Count one more positive."""
        self.positives += _UNIT - (self.positives >> _MEMORY_SHIFT)
        self.late += late * _UNIT - (self.late >> _MEMORY_SHIFT)

    @property
    def share(self) -> float:
        """From 0 to 1; 0 before the first."""
        return self.late / (self.positives + _DOUBT)


def importance(score: float, late_share: float, kind: str) -> float:
    """How much an example weighs where a missing label counts as a negative until corrected.

    Ktena et al., "Addressing Delayed Feedback for Continuous Training with Neural Networks in CTR
    Prediction" (RecSys 2019), the fake negative weighted loss, for a wait after which a share q of
    the positives still comes. Of predictions with probability p the stream shows p positives and
    (1 - p) + pq negatives, 1 + pq examples in all; true are p and 1 - p. So positives weigh
    p / (p / (1 + pq)) and negatives (1 - p) / ((1 - p + pq) / (1 + pq)); with q = 1 that is the
    paper's. `score` is the p that was answered; labels that were said weigh as positives do.
    """
    p = min(score, 1.0) if score > 0 else 0.0  # NaN too
    seen, negatives = 1 + p * late_share, 1 - p + p * late_share
    if kind != MISSING:
        return seen
    return seen * (1 - p) / negatives if negatives > 0 else 0.0


def keeps_negative(prediction_id: str, share: float) -> bool:
    """True for the share of predictions whose negatives become examples; the same ones always.

    McMahan et al., "Ad Click Prediction: a View from the Trenches" (KDD 2013), section 4,
    "Subsampling Training Data": those kept weigh 1 / share, so that expected gradients, and with
    them the log-odds, stay what they were.
    """
    digest = hashlib.blake2b(prediction_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / _HASHES < share


def ends_at_first(label: Label) -> bool:
    """True when one label is all that ever counts: a second is refused at once."""
    return label.several == "first" and label.corrections is None
