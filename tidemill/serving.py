"""How requests are answered: the label, what answers on old features, who gets which arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidemill.checks import check_one_of, check_range, check_whole
from tidemill.errors import DeclarationError

DefaultHead = Literal["release", "prior"]


@dataclass(frozen=True, slots=True)
class Serving:
    """How requests are answered.

    A binary label is 1 from a score of `threshold` on. Where an entity's features are older than a
    request tolerates, its windows count as missing and the `default_head` answers: the frozen
    `release`, or the `prior` that knows nothing. Who gets a canary is drawn once for each value of
    the entity `sticky` (its name; the first declared entity without one), so that one customer is
    not answered by two models in turn. `recorded` of the newest requests are kept to try new models
    on, and a model that takes longer than `slowest_us` microseconds for one of them is refused.
    """

    threshold: float = 0.5
    default_head: DefaultHead = "release"
    sticky: str | None = None
    recorded: int = 64
    slowest_us: float | None = None

    def __post_init__(self) -> None:
        check_range("Serving.threshold", self.threshold, 0, 1)
        check_one_of("Serving.default_head", self.default_head, ("release", "prior"))
        if self.sticky is not None and not isinstance(self.sticky, str):
            raise DeclarationError("Serving.sticky", self.sticky, "the name of an entity, or None")
        check_whole("Serving.recorded", self.recorded, 1, 10_000)
        if self.slowest_us is not None:
            check_range("Serving.slowest_us", self.slowest_us, 0.1, 60_000_000)
