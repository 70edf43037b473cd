"""Drift as it runs: what moved becomes an alert and, where declared, starts a retrain."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import structlog

from learners.drift.monitor import Change, DriftMonitor
from streams.alerts import Alerts
from streams.context import Context
from tidemill.drift import Drift
from tidemill.quality import DriftAlert
from tidemill.wire import Alert, Example

ALERT = "drift"
SHOWN = 20
StartRetrain = Callable[[str], bool]
_log = structlog.get_logger()


class Cooldown:
    """At most one start per `every_ms`, those of an earlier process included."""

    def __init__(self, every_ms: int, last_ms: int | None = None) -> None:
        self._every_ms, self._last_ms = every_ms, last_ms

    def is_over(self, now_ms: int) -> bool:
        """Whether another may start now (ms of the clock)."""
        return self._last_ms is None or now_ms - self._last_ms >= self._every_ms

    def started(self, now_ms: int) -> None:
        """One starts now."""
        self._last_ms = now_ms


class DriftWatch:
    """Hands learned examples to the monitor; `alerts` and the log get what it finds.

    `start_retrain` takes the reason and says whether a retrain has started; it must not wait.
    `last_retrain_ms` is when an earlier process started one.
    """

    def __init__(
        self,
        settings: Drift,
        context: Context,
        alerts: Alerts,
        start_retrain: StartRetrain,
        last_retrain_ms: int | None = None,
    ) -> None:
        plan = context.plan
        self._settings = settings
        self._monitor = DriftMonitor(settings, plan.schema.names, plan.project.task)
        self._measurements, self._clock, self._alerts = context.measurements, context.clock, alerts
        self._start_retrain = start_retrain
        self._cooldown = Cooldown(settings.cooldown_ms, last_retrain_ms)
        self._standing: dict[str, Alert] = {}
        self._recent: deque[DriftAlert] = deque(maxlen=SHOWN)

    @property
    def recent(self) -> list[DriftAlert]:
        """The newest alerts, the newest first."""
        return list(self._recent)

    def add(self, examples: Sequence[Example]) -> None:
        """Take in one micro-batch of examples in the log's order; waits for nothing."""
        now = self._clock.now_ms()
        for change in self._monitor.add(examples, now):
            self._tell(change)
        if self._settings.retrain and self._standing and self._cooldown.is_over(now):
            self._retrain(now)

    def _tell(self, change: Change) -> None:
        subject = change.subject
        if change.state == "began":
            alert = self._standing[subject] = self._alerts.began(ALERT, subject, change.message)
            self._measurements.count("tidemill_drift_alerts_total", subject=subject)
        else:
            alert = self._alerts.ended(self._standing.pop(subject), change.message)
        self._recent.appendleft(DriftAlert(alert.time_ms, subject, alert.state, alert.message))
        _log.warning("drift", subject=subject, state=alert.state, message=alert.message)

    def _retrain(self, now: int) -> None:
        """Start one; where another still runs, the next micro-batch asks again."""
        if self._start_retrain(self._monitor.standing):
            self._cooldown.started(now)
