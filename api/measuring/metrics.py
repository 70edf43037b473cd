"""What Prometheus scrapes: names from the closed list, values read only when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from api.adopting.model import ServedModel
from api.measuring.latency import Distribution
from api.measuring.measurements import Measurements
from tidemill.metrics import NAMES, PROCESS_NAMESPACE

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is looked at only while Prometheus asks.

    `models` are those loaded, each with its role: champion, shadow or canary. `scoring_queue`
    counts requests that wait for the group under way, `prediction_queue` predictions that wait for
    the broker, of which there may be `prediction_limit`.
    """

    models: Callable[[], Iterable[tuple[str, ServedModel]]]
    scoring_queue: Callable[[], int]
    prediction_queue: Callable[[], int]
    prediction_limit: int


class ApiCollector(Collector):
    """Turns the process's measurements into metric families."""

    def __init__(self, measurements: Measurements, gauges: Gauges) -> None:
        self._measurements, self._gauges = measurements, gauges

    def describe(self) -> list[Family]:
        """Nothing: the names are fixed, so a registry need not collect to learn them."""
        return []

    def collect(self) -> Iterator[Family]:
        """The families as they are now."""
        self._measurements.fold()
        yield from self._answers()
        yield from self._times()
        yield from self._models()
        yield from self._queues()

    def _answers(self) -> Iterator[Family]:
        m = self._measurements
        yield _counter("tidemill_requests_total",
                       {(r, str(status)): n for (r, status), n in m.requests.items()})  # fmt: skip
        yield _counter("tidemill_refusals_total", _by_one(m.refusals))
        yield _counter("tidemill_predictions_total", {(): m.predictions})
        yield _counter("tidemill_degraded_total", _by_one(m.degraded))
        yield _counter("tidemill_unknown_entities_total", _by_one(m.ages.unknown))
        yield _counter("tidemill_bad_cases_total", _by_one(m.bad_cases))
        yield _counter("tidemill_arm_answers_total", m.arm_answers)
        yield _counter("tidemill_arm_failures_total", _by_one(m.arm_failures))

    def _times(self) -> Iterator[Family]:
        m = self._measurements
        yield _histogram("tidemill_request_seconds", _by_one(m.request_seconds))
        yield _histogram("tidemill_stage_seconds", _by_one(m.stage_seconds))
        yield _histogram("tidemill_group_rows", {(): m.group_rows})
        yield _histogram("tidemill_feature_age_seconds", _by_one(m.ages.seconds))
        yield _histogram("tidemill_label_to_weights_seconds", {(): m.label_to_weights})
        yield _histogram("tidemill_arm_seconds", _by_one(m.arm_seconds))

    def _models(self) -> Iterator[Family]:
        models = {(each.release, role): each for role, each in self._gauges.models()}
        infos = {(release, each.schema, role): 1 for (release, role), each in models.items()}
        numbers = {place: each.snapshot for place, each in models.items()}
        adopted = {place: each.adopted_ms / 1000 for place, each in models.items()}
        yield _gauge("tidemill_model_info", infos)
        yield _gauge("tidemill_model_snapshot", numbers)
        yield _gauge("tidemill_model_adopted_timestamp_seconds", adopted)
        yield _counter("tidemill_swaps_total", _by_one(self._measurements.swaps))
        yield _counter("tidemill_swaps_refused_total", {(): self._measurements.swaps_refused})

    def _queues(self) -> Iterator[Family]:
        gauges = self._gauges
        yield _gauge("tidemill_scoring_queue_depth", {(): gauges.scoring_queue()})
        yield _gauge("tidemill_prediction_queue_depth", {(): gauges.prediction_queue()})
        yield _gauge("tidemill_prediction_queue_limit", {(): gauges.prediction_limit})
        yield _counter("tidemill_dropped_total", _by_one(self._measurements.drops))


def registry_of(collector: ApiCollector) -> CollectorRegistry:
    """A registry of its own with this collector, and what the system says of the process."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(namespace=PROCESS_NAMESPACE, registry=registry)
    return registry


def _by_one(values: Mapping[str, Value]) -> dict[tuple[str, ...], Value]:
    """Values under one label."""
    return {(name,): value for name, value in list(values.items())}


def _counter(name: str, values: Mapping[Any, float]) -> Family:
    metric = NAMES[name]
    family = CounterMetricFamily(name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _gauge(name: str, values: Mapping[Any, float]) -> Family:
    metric = NAMES[name]
    family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(name: str, distributions: Mapping[tuple[str, ...], Distribution]) -> Family:
    metric = NAMES[name]
    family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
    for labels, distribution in distributions.items():
        buckets, total = distribution.histogram()
        family.add_metric(labels, buckets, total)
    return family
