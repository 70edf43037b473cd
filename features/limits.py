"""The port of rate limits: how many requests of a caller's quota a process may answer by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Quota:
    """So many requests in a window of so many milliseconds."""

    requests: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Requests that a process may answer without asking again.

    `granted` of those it asked for; `left` is what nobody has taken yet in this window, which ends
    in `resets_ms` milliseconds and with it the lease.
    """

    granted: int
    left: int
    resets_ms: int


class LimitStore(Protocol):
    """Counts what all processes together have taken of a caller's quota; waits for the network.

    A window begins with the first request of a caller and ends by itself; in it never more than the
    quota is granted. Raises StoreUnavailable.
    """

    async def lease(self, caller: str, wanted: int, quota: Quota) -> Lease:
        """Take up to `wanted` requests (1 or more) of the caller's quota in this window."""
        ...


class MemoryLimits:
    """`LimitStore` of one process; `now_ms` tells the time in milliseconds."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._windows: dict[str, tuple[int, int]] = {}  # end of the window, requests taken in it

    async def lease(self, caller: str, wanted: int, quota: Quota) -> Lease:
        """At once."""
        now = self._now_ms()
        ends, used = self._windows.get(caller, (0, 0))
        if ends <= now:
            ends, used = now + quota.window_ms, 0
        granted = max(0, min(wanted, quota.requests - used))
        self._windows[caller] = (ends, used + granted)
        return Lease(granted, max(0, quota.requests - used - granted), ends - now)
