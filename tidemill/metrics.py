"""The closed list of metric names, each with its kind, labels and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PROCESS_NAMESPACE = "tidemill"
"""What the names begin with under which prometheus-client tells of the process itself."""


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
    Metric("tidemill_group_rows", "histogram", "Requests scored by one read and one model call"),
    Metric("tidemill_predictions_total", "counter", "Requests scored"),
    Metric("tidemill_refusals_total", "counter", "Requests refused", ("cause",)),
    Metric("tidemill_degraded_total", "counter", "Answers that lacked something", ("what",)),
    Metric("tidemill_dropped_total", "counter", "Given up because something is behind", ("what",)),
    Metric("tidemill_scoring_queue_depth", "gauge", "Requests waiting for the group under way"),
    Metric("tidemill_prediction_queue_depth", "gauge", "Predictions waiting for the broker"),
    Metric("tidemill_prediction_queue_limit", "gauge", "Predictions that may wait for the broker"),
    Metric(
        "tidemill_feature_age_seconds",
        "histogram",
        "Newest event of an entity to the request it was read for",
        ("group",),
    ),
    Metric(
        "tidemill_unknown_entities_total",
        "counter",
        "Requests for an entity that the store did not know",
        ("group",),
    ),
    Metric("tidemill_event_to_feature_seconds", "histogram", "Event produced to its feature"),
    Metric("tidemill_label_to_weights_seconds", "histogram", "Label produced to served weights"),
    Metric("tidemill_model_info", "gauge", "The models loaded", ("release", "schema", "role")),
    Metric("tidemill_model_snapshot", "gauge", "Number of their snapshot", ("release", "role")),
    Metric(
        "tidemill_model_adopted_timestamp_seconds",
        "gauge",
        "When their weights began to serve",
        ("release", "role"),
    ),
    Metric("tidemill_arm_answers_total", "counter", "Answers of a release", ("release", "arm")),
    Metric(
        "tidemill_arm_failures_total", "counter", "Vectors a release could not score", ("release",)
    ),
    Metric("tidemill_arm_seconds", "histogram", "Time of one model call", ("release",)),
    Metric("tidemill_swaps_total", "counter", "Models adopted", ("kind",)),
    Metric("tidemill_swaps_refused_total", "counter", "Artifacts refused"),
    Metric("tidemill_events_read_total", "counter", "Events read from the log"),
    Metric("tidemill_events_applied_total", "counter", "Events applied to the feature store"),
    Metric("tidemill_dead_letters_total", "counter", "Input that could not be used", ("cause",)),
    Metric("tidemill_labels_joined_total", "counter", "Labels joined to their prediction"),
    Metric("tidemill_labels_refused_total", "counter", "Labels not joined", ("cause",)),
    Metric(
        "tidemill_join_outcomes_total",
        "counter",
        "What became of labels and predictions",
        ("outcome",),
    ),
    Metric("tidemill_examples_learned_total", "counter", "Examples learned"),
    Metric("tidemill_examples_quarantined_total", "counter", "Examples put aside, not learned"),
    Metric("tidemill_learning_paused", "gauge", "1 while the breaker keeps learning paused"),
    Metric("tidemill_learning_pauses_total", "counter", "Times learning was paused", ("reason",)),
    Metric("tidemill_releases_given_up_total", "counter", "Releases that did not take over"),
    Metric("tidemill_releases_refused_total", "counter", "Releases that could not be used"),
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
    Metric("tidemill_calibration_error", "gauge", "Expected calibration error of them", ("role",)),
    Metric("tidemill_accuracy", "gauge", "Share of them on the right side of 0.5", ("role",)),
    Metric("tidemill_mae", "gauge", "Mean absolute error over the newest examples", ("role",)),
    Metric("tidemill_rmse", "gauge", "Root mean squared error of them", ("role",)),
    Metric("tidemill_slice_auc", "gauge", "AUC of a slice", ("slice", "value", "role")),
    Metric("tidemill_slice_log_loss", "gauge", "Log-loss of a slice", ("slice", "value", "role")),
    Metric("tidemill_slice_rmse", "gauge", "RMSE of a slice", ("slice", "value", "role")),
    Metric("tidemill_maturity_seconds", "gauge", "Age by which a share of labels came", ("share",)),
    Metric("tidemill_drift_alerts_total", "counter", "Alerts of drift", ("subject",)),
    Metric("tidemill_process_start_time_seconds", "gauge", "When the process started"),
    Metric("tidemill_process_cpu_seconds_total", "counter", "Processor time used"),
    Metric("tidemill_process_resident_memory_bytes", "gauge", "Memory in use"),
    Metric("tidemill_process_virtual_memory_bytes", "gauge", "Memory addressed"),
    Metric("tidemill_process_open_fds", "gauge", "Files and connections open"),
    Metric("tidemill_process_max_fds", "gauge", "Files and connections that may be open"),
)
NAMES = {metric.name: metric for metric in _ALL}
