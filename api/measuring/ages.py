"""How old the features were that scores were computed from, kept by the group and counted later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from api.measuring.latency import AGE_BOUNDS_SECONDS, Distribution


class FeatureAges:
    """Per entity the time from its newest event to the request, and how often it was unknown."""

    def __init__(self) -> None:
        self.seconds: dict[str, Distribution] = {}
        self.unknown: Counter[str] = Counter()
        self._waiting: dict[tuple[str, ...], list[NDArray[np.float64]]] = {}

    def of(self, entities: Sequence[str]) -> Callable[[NDArray[np.float64]], None]:
        """What notes the ages of one declaration's groups: a list's own append.

        It takes float64 (requests, entities) in milliseconds, NaN for one never seen, and keeps
        the array, which nobody may change any more.
        """
        for name in entities:
            self.seconds.setdefault(name, Distribution(AGE_BOUNDS_SECONDS))
            self.unknown.setdefault(name, 0)
        return self._waiting.setdefault(tuple(entities), []).append

    def fold(self) -> None:
        """Count what was noted."""
        # A list: a thread that builds what serves next may add another declaration meanwhile.
        for entities, waiting in list(self._waiting.items()):
            if waiting:
                ages = np.concatenate(waiting) / 1000
                waiting.clear()
                self._count(entities, ages)

    def known(self) -> Mapping[str, Distribution]:
        """The distributions as they are now."""
        self.fold()
        return self.seconds

    def _count(self, entities: tuple[str, ...], seconds: NDArray[np.float64]) -> None:
        for column, name in enumerate(entities):
            own = seconds[:, column]
            seen = own[~np.isnan(own)]
            self.unknown[name] += len(own) - len(seen)
            self.seconds[name].add_many(seen)
