"""The published schema of the raw routes, generated from the project's declared request fields."""

from __future__ import annotations

from typing import Any

import msgspec

from api.answers import Answer, BatchAnswer
from api.errors import ErrorBody
from api.labels import LabelsAccepted
from tidemill.declaration import Project
from tidemill.fields import Field
from tidemill.jobs import JobsReport
from tidemill.quality import Quality
from tidemill.wire import LabelEvent

_TYPES: dict[type, str] = {str: "string", float: "number", int: "integer", bool: "boolean"}
_EXAMPLES: dict[type, Any] = {str: "A1", float: 1.5, int: 1, bool: True}
_EXAMPLE_TIME_MS = 1_367_366_400_000
_REFUSALS = {
    "400": "the body is not JSON",
    "413": "the body is too large",
    "422": "a field cannot be used",
    "503": "the broker is behind; try again after Retry-After seconds",
}
Json = dict[str, Any]


def request_schema(project: Project) -> Json:
    """The JSON schema of one scoring request."""
    time = {
        "description": "The moment to score for: ms since 1970 or ISO 8601 with offset; or now.",
        "anyOf": [{"type": "integer"}, {"type": "string", "format": "date-time"}, {"type": "null"}],
    }
    return {
        "title": "Request",
        "type": "object",
        "properties": {f.name: _field_schema(f) for f in project.request.columns} | {"time": time},
        "required": [f.name for f in project.request.columns if not f.optional],
        "additionalProperties": False,
    }


def request_example(project: Project) -> Json:
    """A request that the route accepts."""
    return {f.name: _EXAMPLES[f.type] for f in project.request.columns} | {"time": _EXAMPLE_TIME_MS}


def label_example(project: Project) -> Json:
    """The label of the example request."""
    request = request_example(project)
    names = project.label.key
    key = "|".join(str(request[name]) for name in names) if names else "the answer's prediction_id"
    return {"key": key, "value": 1, "time": _EXAMPLE_TIME_MS}


def add_raw_routes(document: Json, project: Project) -> Json:
    """Add the scoring and label routes to the document FastAPI generates from its own routes."""
    records = (Answer, BatchAnswer, ErrorBody, LabelsAccepted, LabelEvent, Quality, JobsReport)
    references, components = msgspec.json.schema_components(
        records, ref_template="#/components/schemas/{name}"
    )
    answer, batch, error, accepted, label, *_ = references
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(components, Request=request_schema(project))
    one = {"$ref": "#/components/schemas/Request"}
    many = {
        "type": "object",
        "properties": {"requests": {"type": "array", "items": one}},
        "required": ["requests"],
        "additionalProperties": False,
    }
    labels = {"anyOf": [label, {"type": "array", "items": label}]}
    example, outcome = request_example(project), label_example(project)
    paths = document.setdefault("paths", {})
    paths["/v1/score"] = _post("Score one request", (one, {"one": example}), ("200", answer), error)
    paths["/v1/score:batch"] = _post(
        "Score several requests", (many, {"two": {"requests": [example, example]}}),
        ("200", batch), error,
    )  # fmt: skip
    paths["/v1/labels"] = _post(
        "Send the outcome of a prediction, or a list of them",
        (labels, {"one": outcome, "list": [outcome]}), ("202", accepted), error,
    )  # fmt: skip
    paths["/v1/progress"] = _get(
        "How far events have been applied: for each partition of the events topic, the next offset",
        {"events": {"0": 17, "1": 4}},
    )
    return document


def _get(summary: str, example: Json) -> Json:
    content = {"application/json": {"schema": {"type": "object"}, "example": example}}
    return {
        "get": {
            "summary": summary,
            "responses": {"200": {"description": "Done", "content": content}},
        }
    }


def _field_schema(field: Field) -> Json:
    kind = _TYPES[field.type]
    return {"type": [kind, "null"] if field.optional else kind}


def _post(
    summary: str, body: tuple[Json, dict[str, Any]], answer: tuple[str, Json], error: Json
) -> Json:
    schema, examples = body
    named = {name: {"value": value} for name, value in examples.items()}
    content = {"application/json": {"schema": schema, "examples": named}}
    status, success = answer
    responses: Json = {
        status: {"description": "Done", "content": {"application/json": {"schema": success}}}
    }
    for refusal, description in _REFUSALS.items():
        responses[refusal] = {
            "description": description,
            "content": {"application/json": {"schema": error}},
        }
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": content},
            "responses": responses,
        }
    }
