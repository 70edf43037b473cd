"""Takes a model's place away when, over a minute, too many of its answers fail or come too late."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from api.measuring.measurements import Measurements
from api.ports import Ports
from tidemill.clock import Clock
from tidemill.demotion import Reason, demoted
from tidemill.errors import TidemillError
from tidemill.roles import RoleChange
from tidemill.topics import ALERTS, MODELS
from tidemill.trial import Trial
from tidemill.wire import Alert

BY = "api"
MINUTE_MS = 60_000
FEWEST = 100  # answers, or calls of a model, in a minute of which anything is said
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Counted:
    """What had been counted at a moment."""

    time_ms: int
    predictions: int
    failures: Counter[str]
    calls: dict[str, int]


class ArmLimits:
    """Compares what one process has measured with the declared limits, once a second.

    A model is judged when it has answered for a whole minute: what was measured while another had
    its place does not count.
    """

    def __init__(self, limits: Trial, measurements: Measurements, clock: Clock) -> None:
        self._limits, self._measurements, self._clock = limits, measurements, clock
        self._counted: deque[_Counted] = deque()
        self._answering: tuple[str, ...] = ()

    def judge(self, answering: Sequence[str]) -> tuple[str, str] | None:
        """The first of these releases that is beyond a limit, and why; None when none is."""
        limits, now = self._limits, self._clock.now_ms()
        if limits.errors is None and limits.latency_us is None:
            return None
        if tuple(answering) != self._answering:
            self._counted.clear()
            self._answering = tuple(answering)
        self._counted.append(self._count(now))
        while len(self._counted) > 1 and now - self._counted[1].time_ms >= MINUTE_MS:
            self._counted.popleft()
        before = self._counted[0]
        if now - before.time_ms < MINUTE_MS:
            return None
        for release in self._answering:
            why = self._failing(release, before) or self._slow(release, before)
            if why:
                return release, why
        return None

    def begin(self) -> None:
        """A model has lost its place: the next minute begins now."""
        self._counted.clear()

    def _count(self, now_ms: int) -> _Counted:
        found = self._measurements
        calls = {release: found.arm_seconds[release].count() for release in self._answering}
        return _Counted(now_ms, found.predictions, Counter(found.arm_failures), calls)

    def _failing(self, release: str, before: _Counted) -> str:
        limit, found = self._limits.errors, self._measurements
        asked = found.predictions - before.predictions
        failed = found.arm_failures[release] - before.failures[release]
        if limit is None or asked < FEWEST or failed <= limit * asked:
            return ""
        return f"found {failed} failures in {asked} requests of a minute; allowed: {limit:.2%}"

    def _slow(self, release: str, before: _Counted) -> str:
        limit = self._limits.latency_us
        if limit is None:
            return ""
        seconds = self._measurements.arm_seconds[release]
        calls = seconds.count() - before.calls.get(release, 0)
        p99 = seconds.percentiles_ms(calls)["p99"] if calls >= FEWEST else None
        if p99 is None or p99 * 1000 <= limit:
            return ""
        return (
            f"found a 99th percentile of {p99 * 1000:.1f} µs over {calls} calls of a minute; "
            f"allowed: {limit:g} µs"
        )


async def take_place_away(
    ports: Ports, clock: Clock, place: tuple[str, str], found: tuple[str, str]
) -> RoleChange | None:
    """Enter and announce that a release answers nobody any more; None when it was not entered.

    `place` are the schema and the learner's name, `found` what `judge` said. Never raises for a
    disk that does not take it, the next minute says the same again; nor for a broker that does not:
    whoever looks at the roles finds what was entered.
    """
    (schema, learner), (release, why) = place, found
    reason = Reason(BY, why, clock.now_ms())
    decide = partial(demoted, schema=schema, release=release, reason=reason)
    try:
        change = await asyncio.to_thread(ports.registry.enter, decide)
    except (OSError, TidemillError) as error:
        _LOG.error("place_not_taken_away", release=release, why=why, error=str(error))
        return None
    if change is not None:
        _LOG.error("place_taken_away", release=release, action=change.action, why=why)
        try:
            await _tell(ports, learner, release, change)
        except (OSError, TidemillError) as error:
            _LOG.error("place_taken_away_untold", release=release, error=str(error))
    return change


async def _tell(ports: Ports, learner: str, release: str, change: RoleChange) -> None:
    """Announce a change, and alert who watches. Raises BusUnavailable."""
    now = change.time_ms
    told = await asyncio.to_thread(ports.registry.announcement, change.release, learner, now)
    await ports.producer.send_many(MODELS, [(learner.encode(), told.encode())], 0)
    name = "champion_rolled_back" if change.instead_of else "challenger_silenced"
    alert = Alert(name, change.release, "began", change.why, now, now)
    await ports.producer.send_many(ALERTS, [(release.encode(), alert.encode())])
