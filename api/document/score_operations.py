"""The OpenAPI operations of scoring, labels, events and predictions."""

from __future__ import annotations

from typing import Any

from api.document.operations import Body, Json, Operation, parameter, reference
from features.cloud_events import BATCH, STRUCTURED
from tidemill.declaration import Project
from tidemill.json_schemas import EXAMPLE_TIME_MS, event_example, example_fields, request_example
from tidemill.sources import Event

EXAMPLE_ID = "0f3c2d1e4b5a49788796a5b4c3d2e1f0"
_BODY = {400: ["malformed"], 413: ["body_too_large"]}
_FIELDS = ["missing_field", "unknown_field", "wrong_type", "absurd_time"]
_WISHES = (
    parameter("query", "explain", "Add what each feature contributes to the score",
              {"type": "boolean", "default": False}),
    parameter("query", "max_staleness",
              "How old an entity's features may be, in milliseconds or as a duration; beyond it "
              "the declared default head answers",
              {"type": "string", "pattern": "^([1-9][0-9]{0,8}|[1-9][0-9]{0,4}(ms|s|min|h|d))$"},
              "5min"),
)  # fmt: skip
_TRACE = parameter(
    "header", "traceparent", "The trace to go on with (W3C), carried to the log",
    {"type": "string"}, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)  # fmt: skip


def score_operations(project: Project) -> list[Operation]:
    """What requests, outcomes and events come in by, and the answers of before."""
    return [*_scoring(project), *_feedback(project), _prediction(project), _replay()]


def label_example(project: Project) -> Json:
    """The label of the example request."""
    request, names = request_example(project.request), project.label.key
    key = "|".join(str(request[name]) for name in names) if names else "the answer's prediction_id"
    return {"key": key, "value": 1, "time": EXAMPLE_TIME_MS}


def answer_example(project: Project) -> Json:
    """An answer as the route gives it."""
    binary = project.label.kind == "binary"
    return {
        "prediction_id": EXAMPLE_ID,
        "score": 0.73,
        "label": 1 if binary else None,
        "interval": None,
        "model": {"release": "r0003", "snapshot": 57, "offset": 12_345, "arm": "champion"},
        "feature_ages_ms": {entity.name: 1_250.0 for entity in project.entities},
        "degraded": [],
    }


def _scoring(project: Project) -> list[Operation]:
    request, example = request_example(project.request), answer_example(project)
    many: Json = {
        "type": "object",
        "properties": {"requests": {"type": "array", "items": reference("Request")}},
        "required": ["requests"],
        "additionalProperties": False,
    }
    shared: dict[str, Any] = {"tag": "score", "parameters": (*_WISHES, _TRACE)}
    return [
        Operation(
            "post", "/v1/score", "Score one request",
            answer=reference("Answer"), example=example,
            body=Body(reference("Request"), {"one": request}),
            refusals=_BODY | {422: [*_FIELDS, "not_explained"], 503: ["queue_full"]},
            links=_found_by("$response.body#/prediction_id"), **shared,
        ),
        Operation(
            "post", "/v1/score:batch", "Score several requests, all or none",
            answer=reference("BatchAnswer"), example={"predictions": [example]},
            body=Body(many, {"two": {"requests": [request, request]}}),
            refusals=_BODY | {
                422: [*_FIELDS, "not_explained", "too_many_requests"], 503: ["queue_full"],
            },
            links=_found_by("$response.body#/predictions/0/prediction_id"), **shared,
        ),
    ]  # fmt: skip


def _found_by(place: str) -> dict[str, Json]:
    """A link to the prediction whose id stands at this place of the answer."""
    found = {"operationId": "get_v1_predictions_id", "parameters": {"id": place}}
    return {"prediction": found | {"description": "What was asked, seen and answered"}}


def _feedback(project: Project) -> list[Operation]:
    label = label_example(project)
    labels = {"anyOf": [reference("LabelEvent"),
                        {"type": "array", "items": reference("LabelEvent")}]}  # fmt: skip
    key = parameter(
        "header", "Idempotency-Key",
        "The same request with the same key, such as a UUID, is carried out once for a day",
        {"type": "string", "minLength": 1, "maxLength": 257,
         "pattern": '^([A-Za-z0-9_.:-]{1,255}|"[A-Za-z0-9_.:-]{1,255}")$'},
    )  # fmt: skip
    return [
        Operation(
            "post", "/v1/labels", "Send the outcome of a prediction, or a list of them",
            "feedback", reference("LabelsAccepted"), {"accepted": 1}, 202,
            parameters=(key, _TRACE),
            body=Body(labels, {"one": label, "list": [label]}),
            refusals=_BODY | {
                409: ["request_in_progress"],
                422: [*_FIELDS, "too_many_labels", "idempotency_key_reused"],
                503: ["broker_unavailable", "store_unavailable"],
            },
            headers={"Idempotent-Replayed": "true where the answer is that of an earlier request"},
        ),
        Operation(
            "post", "/v1/events", "Send events, as declared or as CloudEvents", "feedback",
            reference("EventsAccepted"), {"accepted": 1}, 202,
            description="One event or a list of them. A CloudEvent may also come in binary mode: "
            "its attributes in headers `ce-…`, its data as the body. The answer comes once the "
            "broker has them; duplicates and what is too late are judged by the worker.",
            parameters=(_TRACE,),
            body=_events(project),
            refusals=_BODY | {
                415: ["unsupported_media_type"],
                422: ["unknown_event", *_FIELDS, "too_many_events"], 503: ["broker_unavailable"],
            },
        ),
    ]  # fmt: skip


def _events(project: Project) -> Body:
    """Events as declared, or as CloudEvents."""
    own, cloud = reference("Event"), reference("CloudEvent")
    if not project.events:
        return Body(own, {})
    event, structured = event_example(project.events[0]), _cloud_example(project.events[0])
    return Body(
        {"anyOf": [own, {"type": "array", "items": own}]},
        {"one": event, "list": [event]},
        others={
            STRUCTURED: (cloud, {"one": structured}),
            BATCH: ({"type": "array", "items": cloud}, {"list": [structured]}),
        },
    )


def _cloud_example(event: Event) -> Json:
    return {
        "specversion": "1.0", "id": "e1", "source": "/tills/7", "type": event.name,
        "time": "2013-05-01T00:00:00Z", "datacontenttype": "application/json",
        "data": example_fields(event.columns),
    }  # fmt: skip


def _prediction(project: Project) -> Operation:
    answer = answer_example(project)
    features = {name: 1.5 for name in project.feature_names[:3]}
    example = {
        "id": EXAMPLE_ID, "key": label_example(project)["key"], "time": EXAMPLE_TIME_MS,
        "scored_ms": EXAMPLE_TIME_MS, "score": 0.73, "baseline": 0.7, "model": answer["model"],
        "schema": "3b0c44298fc1", "features": features,
        "request": request_example(project.request), "arms": [], "labels": [], "source": "recent",
    }  # fmt: skip
    return Operation(
        "get", "/v1/predictions/{id}", "One prediction: what was asked, seen and answered",
        "predictions", reference("PredictionView"), example,
        description="The newest ones of this process at once, older ones from the archive; between "
        "the two a prediction may be unknown for some seconds.",
        parameters=(prediction_parameter(),),
        refusals={404: ["unknown_prediction"], 503: ["archive_unavailable"]},
    )  # fmt: skip


def _replay() -> Operation:
    return Operation(
        "get", "/v1/predictions/{id}/replay",
        "Rebuild a prediction from log and snapshots, beside what it would be now", "predictions",
        {"type": "object"}, None,
        description="Takes seconds to minutes, in a process of its own, one at a time.",
        parameters=(prediction_parameter(),),
        refusals={
            404: ["unknown_prediction", "no_replay"],
            503: ["replay_busy", "replay_too_long", "replay_failed"],
        },
    )  # fmt: skip


def prediction_parameter() -> Json:
    """The id in the path."""
    return parameter(
        "path", "id", "The prediction_id of an answer",
        {"type": "string", "pattern": "^[0-9a-f]{32}$"}, EXAMPLE_ID,
    )  # fmt: skip
