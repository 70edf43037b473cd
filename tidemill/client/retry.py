"""When a call is tried again, and how long it waits before: a policy, and one call's attempts."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tidemill.client.errors import IN_PROGRESS, BadAnswer, ClientError, NoAnswer, Refusal

_PASSING = (502, 503, 504)
_MOST_DOUBLINGS = 30
LEAST_SECONDS = 0.01
"""An attempt that has less time is not made: it would only hide what was wrong before."""


def _full_jitter(most: float) -> float:
    return random.uniform(0, most)


@dataclass(frozen=True, slots=True)
class Retry:
    """For how long a call is tried, and how attempts spread.

    Before the nth further attempt it waits between 0 and `first_seconds` * 2^(n-1), at most
    `most_seconds`: full jitter (Brooker, "Exponential Backoff And Jitter", 2015), so that callers
    who failed together do not come back together. What the api asks for in `Retry-After` comes on
    top. A wait that would end after `deadline_seconds` is not begun: the error is raised.
    """

    deadline_seconds: float = 30.0
    first_seconds: float = 0.05
    most_seconds: float = 5.0
    draw: Callable[[float], float] = _full_jitter

    def __post_init__(self) -> None:
        if not self.deadline_seconds > 0:
            found = self.deadline_seconds
            raise ValueError(f"Retry.deadline_seconds: found {found!r}; allowed: above 0")
        for name in ("first_seconds", "most_seconds"):
            found = getattr(self, name)
            if not found >= 0:
                raise ValueError(f"Retry.{name}: found {found!r}; allowed: 0 or more")


class Attempts:
    """One call's attempts, from `now` on (seconds on a clock that never goes back)."""

    def __init__(self, retry: Retry, repeatable: bool, now: float) -> None:
        """`repeatable`: what arrives twice does no more than what arrives once."""
        self._retry, self._repeatable = retry, repeatable
        self._ends = now + retry.deadline_seconds
        self._error: ClientError | None = None
        self.count = 1

    def left(self, now: float) -> float:
        """Seconds until the deadline. Raises the last error where hardly any are left."""
        left = max(0.0, self._ends - now)
        if self._error is not None and left < LEAST_SECONDS:
            raise self._error
        return left

    def pause(self, error: ClientError, now: float) -> float:
        """Seconds to wait before trying again. Raises the error where that is not to be done."""
        error.attempts = self.count
        self._error = error
        if not self._passes(error):
            raise error
        doublings = min(self.count - 1, _MOST_DOUBLINGS)
        most = min(self._retry.most_seconds, self._retry.first_seconds * 2**doublings)
        asked = error.retry_after if isinstance(error, Refusal) else None
        pause = (asked or 0.0) + self._retry.draw(most)
        if now + pause + LEAST_SECONDS > self._ends:
            raise error
        self.count += 1
        return pause

    def _passes(self, error: ClientError) -> bool:
        """Whether another attempt may do better, and may be made."""
        if isinstance(error, BadAnswer):
            return False
        if isinstance(error, NoAnswer):
            return self._repeatable or not error.sent
        assert isinstance(error, Refusal)
        if error.status == 429:  # refused before anything was done
            return True
        if error.status == 409:
            return error.cause == IN_PROGRESS
        return self._repeatable and error.status in _PASSING
