"""The published OpenAPI 3.1 document: every route, answer and refusal, with examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

import tidemill
from api.document.infer_operations import infer_operations
from api.document.operations import Json, Operation
from api.document.report_operations import report_operations
from api.document.score_operations import score_operations
from api.http.errors import InferenceError, Problem, ProblemDetails, Refused, refuse_input
from api.http.problems import TITLES
from api.resources.events import EventsAccepted
from api.resources.infer import OUTPUTS, InferRequest
from api.resources.labels import LabelsAccepted
from api.resources.models import (
    ChallengeBody,
    ModelsView,
    ModelView,
    OrderBody,
    OrderDone,
    RetireBody,
)
from api.resources.predictions import PredictionView
from api.road.answers import Answer, BatchAnswer
from features.cloud_events import BATCH, STRUCTURED
from tidemill.declaration import Project
from tidemill.errors import InputError
from tidemill.jobs import JobsReport
from tidemill.json_schemas import event_schema, example_fields, request_schema, time_schema
from tidemill.quality import Quality
from tidemill.sources import Event
from tidemill.wire import LabelEvent

VERSION = "3.1.0"
_RECORDS = (
    Answer, BatchAnswer, ProblemDetails, LabelsAccepted, LabelEvent, EventsAccepted, Quality,
    JobsReport, PredictionView, ModelsView, ModelView, OrderBody, ChallengeBody, RetireBody,
    OrderDone, InferRequest, InferenceError,
)  # fmt: skip
_TAGS = {
    "score": "Requests in, scores out",
    "feedback": "Outcomes and events",
    "predictions": "What was answered",
    "models": "Which release answers",
    "reports": "How it goes",
    "inference": "The Open Inference Protocol (KServe, Triton)",
}
_SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


def document(project: Project, secured: bool = False) -> Json:
    """The whole document; `secured` where callers have to say who they are."""
    paths: Json = {}
    for operation in operations(project):
        paths.setdefault(operation.path, {})[operation.method] = operation.document(secured)
    components: Json = {"schemas": _schemas(project), "examples": _problem_examples()}
    if secured:
        components["securitySchemes"] = _SCHEMES
    return {
        "openapi": VERSION,
        "info": {
            "title": f"Tidemill: {project.name}",
            "version": tidemill.__version__,
            "description": "Live scoring with models that learn from every outcome.",
        },
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": components,
    }


def operations(project: Project) -> list[Operation]:
    """Every operation there is."""
    return [
        *score_operations(project),
        *report_operations(project),
        *infer_operations(project),
    ]


def _schemas(project: Project) -> Json:
    """The records' schemas, and those that the declaration makes."""
    _, schemas = msgspec.json.schema_components(
        _RECORDS, ref_template="#/components/schemas/{name}"
    )
    label = schemas["LabelEvent"]["properties"]
    label["time"] = {"type": "integer", "minimum": 1, "description": "ms since 1970"}
    size = {"type": "integer", "minimum": 0}
    shape = {"type": "array", "items": size, "minItems": 1, "maxItems": 2}
    schemas["Tensor"]["properties"]["shape"] = shape
    names = [*example_fields(project.request.columns), "time"]
    schemas["Tensor"]["properties"]["name"] = {"type": "string", "enum": names}
    binary = project.label.kind == "binary"
    outputs = [name for name in OUTPUTS if binary or name != "label"]
    schemas["RequestedOutput"]["properties"]["name"] = {"type": "string", "enum": outputs}
    if binary:
        label["value"] = {"type": "number", "enum": [0, 1]}
    kinds = {_event_name(event.name): event for event in project.events}
    events = {name: event_schema(event) for name, event in kinds.items()}
    return {
        **schemas,
        **events,
        "Request": request_schema(project.request),
        "Event": _one_of(f"#/components/schemas/{name}" for name in events),
        **{f"Cloud{name}": _cloud_event(event) for name, event in kinds.items()},
        "CloudEvent": _one_of(f"#/components/schemas/Cloud{name}" for name in kinds),
    }


def _event_name(name: str) -> str:
    """Prefixed, so that no event has the name of a record."""
    return f"Event_{name}"


def _one_of(references: Iterable[str]) -> Json:
    """One of them; nothing fits where there is none."""
    found = [{"$ref": each} for each in references]
    return {"oneOf": found} if found else {"not": {}}


def _cloud_event(event: Event) -> Json:
    schema = event_schema(event)
    fields = {f.name: schema["properties"][f.name] for f in event.columns}
    required = [name for name in schema["required"] if name in fields]
    return {
        "title": f"CloudEvent: {event.name}",
        "description": "CloudEvents 1.0: `data` are the event's fields. What they do not say "
        "comes from the attributes: `event` from `type`, `id` from `source` and `id`, `time`",
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "minLength": 1},
            "type": {"const": event.name},
            "time": time_schema("When it happened")["anyOf"][1],
            "datacontenttype": {"enum": ["application/json", None]},
            "data": {
                "type": "object", "properties": fields, "required": required,
                "additionalProperties": False,
            },
        },
        "required": ["specversion", "id", "source", "type", "time", "data"],
    }  # fmt: skip


def _problem_examples() -> Json:
    """An example of every cause, as the api answers it."""
    found: Json = {}
    for cause in TITLES:
        refused = _EXAMPLES.get(cause) or refuse_input(InputError(cause, "…", "…", "…"))
        details = refused.details("/v1/…")
        found[cause] = {"summary": TITLES[cause], "value": msgspec.to_builtins(details)}
    return found


def _example(status: int, *problem: str) -> tuple[str, Refused]:
    return problem[0], Refused(status, Problem(*problem))


_EXAMPLES: Mapping[str, Refused] = dict(
    [
        _example(400, "malformed", "body", "JSON is malformed: invalid character", "one object"),
        _example(422, "missing_field", "shop", "nothing", "a value"),
        _example(422, "unknown_field", "colour", "a field", "declared fields only"),
        _example(422, "wrong_type", "amount", "str", "float"),
        _example(422, "absurd_time", "time", "-5", "a time after 1970 and not later than now"),
        _example(422, "unknown_event", "event", "theft", "one of payment"),
        _example(422, "too_many_requests", "requests", "1201 requests", "at most 1000"),
        _example(422, "too_many_events", "body", "1201 events", "at most 1000"),
        _example(422, "too_many_labels", "body", "1201 labels", "at most 1000"),
        _example(422, "idempotency_key_reused", "idempotency-key", "the key of another request",
                 "a new key for each request"),
        _example(409, "request_in_progress", "idempotency-key",
                 "the same request, which is being answered", "to ask again in a second"),
        _example(413, "body_too_large", "body", "2097152 bytes", "at most 1048576 bytes"),
        _example(415, "unsupported_media_type", "content-type", "text/csv",
                 f"one of application/json, {STRUCTURED}, {BATCH}"),
        _example(401, "unauthorized", "key", "nothing", "an API key or a bearer token"),
        _example(403, "forbidden", "scope", "score", "admin"),
        _example(429, "rate_limited", "requests", "1001 in 1 s", "1000 in 1 s"),
        _example(404, "unknown_prediction", "id", "0" * 32, "an answer that is archived"),
        _example(404, "unknown_route", "path", "GET /v1/nothing", "the routes in /openapi.json"),
        _example(405, "method_not_allowed", "method", "GET", "POST"),
        _example(404, "unknown_entity", "entity", "'planet'", "card, shop"),
        _example(404, "unknown_quality", "worker", "nothing yet", "a worker that has begun"),
        _example(404, "no_release", "release", "r0099", "one of GET /v1/models"),
        _example(404, "no_orders", "models", "a process without them", "another api"),
        _example(409, "retired", "r0002", "retired", "another role, or force"),
        _example(409, "role", "r0002", "challenger", "former or rolled_back"),
        _example(409, "champion", "r0003", "champion", "another role"),
        _example(409, "damaged_release", "release", "sha256 …", "a release that is whole"),
        _example(503, "queue_full", "predictions", "20000 waiting for the broker", "at most 20000"),
        _example(503, "broker_unavailable", "labels", "no answer", "a broker that answers"),
        _example(503, "store_unavailable", "store", "no answer", "a store that answers"),
        _example(503, "archive_unavailable", "archive", "no answer", "one that answers"),
        _example(404, "no_replay", "replay", "0" * 32, "an api that `tidemill api` has started"),
        _example(503, "replay_busy", "replay", "another replay", "one at a time"),
        _example(503, "replay_too_long", "replay", "nothing within 120 s", "a second try"),
        _example(503, "replay_failed", "replay", "exit code 1", "see the api's log"),
        _example(503, "disk_unavailable", "home", "No space left", "a disk with room"),
        _example(500, "internal_error", "server", "an error while answering", "see the log"),
    ]
)  # fmt: skip
