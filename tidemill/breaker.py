"""When learning is stopped: the declared limits of what a learner may be fed and may do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidemill.checks import check_range, check_whole

_NONE = 1e9  # no limit


@dataclass(frozen=True, slots=True)
class Breaker:
    """Limits on every `window` examples learned; one that is passed pauses learning.

    For values other than 0 and 1 the first three are in units of the labels' usual spread.
    """

    window: int = 1000
    label_shift: float = 0.6
    """The mean label, against its usual one."""
    calibration: float = 0.4
    """The mean label, against the mean of the scores that were answered."""
    producer_loss: float = 0.5
    """The mean loss of one producer's labels (log-loss, squared error), above all others'."""
    producer_share: float = 1.0
    """The share of the examples that may be one producer's."""
    update_norm: float = 20.0
    """How far the weights move, as a multiple of how far they usually do."""

    def __post_init__(self) -> None:
        check_whole("Breaker.window", self.window, 10, 10_000_000)
        for name in ("label_shift", "calibration", "producer_loss", "update_norm"):
            check_range(f"Breaker.{name}", getattr(self, name), 1e-6, _NONE)
        check_range("Breaker.producer_share", self.producer_share, 0.01, 1)

    def of_learner(self) -> Breaker:
        """The limits on what a learner does; what all are fed is judged elsewhere."""
        return replace(
            self, label_shift=_NONE, calibration=_NONE, producer_loss=_NONE, producer_share=1.0
        )
