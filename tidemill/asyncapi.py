"""The AsyncAPI 3.0 document of a project's topics, generated from its declaration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import tidemill
from tidemill import topics
from tidemill.declaration import Project
from tidemill.json_schemas import (
    EXAMPLE_TIME_MS,
    Json,
    event_example,
    event_schema,
    example_fields,
    request_example,
)
from tidemill.wire import (
    Alert,
    Announcement,
    BadCaseFound,
    DeadLetter,
    Example,
    LabelEvent,
    Prediction,
    Quarantined,
    UpdateBatch,
)

VERSION = "3.0.0"
_JSON, _MSGPACK = "application/json", "application/msgpack"
_KAFKA_BINDING = "0.5.0"
_SCHEMAS = "#/components/schemas/"
_RECORDS: Mapping[str, tuple[type[Any], str, str]] = {
    topics.UPDATES: (UpdateBatch, "rows for the windows of entities, by column", "no key"),
    topics.PREDICTIONS: (Prediction, "a scored request with its vector", "the join key"),
    topics.EXAMPLES: (Example, "a prediction with its label", "no key"),
    topics.BADCASES: (BadCaseFound, "a case worth a look, with a reason", "the join key"),
    topics.MODELS: (Announcement, "a release or a snapshot that is there", "the learner"),
    topics.ALERTS: (Alert, "what an operator should know", "the subject"),
    topics.DEADLETTERS: (DeadLetter, "input that could not be used, with its cause", "no key"),
    topics.QUARANTINE: (Quarantined, "an example that came while learning paused", "no key"),
}
"""What is on each topic that producers do not write: its record, in words, and its key."""


def asyncapi(project: Project, partitions: int) -> Json:
    """The document: what is received, `events` and `labels`, and what is sent, all the others."""
    names = topics.Names(project.name, partitions)
    received = {topics.EVENTS: _event_messages(project), topics.LABELS: _label_message(project)}
    sent = {kind: _record_message(kind) for kind in _RECORDS}
    channels = {
        kind: _channel(names, kind, messages) for kind, messages in {**received, **sent}.items()
    }
    return {
        "asyncapi": VERSION,
        "info": {
            "title": f"Tidemill: {project.name}",
            "version": tidemill.__version__,
            "description": "What travels on the topics. Times are ms since 1970 (UTC), vectors "
            "little-endian float32 in the order of the features.",
        },
        "defaultContentType": _JSON,
        "channels": channels,
        "operations": {
            **{f"receive_{kind}": _operation("receive", kind, channels) for kind in received},
            **{f"send_{kind}": _operation("send", kind, channels) for kind in sent},
        },
        "components": {
            "messages": {
                name: message
                for messages in (*received.values(), *sent.values())
                for name, message in messages.items()
            },
            "schemas": _schemas(project),
            "messageTraits": _traits(),
        },
    }


def _channel(names: topics.Names, kind: str, messages: Json) -> Json:
    count = names.partitions_of(kind)
    return {
        "address": names.topic(kind),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {
                "topic": names.topic(kind), "partitions": count, "bindingVersion": _KAFKA_BINDING
            }
        },
    }  # fmt: skip


def _operation(action: str, kind: str, channels: Json) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{kind}"},
        "messages": [
            {"$ref": f"#/channels/{kind}/messages/{name}"} for name in channels[kind]["messages"]
        ],
    }


def _event_messages(project: Project) -> Json:
    """A message for each kind of event; as a CloudEvent it has its attributes in headers."""
    return {
        f"event_{event.name}": {
            "name": event.name,
            "title": f"Event: {event.name}",
            "summary": "A fact, as declared: its own JSON, or the data of a CloudEvent 1.0 in "
            "binary mode",
            "contentType": _JSON,
            "payload": {"$ref": f"{_SCHEMAS}event_{event.name}"},
            "traits": [{"$ref": "#/components/messageTraits/cloud_event"}],
            "bindings": _key(f"the event's {event.key}"),
            "examples": [
                {"name": "own", "payload": event_example(event)},
                {
                    "name": "cloud_event",
                    "headers": {
                        "ce_specversion": "1.0", "ce_id": "e1", "ce_source": "/tills/7",
                        "ce_type": event.name, "ce_time": "2013-05-01T00:00:00Z",
                    },
                    "payload": example_fields(event.columns),
                },
            ],
        }
        for event in project.events
    }  # fmt: skip


def _label_message(project: Project) -> Json:
    request, names = request_example(project.request), project.label.key
    key = "|".join(str(request[name]) for name in names) if names else "the answer's prediction_id"
    joined = " | ".join(names) or "the prediction's id"
    return {
        "label": {
            "name": "label",
            "title": "Label",
            "summary": "The outcome of a prediction",
            "contentType": _JSON,
            "payload": {"$ref": f"{_SCHEMAS}LabelEvent"},
            "traits": [{"$ref": "#/components/messageTraits/trace"}],
            "bindings": _key(f"the join key: {joined}"),
            "examples": [
                {"name": "label", "payload": {"key": key, "value": 1, "time": EXAMPLE_TIME_MS}}
            ],
        }
    }


def _record_message(kind: str) -> Json:
    record, summary, key = _RECORDS[kind]
    traced = kind == topics.PREDICTIONS
    message: Json = {
        "name": record.__name__,
        "title": record.__name__,
        "summary": summary[0].upper() + summary[1:],
        "contentType": _MSGPACK,
        "payload": {"$ref": f"{_SCHEMAS}{record.__name__}"},
        "bindings": _key(key),
    }
    if traced:
        message["traits"] = [{"$ref": "#/components/messageTraits/trace"}]
    return {kind: message}


def _key(description: str) -> Json:
    key = {"type": "string", "description": description}
    return {"kafka": {"key": key, "bindingVersion": _KAFKA_BINDING}}


def _traits() -> Json:
    trace = {"traceparent": {"type": "string", "description": "The caller's trace (W3C)"}}
    attributes = {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string"},
        "ce_source": {"type": "string"},
        "ce_type": {"type": "string", "description": "The event's name, or what ends with it"},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"type": "string"},
    }
    return {
        "trace": {"headers": _headers(trace)},
        "cloud_event": {"headers": _headers(attributes | trace)},
    }


def _headers(properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def _schemas(project: Project) -> Json:
    """Those of the events, and of the records: msgpack arrays of their fields in order."""
    records: Sequence[type[Any]] = [LabelEvent, *(record for record, _, _ in _RECORDS.values())]
    _, found = msgspec.json.schema_components(records, ref_template=f"{_SCHEMAS}{{name}}")
    events = {f"event_{event.name}": event_schema(event) for event in project.events}
    return {**events, **_as_draft_7(found)}


def _as_draft_7(node: Any) -> Any:
    """The format's own schemas are of draft 7, which says the places of an array by `items`."""
    if isinstance(node, list):
        return [_as_draft_7(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {name: _as_draft_7(value) for name, value in node.items()}
    if "prefixItems" in found:
        rest = found.pop("items", None)
        found["items"] = found.pop("prefixItems")
        if rest is not None:
            found["additionalItems"] = rest
    return found
