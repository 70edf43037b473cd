"""Whether a step waits for the store or the broker: said once when it begins, once when it ends."""

from __future__ import annotations

from collections.abc import Hashable

import structlog

from streams.alerts import Alerts
from streams.measurements import Measurements
from tidemill.errors import TidemillError
from tidemill.wire import Alert

PAUSED = "paused"
_log = structlog.get_logger()


class Outage:
    """One step's; it lasts as long as any of the step's parts (partitions, reading) fails."""

    def __init__(
        self,
        step: str,
        measurements: Measurements,
        alerts: Alerts,
        first_wait_seconds: float,
        last_wait_seconds: float,
    ) -> None:
        self._step, self._measurements, self._alerts = step, measurements, alerts
        self._first, self._last = first_wait_seconds, last_wait_seconds
        self._waits: dict[Hashable, float] = {}
        self._alert: Alert | None = None
        measurements.gauge("tidemill_paused", 0, step=step)

    def failed(self, part: Hashable, what: str, error: TidemillError) -> float:
        """A part failed; returns how many seconds to wait, each time longer, before trying again.

        Only the first failure of an outage is logged, measured and announced.
        """
        wait = self._waits.get(part, self._first)
        self._waits[part] = min(2 * wait, self._last)
        if self._alert is None:
            _log.warning(what, step=self._step, error=str(error))
            self._measurements.gauge("tidemill_paused", 1, step=self._step)
            self._alert = self._alerts.began(PAUSED, self._step, f"{what}: {error}")
        return wait

    def worked(self, part: Hashable) -> None:
        """A part did its work, or is not this worker's any more."""
        if self._waits.pop(part, None) is None or self._waits or self._alert is None:
            return
        ended = self._alerts.ended(self._alert, "resumed")
        self._alert = None
        _log.warning("resumed", step=self._step, seconds=(ended.time_ms - ended.began_ms) / 1000)
        self._measurements.gauge("tidemill_paused", 0, step=self._step)
