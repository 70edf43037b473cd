"""What Prometheus scrapes: names from the closed list, values read only when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from api.latency import LatencyRecorder
from api.measurements import Measurements
from api.model import ModelSlot
from tidemill.metrics import NAMES


class ApiCollector(Collector):
    """Turns the process's measurements into metric families."""

    def __init__(
        self,
        measurements: Measurements,
        slot: Callable[[], ModelSlot],
        queue_depth: Callable[[], int],
    ) -> None:
        self._measurements, self._slot, self._queue_depth = measurements, slot, queue_depth

    def describe(self) -> list[Family]:
        """Nothing: the names are fixed, so a registry need not collect to learn them."""
        return []

    def collect(self) -> Iterator[Family]:
        """The families as they are now."""
        m = self._measurements
        yield _counter("tidemill_requests_total",
                       {(r, str(status)): n for (r, status), n in m.requests.items()})  # fmt: skip
        yield _histogram(
            "tidemill_request_seconds", {(r,): s for r, s in m.request_seconds.items()}
        )
        yield _histogram("tidemill_stage_seconds", {(r,): s for r, s in m.stage_seconds.items()})
        yield _histogram("tidemill_label_to_weights_seconds", {(): m.label_to_weights})
        yield _counter("tidemill_predictions_total", {(): m.predictions})
        yield _counter("tidemill_bad_cases_total", {(r,): n for r, n in m.bad_cases.items()})
        yield _counter("tidemill_swaps_total", {(kind,): n for kind, n in m.swaps.items()})
        yield _counter("tidemill_swaps_refused_total", {(): m.swaps_refused})
        yield _gauge("tidemill_prediction_queue_depth", {(): self._queue_depth()})
        model = self._slot().current
        yield _gauge("tidemill_model_info", {(model.release,): 1})
        yield _gauge("tidemill_model_snapshot", {(): model.snapshot})


def registry_of(collector: ApiCollector) -> CollectorRegistry:
    """A registry of its own with just this collector."""
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def _counter(name: str, values: dict[tuple[str, ...], int]) -> Family:
    metric = NAMES[name]
    family = CounterMetricFamily(name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _gauge(name: str, values: dict[tuple[str, ...], int]) -> Family:
    metric = NAMES[name]
    family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(name: str, recorders: dict[tuple[str, ...], LatencyRecorder]) -> Family:
    metric = NAMES[name]
    family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
    for labels, recorder in recorders.items():
        buckets, total = recorder.histogram()
        family.add_metric(labels, buckets, total)
    return family
