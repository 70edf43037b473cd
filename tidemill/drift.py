"""What counts as drift, and whether it starts a retrain."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.checks import check_kind, check_one_of, check_range, check_unique, check_whole
from tidemill.durations import duration_ms
from tidemill.errors import DeclarationError

DETECTORS = ("adwin", "page_hinkley", "kswin")


@dataclass(frozen=True, slots=True)
class Drift:
    """Watches the loss of what was answered, the scores and the features; alerts say what moved.

    River's `detectors` watch the loss, as means of `block` examples; an alarm counts when the loss
    has risen by the share `loss_limit`. Scores and features are compared by the population
    stability index (PSI): the first `reference` examples of a release with its `newest`; from
    `psi_limit` on it is an alert. `ignore` names features that always move, such as the hour.
    `retrain` starts a retrain while an alert stands, at most one per `cooldown`.
    """

    detectors: tuple[str, ...] = DETECTORS
    loss_limit: float = 0.05
    psi_limit: float = 0.2
    ignore: tuple[str, ...] = ()
    reference: int = 10_000
    newest: int = 2_000
    block: int = 32
    retrain: bool = False
    cooldown: str = "6h"

    def __post_init__(self) -> None:
        for name in ("detectors", "ignore"):
            if not isinstance(getattr(self, name), tuple):
                raise DeclarationError(f"Drift.{name}", getattr(self, name), "a tuple of names")
        for detector in self.detectors:
            check_one_of("Drift.detectors", detector, DETECTORS)
        check_unique("Drift.detectors", self.detectors)
        check_kind("Drift.ignore", self.ignore, str, "names of features")
        check_range("Drift.loss_limit", self.loss_limit, 0, 10)
        check_range("Drift.psi_limit", self.psi_limit, 0.01, 100)
        check_whole("Drift.reference", self.reference, 100, 1_000_000)
        check_whole("Drift.newest", self.newest, 100, 100_000)
        check_whole("Drift.block", self.block, 1, 10_000)
        check_kind("Drift.retrain", (self.retrain,), bool, "True or False")
        duration_ms("Drift.cooldown", self.cooldown)

    @property
    def cooldown_ms(self) -> int:
        """The least time between two starts of a retrain, in milliseconds of the clock."""
        return duration_ms("Drift.cooldown", self.cooldown)
