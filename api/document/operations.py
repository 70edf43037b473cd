"""How an operation of the OpenAPI document is said: its parameters, body, answers and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.http.errors import INFERENCE

Json = dict[str, Any]
JSON, PROBLEM = "application/json", "application/problem+json"
REFUSALS = {
    400: "the body or the query cannot be read",
    401: "no key or token that is valid came with the request",
    403: "the key is not for this, or the request came from another site's page",
    404: "there is no such thing",
    409: "it does not fit what is there now",
    413: "the body is too large",
    415: "the body's media type is not taken here",
    422: "a field cannot be used",
    429: "too many requests for this key; try again after Retry-After seconds",
    500: "an error of the service, which its log has",
    503: "something the answer needs is away; try again after Retry-After seconds",
}
_COMING_AGAIN = (429, 503)
_QUOTA = ("RateLimit", "RateLimit-Policy")


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent: a schema and examples by name, for each media type."""

    schema: Json
    examples: Mapping[str, Any]
    media: str = JSON
    others: Mapping[str, tuple[Json, Mapping[str, Any]]] = field(default_factory=dict)

    def document(self) -> Json:
        """As the document says it."""
        content = {self.media: _content(self.schema, self.examples)}
        for media, (schema, examples) in self.others.items():
            content[media] = _content(schema, examples)
        return {"required": True, "content": content}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    `refusals` are the statuses beside the success, each with the causes that are shown as examples.
    `refused_as` is the schema of a refusal, and `refused_example` one, where it is no problem.
    `links` say by name which operation goes on with what an answer holds.
    """

    method: str
    path: str
    summary: str
    tag: str
    answer: Json
    example: Any
    status: int = 200
    description: str = ""
    parameters: Sequence[Json] = ()
    body: Body | None = None
    refusals: Mapping[int, Sequence[str]] = field(default_factory=dict)
    media: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    refused_as: Json | None = None
    refused_example: Any = None
    free: bool = False
    links: Mapping[str, Json] = field(default_factory=dict)

    def document(self, secured: bool) -> Json:
        """As the document says it; `secured` where callers have to say who they are."""
        found: Json = {"operationId": self._id, "summary": self.summary, "tags": [self.tag]}
        if self.description:
            found["description"] = self.description
        if self.parameters:
            found["parameters"] = list(self.parameters)
        if self.body is not None:
            found["requestBody"] = self.body.document()
        found["responses"] = self._responses(secured and not self.free)
        if secured:
            found["security"] = [] if self.free else [{"key": []}, {"bearer": []}]
        return found

    @property
    def _id(self) -> str:
        words = "".join(c if c.isalnum() else " " for c in self.path.removeprefix("/")).split()
        return "_".join([self.method, *words])

    def _responses(self, secured: bool) -> Json:
        headers = {name: _header(text) for name, text in self.headers.items()}
        if secured:
            headers |= {name: _header("The caller's quota") for name in _QUOTA}
        success: Json = {"description": "Done", "content": {self.media: self._success()}}
        if headers:
            success["headers"] = headers
        if self.links:
            success["links"] = dict(self.links)
        responses: Json = {str(self.status): success}
        always = {401: ["unauthorized"], 403: ["forbidden"], 429: ["rate_limited"]}
        refusals = {**self.refusals, **(always if secured else {}), 500: ["internal_error"]}
        for status in sorted(refusals):
            responses[str(status)] = self._refusal(status, refusals[status])
        return responses

    def _success(self) -> Json:
        content: Json = {"schema": self.answer}
        return content if self.example is None else content | {"example": self.example}

    def _refusal(self, status: int, causes: Sequence[str]) -> Json:
        # As the api does it: what a route does not refuse itself is a problem, but under /v2.
        own = status in self.refusals or self.path.startswith(INFERENCE)
        if self.refused_as is None or not own:
            examples = {c: {"$ref": f"#/components/examples/{c}"} for c in causes}
            content: Json = {PROBLEM: {"schema": _reference("ProblemDetails")}}
            if examples:
                content[PROBLEM]["examples"] = examples
        else:
            content = {JSON: {"schema": self.refused_as, "example": self.refused_example}}
        found: Json = {"description": REFUSALS[status], "content": content}
        if status in _COMING_AGAIN:
            found["headers"] = {"Retry-After": _header("Seconds until trying again may help")}
        return found


def reference(name: str) -> Json:
    """A component's schema."""
    return _reference(name)


def parameter(place: str, name: str, description: str, schema: Json, example: Any = None) -> Json:
    """One parameter; of the path it is required."""
    found: Json = {"name": name, "in": place, "description": description, "schema": schema}
    if place == "path":
        found["required"] = True
    return found if example is None else found | {"example": example}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


def _content(schema: Json, examples: Mapping[str, Any]) -> Json:
    named = {name: {"value": value} for name, value in examples.items()}
    return {"schema": schema, "examples": named}
