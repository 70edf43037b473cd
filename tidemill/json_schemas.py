"""JSON schemas of what is declared: fields, events, requests and times, with examples of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidemill.fields import LARGEST_WHOLE, Field
from tidemill.sources import Event, Request

Json = dict[str, Any]
EXAMPLE_TIME_MS = 1_367_366_400_000
_SCHEMAS: dict[type, Json] = {
    str: {"type": "string"},
    float: {"type": "number"},
    int: {"type": "integer", "minimum": -LARGEST_WHOLE, "maximum": LARGEST_WHOLE},
    bool: {"type": "boolean"},
}
_EXAMPLES: dict[type, Any] = {str: "A1", float: 1.5, int: 1, bool: True}


def field_schema(field: Field) -> Json:
    """One field; null is allowed where it may be missing."""
    schema = dict(_SCHEMAS[field.type])
    if field.optional:
        schema["type"] = [schema["type"], "null"]
    return schema


def time_schema(description: str, optional: bool = False) -> Json:
    """A moment: milliseconds, or text with an offset."""
    allowed: list[Json] = [
        {"type": "integer", "minimum": 1},
        {"type": "string", "format": "date-time"},
    ]
    return {
        "description": f"{description}: ms since 1970, or ISO 8601 with an offset",
        "anyOf": [*allowed, {"type": "null"}] if optional else allowed,
    }


def event_schema(event: Event) -> Json:
    """One kind of event as producers send it."""
    return {
        "title": event.name,
        "type": "object",
        "properties": {
            "event": {"const": event.name},
            "time": time_schema("When it happened"),
            "id": {
                "description": "The same id within the window of duplicates counts once",
                "type": ["string", "null"],
            },
            **{field.name: field_schema(field) for field in event.columns},
        },
        "required": ["event", "time", *_required(event.columns)],
        "additionalProperties": False,
    }


def event_example(event: Event) -> Json:
    """An event that is accepted."""
    fields = {"event": event.name, "time": EXAMPLE_TIME_MS, "id": "e1"}
    return fields | example_fields(event.columns)


def request_schema(request: Request) -> Json:
    """One request to be scored."""
    fields = {field.name: field_schema(field) for field in request.columns}
    return {
        "title": "Request",
        "type": "object",
        "properties": fields | {"time": time_schema("The moment to score for; now without", True)},
        "required": _required(request.columns),
        "additionalProperties": False,
    }


def request_example(request: Request) -> Json:
    """A request that is accepted."""
    return example_fields(request.columns) | {"time": EXAMPLE_TIME_MS}


def example_fields(fields: Iterable[Field]) -> Json:
    """A value for each field."""
    return {field.name: _EXAMPLES[field.type] for field in fields}


def _required(fields: Iterable[Field]) -> list[str]:
    return [field.name for field in fields if not field.optional]
