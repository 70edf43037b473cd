"""Refusals the api answers with, as JSON: cause, field, found and allowed beside an HTTP status."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tidemill.errors import InputError, TidemillError

MALFORMED = "malformed"
RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """What was wrong: a short stable cause, the field, what was found there and what is allowed."""

    cause: str
    field: str
    found: str
    allowed: str


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: Problem


class Refused(TidemillError):
    """A request that is answered with an error; `retry_after` asks the caller to come again."""

    def __init__(self, status: int, problem: Problem) -> None:
        self.status, self.problem = status, problem
        super().__init__(status, problem)

    @property
    def retry_after(self) -> bool:
        """True when trying again later may help."""
        return self.status == 503

    @property
    def body(self) -> bytes:
        """The answer as JSON."""
        return msgspec.json.encode(ErrorBody(self.problem))


def refuse_input(error: InputError) -> Refused:
    """Input that cannot be used: 400 for a body that is no JSON, 422 for a field."""
    status = 400 if error.cause == MALFORMED else 422
    return Refused(status, Problem(error.cause, error.field, error.found, error.allowed))


def refuse_body(found: str, limit_bytes: int) -> Refused:
    """A body over the limit: 413."""
    return Refused(413, Problem("body_too_large", "body", found, f"at most {limit_bytes} bytes"))


def refuse_full_queue(waiting: int, capacity: int) -> Refused:
    """The broker is behind and another prediction could be lost: 503."""
    found = f"{waiting} waiting for the broker"
    return Refused(503, Problem("queue_full", "predictions", found, f"at most {capacity}"))


def refuse_without_broker(message: str) -> Refused:
    """The broker did not take a label: 503."""
    return Refused(503, Problem("broker_unavailable", "labels", message, "a broker that answers"))


def refuse_without_store(message: str) -> Refused:
    """The store did not answer what only it knows: 503."""
    return Refused(503, Problem("store_unavailable", "store", message, "a store that answers"))


def refuse_method(found: str, allowed: str) -> Refused:
    """Another method than the route's: 405."""
    return Refused(405, Problem("method_not_allowed", "method", found, allowed))


def refuse_failure() -> Refused:
    """A mistake of ours; the log has it: 500."""
    found = "an error while answering"
    return Refused(500, Problem("internal_error", "server", found, "see the api's log"))
