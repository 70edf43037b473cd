"""The OpenAPI operations of releases, reports, probes and the documents themselves."""

from __future__ import annotations

from typing import Any

from api.document.operations import Body, Json, Operation, parameter, reference
from tidemill.declaration import Project
from tidemill.json_schemas import EXAMPLE_TIME_MS

_BODY = {400: ["malformed"], 413: ["body_too_large"]}
_STORE: dict[int, list[str]] = {503: ["store_unavailable"]}
_OBJECT: Json = {"type": "object"}
_CHANGE = {
    "release": "r0003", "action": "promoted", "schema": "3b0c44298fc1",
    "time_ms": EXAMPLE_TIME_MS, "by": "anna", "why": "better for two days",
}  # fmt: skip
_RELEASE = {
    "release": "r0003", "role": "champion", "share": 0.0, "created_ms": EXAMPLE_TIME_MS,
    "rows": 120_000, "schema": "3b0c44298fc1", "metrics": {"gate_candidate_auc": 0.807},
}  # fmt: skip
_ORDER = {"by": "anna", "why": "better for two days"}


def report_operations(project: Project) -> list[Operation]:
    """What is rare: orders, reports, probes, documents."""
    return [*_models(), *_reports(project), *_probes(), *_documents()]


def _models() -> list[Operation]:
    named = parameter(
        "path", "release", "A release's name", {"type": "string", "pattern": "^r[0-9]{4,}$"},
        "r0003",
    )  # fmt: skip
    order = Body(reference("OrderBody"), {"order": _ORDER})
    challenge = Body(reference("ChallengeBody"), {"canary": _ORDER | {"share": 0.1}})
    retire = Body(reference("RetireBody"), {"order": _ORDER})
    done = {"change": _CHANGE, "announced": True}
    orders = (
        ("promote", "Make a release the champion: it catches up, then it answers", order),
        ("rollback", "Let an older release take the champion's place", order),
        ("challenge", "Set a release beside the champion, as a shadow or with a share", challenge),
        ("retire", "Take a release out for good", retire),
    )
    return [
        Operation(
            "get", "/v1/models", "The releases and what each is for", "models",
            reference("ModelsView"),
            {"champion": "r0003", "releases": [_RELEASE], "changes": [_CHANGE]},
            refusals={404: ["no_orders"], 409: ["damaged_release"], 503: ["disk_unavailable"]},
        ),
        Operation(
            "get", "/v1/models/{release}", "One release, and every change of its role", "models",
            reference("ModelView"), {"release": _RELEASE, "changes": [_CHANGE]},
            parameters=(named,),
            refusals={404: ["no_release"], 409: ["damaged_release"], 503: ["disk_unavailable"]},
        ),
        *(
            Operation(
                "post", f"/v1/models/{{release}}:{name}", summary, "models",
                reference("OrderDone"), done, parameters=(named,), body=body,
                refusals=_BODY | {
                    403: ["forbidden"], 404: ["no_release", "no_orders"],
                    409: ["retired", "role", "champion", "damaged_release"],
                    422: ["missing_field", "wrong_type"], 503: ["disk_unavailable"],
                },
            )
            for name, summary, body in orders
        ),
    ]  # fmt: skip


def _reports(project: Project) -> list[Operation]:
    entity = (project.entities or [row.by for row in project.static_rows])[:1]
    name = entity[0].name if entity else "entity"
    shared: dict[str, Any] = {"tag": "reports"}
    at = parameter(
        "query", "at", "The moment: ms since 1970 or ISO 8601 with an offset; now without it",
        {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 10**15 - 1},
                   {"type": "string", "format": "date-time"}]}, EXAMPLE_TIME_MS,
    )  # fmt: skip
    looked = (
        parameter("path", "entity", "An entity's name", {"type": "string"}, name),
        parameter("path", "id", "Its key; several fields joined by `|`", {"type": "string"}, "A1"),
        at,
    )
    return [
        Operation(
            "get", "/v1/features/{entity}/{id}",
            "One entity's features at a time, their age and the tiles they come from",
            answer=_OBJECT, example=None, parameters=looked,
            refusals={404: ["unknown_entity"], 422: ["wrong_type", "wrong_id"], **_STORE},
            **shared,
        ),
        Operation(
            "get", "/v1/progress",
            "How far events have been applied: for each partition of events, the next offset",
            answer=_OBJECT, example={"events": {"0": 17, "1": 4}}, refusals=_STORE, **shared,
        ),
        Operation(
            "get", "/v1/status", "What the console shows", answer=_OBJECT, example=None,
            refusals=_STORE, **shared,
        ),
        Operation(
            "get", "/v1/quality",
            "How the answers did: sliding, decayed, by slice and by the time of prediction",
            answer=reference("Quality"), example=None,
            description="Measured by the labels that came later, beside the frozen release. "
            "Buckets marked `young` still wait for labels and say little.",
            refusals={404: ["unknown_quality"], **_STORE}, **shared,
        ),
        Operation(
            "get", "/v1/jobs", "The scheduler's jobs of this project: waiting, running, ended",
            answer=reference("JobsReport"), example=None,
            description="`seen_ms` is when the scheduler told of them, null where none ever did.",
            refusals=_STORE, **shared,
        ),
        Operation(
            "get", "/metrics", "Metrics for Prometheus", answer={"type": "string"}, example=None,
            media="text/plain", **shared,
        ),
    ]  # fmt: skip


def _probes() -> list[Operation]:
    ready = {
        "type": "object",
        "properties": {
            "ready": {"type": "boolean"},
            "missing": {"type": "object", "additionalProperties": {"type": "string"}},
            "model": {"type": "string"},
        },
        "required": ["ready", "missing", "model"],
    }
    example = {"ready": True, "missing": {}, "model": "r0003"}
    return [
        Operation(
            "get", "/healthz", "Is the process alive?", "reports", _OBJECT, {"alive": True},
            free=True,
        ),
        Operation(
            "get", "/readyz", "Do store and broker answer, and which release scores?", "reports",
            ready, example, free=True, refusals={503: []}, refused_as=ready,
            refused_example={"ready": False, "missing": {"store": "…"}, "model": "r0003"},
        ),
    ]  # fmt: skip


def _documents() -> list[Operation]:
    return [
        Operation(
            "get", "/v1/problems", "Every kind of problem there is, by its cause", "reports",
            {"type": "object", "additionalProperties": {"type": "object"}},
            {"malformed": {"type": "/v1/problems#malformed", "title": "The body is not JSON"}},
            free=True,
        ),
        Operation(
            "get", "/v1/asyncapi.json", "The AsyncAPI document of the topics", "reports", _OBJECT,
            None,
        ),
    ]  # fmt: skip
