"""The closed list of problems the api answers with: what each cause means, for people."""

from __future__ import annotations

PROBLEMS_PATH = "/v1/problems"

TITLES = {
    "malformed": "The body is not JSON",
    "missing_field": "A field is missing",
    "unknown_field": "A field is not declared",
    "wrong_type": "A value has the wrong type",
    "invalid_value": "A value is not allowed",
    "absurd_time": "A time is before 1970 or in the future",
    "wrong_id": "An id cannot be one of this entity",
    "unknown_event": "No such kind of event is declared",
    "unknown_entity": "No such entity is declared",
    "invalid_cloudevent": "A CloudEvent lacks what one must have",
    "too_many_requests": "A batch is too large",
    "too_many_events": "A batch is too large",
    "too_many_labels": "A batch is too large",
    "too_many_parameters": "The query has too many parameters",
    "repeated_parameter": "A parameter of the query is given twice",
    "unknown_parameter": "A parameter of the query is not known",
    "wrong_shape": "A tensor has the wrong shape",
    "unknown_tensor": "No such tensor is declared",
    "missing_tensor": "A tensor is missing",
    "repeated_tensor": "A tensor is given twice",
    "unsupported_media_type": "The body's media type is not taken here",
    "body_too_large": "The body is too large",
    "unauthorized": "No key or token that is valid came with the request",
    "forbidden": "The key is not for this",
    "rate_limited": "Too many requests for this key",
    "unknown_route": "There is no such route",
    "method_not_allowed": "The route takes another method",
    "unknown_prediction": "There is no such prediction",
    "unknown_quality": "No quality is known yet",
    "unknown_release": "There is no such release",
    "unknown_version": "This version does not answer",
    "unknown_model": "There is no such model",
    "not_explained": "The model cannot be explained",
    "no_release": "There is no such release",
    "retired": "The release was retired",
    "role": "The release's role does not allow it",
    "champion": "The release is the champion",
    "damaged_release": "The release fails its checks",
    "no_orders": "This process takes no orders about releases",
    "idempotency_key_reused": "The idempotency key came with another request before",
    "request_in_progress": "The same request is being answered",
    "not_ready": "The service is not ready",
    "queue_full": "The broker is behind",
    "broker_unavailable": "The broker does not answer",
    "store_unavailable": "The store does not answer",
    "disk_unavailable": "The disk does not take it",
    "archive_unavailable": "The archive does not answer",
    "no_replay": "This process replays no predictions",
    "replay_busy": "Another prediction is being replayed",
    "replay_too_long": "The replay takes too long",
    "replay_failed": "The replay failed",
    "share": "The other challengers do not leave this share",
    "refused": "The request was refused",
    "internal_error": "An error of the service",
}
"""What each cause means. A cause that is not here is said in its own words."""


def title_of(cause: str) -> str:
    """A cause in words; the same for every request."""
    return TITLES.get(cause) or cause.replace("_", " ").capitalize()


def problem_type(cause: str) -> str:
    """The URI reference that identifies a kind of problem (RFC 9457, section 3.1.1)."""
    return f"{PROBLEMS_PATH}#{cause}"


def problem_types() -> dict[str, dict[str, str]]:
    """Every kind of problem by its cause, as `GET /v1/problems` answers."""
    return {cause: {"type": problem_type(cause), "title": title} for cause, title in TITLES.items()}
