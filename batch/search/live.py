"""A search's progress: how much of the budget is used up, and the best by now."""

from __future__ import annotations

import threading
from types import TracebackType

from batch.progress import Noting, Progress
from batch.search.budget import Budget
from batch.search.trials import Trial, ranked

STEPS = 100


class Live:
    """Tells a progress of each trial that ends; several threads may call it."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._done, self._lock = progress, 0, threading.Lock()

    def __enter__(self) -> Live:
        self._progress.start("search", STEPS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._to(STEPS)

    def __call__(self, trials: list[Trial], budget: Budget) -> None:
        """See `Told`."""
        with self._lock:
            self._to(min(STEPS, int(STEPS * budget.share(len(trials)))))
            best = ranked(trials)[:1]
            if isinstance(self._progress, Noting):
                said = f"{best[0].loss:.5f} ({best[0].family})" if best else "none yet"
                self._progress.note(f"search: {len(trials)} trials, best {said}")

    def _to(self, step: int) -> None:
        if step > self._done:
            self._progress.advance(step - self._done)
            self._done = step
