"""The worker's metrics: Prometheus instruments for names in `tidemill.metrics`, and totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import prometheus_client

from tidemill.metrics import NAMES, PROCESS_NAMESPACE

_KINDS: dict[str, Any] = {
    "counter": prometheus_client.Counter,
    "gauge": prometheus_client.Gauge,
    "histogram": prometheus_client.Histogram,
}
_USED = (
    "tidemill_events_read_total",
    "tidemill_events_applied_total",
    "tidemill_event_to_feature_seconds",
    "tidemill_dead_letters_total",
    "tidemill_labels_joined_total",
    "tidemill_labels_refused_total",
    "tidemill_join_outcomes_total",
    "tidemill_examples_learned_total",
    "tidemill_examples_quarantined_total",
    "tidemill_learning_paused",
    "tidemill_learning_pauses_total",
    "tidemill_releases_given_up_total",
    "tidemill_releases_refused_total",
    "tidemill_bad_cases_total",
    "tidemill_snapshots_total",
    "tidemill_archived_records_total",
    "tidemill_batch_seconds",
    "tidemill_consumer_lag_records",
    "tidemill_paused",
    "tidemill_skew_rate",
    "tidemill_skew_vectors",
    "tidemill_auc",
    "tidemill_log_loss",
    "tidemill_calibration_error",
    "tidemill_accuracy",
    "tidemill_mae",
    "tidemill_rmse",
    "tidemill_slice_auc",
    "tidemill_slice_log_loss",
    "tidemill_slice_rmse",
    "tidemill_maturity_seconds",
    "tidemill_drift_alerts_total",
)

_BOUNDS = {
    "tidemill_batch_seconds": prometheus_client.Histogram.DEFAULT_BUCKETS,
    "tidemill_event_to_feature_seconds": (
        0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3_600, 86_400,
    ),
}  # fmt: skip


class Measurements:
    """Counts since this process started."""

    def __init__(self) -> None:
        # Of each counter and histogram it would export when it was made, as a series of its own.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = prometheus_client.CollectorRegistry()
        self._instruments = {name: _instrument(name, self.registry) for name in _USED}
        prometheus_client.ProcessCollector(namespace=PROCESS_NAMESPACE, registry=self.registry)
        self.totals: Counter[str] = Counter()
        self.lags: dict[str, int] = {}
        self._labelled: dict[str, set[tuple[str, ...]]] = {}

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Increase a counter."""
        if amount:
            instrument = self._instruments[name]
            (instrument.labels(**labels) if labels else instrument).inc(amount)
            self.totals[name] += amount

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        instrument = self._instruments[name]
        (instrument.labels(**labels) if labels else instrument).set(value)

    def gauges(self, name: str, values: Sequence[tuple[float, Mapping[str, str]]]) -> None:
        """Set a gauge for these labels and for no others: those set before are gone."""
        instrument = self._instruments[name]
        for value, labels in values:
            instrument.labels(**labels).set(value)
        labelled = {tuple(labels[each] for each in NAMES[name].labels) for _, labels in values}
        for gone in self._labelled.get(name, set()) - labelled:
            instrument.remove(*gone)
        self._labelled[name] = labelled

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one value to a histogram."""
        instrument = self._instruments[name]
        (instrument.labels(**labels) if labels else instrument).observe(value)

    def batch(self, step: str, seconds: float) -> None:
        """Note how long a micro-batch took."""
        self.observe("tidemill_batch_seconds", seconds, step=step)

    def lag(self, step: str, records: int) -> None:
        """Note how many records wait for a step."""
        self.lags[step] = records
        self._instruments["tidemill_consumer_lag_records"].labels(step=step).set(records)


def _instrument(name: str, registry: prometheus_client.CollectorRegistry) -> Any:
    metric = NAMES[name]
    more = {"buckets": _BOUNDS[name]} if metric.kind == "histogram" else {}
    return _KINDS[metric.kind](name, metric.help, metric.labels, registry=registry, **more)
