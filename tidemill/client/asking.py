"""What each call asks of the api and how its answer is read, without a connection."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from tidemill.client.answers import (
    Accepted,
    Answer,
    Answers,
    LoggedPrediction,
    Models,
    Readiness,
)
from tidemill.client.errors import BadAnswer, refusal_of
from tidemill.client.outcome import Outcome, milliseconds

Result = TypeVar("Result")
Label = Outcome | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asking(Generic[Result]):
    """One call: the request, and what reads its answer.

    `repeatable` is False where a request that arrived twice would do more than once; `once` where
    it is not tried again; `good` are the statuses of an answer.
    """

    method: str
    path: str
    decode: Callable[[bytes], Result]
    body: bytes = b""
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    once: bool = False
    good: tuple[int, ...] = (200, 202)

    def read(self, status: int, headers: Mapping[str, str], body: bytes) -> Result:
        """The answer. Raises Refusal, and BadAnswer for one that cannot be read."""
        if status not in self.good:
            raise refusal_of(status, headers, body)
        try:
            return self.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadAnswer(status, str(error)) from error


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked for beside the score; `max_staleness` in ms, or a duration such as `5min`."""

    explain: bool = False
    max_staleness: int | str | None = None

    @property
    def params(self) -> tuple[tuple[str, str], ...]:
        """As the query says it."""
        explain = (("explain", "true"),) if self.explain else ()
        if self.max_staleness is None:
            return explain
        return (*explain, ("max_staleness", str(self.max_staleness)))


def score_one(request: Mapping[str, Any], wishes: Wishes) -> Asking[Answer]:
    """One score. Asked twice, it is logged as two predictions, of which one is never labelled."""
    return Asking("POST", "/v1/score", _ANSWER.decode, _encode(dict(request)), wishes.params)


def score_many(requests: Iterable[Mapping[str, Any]], wishes: Wishes) -> Asking[list[Answer]]:
    """Several scores in one call, all of them or none."""
    body = _encode({"requests": [dict(request) for request in requests]})
    return Asking("POST", "/v1/score:batch", _answers, body, wishes.params)


def take_labels(labels: Iterable[Label], idempotency_key: str | None) -> Asking[int]:
    """Labels in one call; under its key they count once, however often they are sent."""
    key = idempotency_key or uuid.uuid4().hex
    body = _encode([_label(label) for label in labels])
    return Asking("POST", "/v1/labels", _accepted, body, headers={"idempotency-key": key})


def take_events(events: Iterable[Mapping[str, Any]]) -> Asking[int]:
    """Events in one call. One without an id gets one, by which the worker knows it again."""
    body = _encode([_event(event) for event in events])
    return Asking("POST", "/v1/events", _accepted, body)


def find_prediction(prediction_id: str) -> Asking[LoggedPrediction]:
    """One prediction by its id."""
    return Asking("GET", f"/v1/predictions/{quote(prediction_id, safe='')}", _LOGGED.decode)


def list_models() -> Asking[Models]:
    """The releases and their roles."""
    return Asking("GET", "/v1/models", _MODELS.decode)


def ask_readiness() -> Asking[Readiness]:
    """Whether the service is ready; a service that is not answers 503, and says what it lacks."""
    return Asking("GET", "/readyz", _READINESS.decode, once=True, good=(200, 503))


def _answers(body: bytes) -> list[Answer]:
    return _ANSWERS.decode(body).predictions


def _accepted(body: bytes) -> int:
    return _ACCEPTED.decode(body).accepted


def _label(label: Label) -> dict[str, Any]:
    found = msgspec.structs.asdict(label) if isinstance(label, Outcome) else dict(label)
    if isinstance(found.get("time"), datetime):
        found["time"] = milliseconds(found["time"])
    return found


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(event)
    if found.get("id") is None:
        found["id"] = uuid.uuid4().hex
    return found


def _plain(value: Any) -> Any:
    """A number of NumPy's as Python's own."""
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError(f"found a {type(value).__name__}; allowed: what JSON has a place for")
    return item()


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_ANSWER = msgspec.json.Decoder(Answer)
_ANSWERS = msgspec.json.Decoder(Answers)
_ACCEPTED = msgspec.json.Decoder(Accepted)
_LOGGED = msgspec.json.Decoder(LoggedPrediction)
_MODELS = msgspec.json.Decoder(Models)
_READINESS = msgspec.json.Decoder(Readiness)
