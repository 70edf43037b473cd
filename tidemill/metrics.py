"""The closed list of metric names, each with its kind, labels and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as Prometheus sees it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


_ALL = (
    Metric("tidemill_requests_total", "counter", "HTTP requests answered", ("route", "status")),
    Metric("tidemill_request_seconds", "histogram", "Time to answer a scoring request", ("route",)),
    Metric("tidemill_stage_seconds", "histogram", "Time of one stage of scoring", ("stage",)),
    Metric("tidemill_predictions_total", "counter", "Requests scored"),
    Metric("tidemill_prediction_queue_depth", "gauge", "Predictions waiting for the broker"),
    Metric("tidemill_label_to_weights_seconds", "histogram", "Label produced to served weights"),
    Metric("tidemill_model_info", "gauge", "The release being served", ("release",)),
    Metric("tidemill_model_snapshot", "gauge", "Number of the snapshot being served"),
    Metric("tidemill_swaps_total", "counter", "Models adopted", ("kind",)),
    Metric("tidemill_swaps_refused_total", "counter", "Artifacts refused"),
    Metric("tidemill_events_read_total", "counter", "Events read from the log"),
    Metric("tidemill_events_applied_total", "counter", "Events applied to the feature store"),
    Metric("tidemill_dead_letters_total", "counter", "Input that could not be used", ("cause",)),
    Metric("tidemill_labels_joined_total", "counter", "Labels joined to their prediction"),
    Metric("tidemill_labels_refused_total", "counter", "Labels not joined", ("cause",)),
    Metric("tidemill_examples_learned_total", "counter", "Examples learned"),
    Metric("tidemill_bad_cases_total", "counter", "Bad cases found", ("reason",)),
    Metric("tidemill_snapshots_total", "counter", "Snapshots published"),
    Metric("tidemill_archived_records_total", "counter", "Records archived", ("topic",)),
    Metric("tidemill_batch_seconds", "histogram", "Time of one micro-batch", ("step",)),
    Metric("tidemill_consumer_lag_records", "gauge", "Records not yet processed", ("step",)),
    Metric("tidemill_paused", "gauge", "1 while a step waits for store or broker", ("step",)),
    Metric("tidemill_skew_rate", "gauge", "Share of vectors that the raw log does not give"),
    Metric("tidemill_skew_vectors", "gauge", "Vectors of the newest look by result", ("result",)),
    Metric("tidemill_auc", "gauge", "AUC over the newest examples", ("role",)),
    Metric("tidemill_log_loss", "gauge", "Log-loss over the newest examples", ("role",)),
)
NAMES = {metric.name: metric for metric in _ALL}
