"""Refusals the api answers with: problem details (RFC 9457) that name field, found and allowed."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import structlog

from api.http.problems import problem_type, title_of
from tidemill.errors import InputError, StoreUnavailable, TidemillError

MALFORMED, INFERENCE = "malformed", "/v2"
PROBLEM_JSON = b"application/problem+json"
RETRY_AFTER_SECONDS = 1
_LOG = structlog.get_logger()
_ENCODE = msgspec.json.Encoder().encode
_STATUSES = {
    MALFORMED: 400,
    "too_many_parameters": 400,
    "repeated_parameter": 400,
    "unknown_entity": 404,
    "no_release": 404,
    "no_replay": 404,
    "unknown_release": 404,
    "retired": 409,
    "role": 409,
    "champion": 409,
    "unsupported_media_type": 415,
}
"""The status of an InputError's cause; of any other it is 422."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What was wrong: a short stable cause, the field, what was found there and what is allowed."""

    cause: str
    field: str
    found: str
    allowed: str


class ProblemDetails(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success (RFC 9457, section 3.1).

    `type` names the kind of problem (`GET /v1/problems` lists them), `title` says it in words,
    `detail` says what was wrong with this request, and `instance` where. The last four say the
    same for programs: a stable `cause`, the `field`, what was `found` there and what is `allowed`.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    cause: str
    field: str
    found: str
    allowed: str


class Refused(TidemillError):
    """A request that is answered with an error; `headers` go with it."""

    def __init__(
        self, status: int, problem: Problem, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        self.status, self.problem, self.headers = status, problem, headers
        super().__init__(status, problem)

    def __str__(self) -> str:
        problem = self.problem
        return f"{problem.field}: found {problem.found}; allowed: {problem.allowed}"

    @property
    def retry_after(self) -> bool:
        """True when trying again later may help."""
        return self.status == 503

    def details(self, instance: str = "") -> ProblemDetails:
        """The problem as it is answered; `instance` is the path that was asked for."""
        cause, problem = self.problem.cause, self.problem
        return ProblemDetails(
            problem_type(cause), title_of(cause), self.status, str(self), instance,
            cause, problem.field, problem.found, problem.allowed,
        )  # fmt: skip

    @property
    def body(self) -> bytes:
        """The answer as JSON, without an instance."""
        return _ENCODE(self.details())


class InferenceError(msgspec.Struct, frozen=True):
    """An error as the Open Inference Protocol has it."""

    error: str


def as_problem(refused: Refused, path: str) -> tuple[bytes, bytes]:
    """Content type and body: problem details; under `/v2` an error as that protocol says it."""
    if path == INFERENCE or path.startswith(f"{INFERENCE}/"):
        return b"application/json", _ENCODE(InferenceError(str(refused)))
    return PROBLEM_JSON, _ENCODE(refused.details(path))


def refuse_input(error: InputError) -> Refused:
    """Input that cannot be used: 400 for a body that is no JSON, mostly 422 for a field."""
    status = _STATUSES.get(error.cause, 422)
    return Refused(status, Problem(error.cause, error.field, error.found, error.allowed))


def refuse_body(found: str, limit_bytes: int) -> Refused:
    """A body over the limit: 413."""
    return Refused(413, Problem("body_too_large", "body", found, f"at most {limit_bytes} bytes"))


def refuse_full_queue(waiting: int, capacity: int) -> Refused:
    """The broker is behind and another prediction could be lost: 503."""
    found = f"{waiting} waiting for the broker"
    return Refused(503, Problem("queue_full", "predictions", found, f"at most {capacity}"))


def refuse_without_broker(message: str, field: str = "labels") -> Refused:
    """The broker did not take what it was sent: 503."""
    return Refused(503, Problem("broker_unavailable", field, message, "a broker that answers"))


def refuse_without_store(message: str) -> Refused:
    """The store did not answer what only it knows: 503."""
    return Refused(503, Problem("store_unavailable", "store", message, "a store that answers"))


def refuse_method(found: str, allowed: str) -> Refused:
    """Another method than the route's: 405."""
    return Refused(405, Problem("method_not_allowed", "method", found, allowed))


def refuse_missing(cause: str, field: str, found: str, allowed: str) -> Refused:
    """What was asked for is not there: 404."""
    return Refused(404, Problem(cause, field, found, allowed))


def refuse_conflict(cause: str, field: str, found: str, allowed: str) -> Refused:
    """The request does not fit what is there now: 409."""
    return Refused(409, Problem(cause, field, found, allowed))


def refused_by(error: Exception) -> Refused:
    """What an error is answered with. One that nobody foresaw is logged, and is our failure."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, InputError):
        return refuse_input(error)
    if isinstance(error, StoreUnavailable):
        return refuse_without_store(str(error))
    _LOG.error("request_failed", exc_info=error)
    return refuse_failure()


def refuse_failure() -> Refused:
    """A mistake of ours; the log has it: 500."""
    found = "an error while answering"
    return Refused(500, Problem("internal_error", "server", found, "see the api's log"))
