"""How much of a search's time, trials and cost is used up."""

from __future__ import annotations

from tidemill.clock import Clock
from tidemill.search import Search

REFINED = 0.65
"""From this share of the budget on, the best trees are averaged with copies, at lower rates too."""


class Budget:
    """What may be spent, by whoever asks; what was spent before a restart counts."""

    def __init__(
        self, search: Search, clock: Clock, cores: int, seconds_before: float = 0.0
    ) -> None:
        self._search, self._clock, self._cores = search, clock, max(1, cores)
        self._began, self._before = clock.now_ms(), seconds_before
        self.with_training = False
        self._reserved = 0.0

    def reserve(self, seconds: float) -> None:
        """Keep so much time for the release's training, if that is to be in the budget."""
        self._reserved = seconds if self.with_training else 0.0

    def seconds(self) -> float:
        """How long the search has taken."""
        return self._before + (self._clock.now_ms() - self._began) / 1000

    def core_seconds(self) -> float:
        """The same times the cores it has."""
        return self.seconds() * self._cores

    def seconds_left(self) -> float:
        """How long it may still take, by time and cost."""
        left = self._search.seconds - self._reserved - self.seconds()
        if self._search.core_seconds is not None:
            left = min(left, (self._search.core_seconds - self.core_seconds()) / self._cores)
        return left

    def seconds_free(self) -> float:
        """How long it may still take, what is kept for the release's training included."""
        return self.seconds_left() + self._reserved

    def share(self, trials: int) -> float:
        """Which share is used up after so many trials: of what ends first."""
        whole = self.seconds() + self.seconds_left()
        share = self.seconds() / whole if whole > 0 else 1.0
        most = self._search.trials
        return max(share, 0.0 if most is None else trials / most)

    def over(self, trials: int) -> str:
        """What has ended the search, empty while nothing has."""
        if self._search.trials is not None and trials >= self._search.trials:
            return "trials"
        if self.seconds() + self._reserved >= self._search.seconds:
            return "time"
        return "cost" if self.seconds_left() <= 0 else ""
