"""Every error the client raises, in one tree.

::

    ClientError
    ├── NoAnswer              nobody answered: no connection, a broken one, or out of time
    ├── BadAnswer             what answered is not this api, or another version of it
    └── Refusal               the api said no, and why: status, cause, field, found, allowed
        ├── InvalidRequest    the request cannot be used (400, 413, 415, 422 …)
        ├── NotAllowed        no key, or not one for this (401, 403)
        ├── NotFound          there is no such thing (404)
        ├── Conflict          it does not fit what is there now (409)
        ├── RateLimited       too many requests for this key (429)
        └── ServerFailed      the service cannot answer now (500 and above)
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import msgspec

from tidemill.errors import TidemillError

IN_PROGRESS = "request_in_progress"
"""The cause of a 409 for a label that is still being taken: asking again gets its answer."""
_SHOWN = 200


class ClientError(TidemillError):
    """Base of them; `attempts` is how often it was tried."""

    attempts = 1


class NoAnswer(ClientError):
    """Nobody answered; `sent` is False where the request cannot have arrived."""

    def __init__(self, url: str, problem: str, sent: bool) -> None:
        self.url, self.problem, self.sent = url, problem, sent
        super().__init__(url, problem, sent)

    def __str__(self) -> str:
        return f"{self.url}: {self.problem}"


class BadAnswer(ClientError):
    """An answer that cannot be read: its status, and what is wrong with it."""

    def __init__(self, status: int, problem: str) -> None:
        self.status, self.problem = status, problem
        super().__init__(status, problem)

    def __str__(self) -> str:
        return f"answer {self.status}: {self.problem}"


class ProblemDetails(msgspec.Struct, frozen=True):
    """The body of a refusal (RFC 9457) as the api writes it; what another sends may be missing."""

    title: str = ""
    detail: str = ""
    instance: str = ""
    cause: str = ""
    field: str = ""
    found: str = ""
    allowed: str = ""


class Refusal(ClientError):
    """The api said no. `cause` is a short stable word, such as `missing_field`.

    `retry_after` is how many seconds it asked to be left alone, None where it did not ask.
    """

    def __init__(self, status: int, problem: ProblemDetails, retry_after: float | None) -> None:
        self.status, self.problem, self.retry_after = status, problem, retry_after
        super().__init__(status, problem, retry_after)

    @property
    def cause(self) -> str:
        """What was wrong, as a stable word; empty where something before the api refused."""
        return self.problem.cause

    @property
    def field(self) -> str:
        """Where it was wrong."""
        return self.problem.field

    @property
    def found(self) -> str:
        """What was found there."""
        return self.problem.found

    @property
    def allowed(self) -> str:
        """What is allowed there."""
        return self.problem.allowed

    def __str__(self) -> str:
        told = self.problem.detail or self.problem.title or "no reason"
        return f"{self.status}{' ' if self.cause else ''}{self.cause}: {told}"


class InvalidRequest(Refusal):
    """The request cannot be used as it is."""


class NotAllowed(Refusal):
    """No key, one that has ended, or one that is not for this."""


class NotFound(Refusal):
    """There is no such prediction, release or route."""


class Conflict(Refusal):
    """It does not fit what is there now."""


class RateLimited(Refusal):
    """Too many requests for this key."""


class ServerFailed(Refusal):
    """The service cannot answer now, or made a mistake."""


_BY_STATUS: Mapping[int, type[Refusal]] = {
    401: NotAllowed, 403: NotAllowed, 404: NotFound, 409: Conflict, 429: RateLimited,
}  # fmt: skip


def refusal_of(status: int, headers: Mapping[str, str], body: bytes) -> ClientError:
    """The error that an answer other than a success means."""
    if not 400 <= status < 600:
        return BadAnswer(status, "a status that the api does not answer with")
    try:
        problem = msgspec.json.decode(body, type=ProblemDetails)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Not the api's own: a proxy's page says something to people at least.
        problem = ProblemDetails(detail=body[:_SHOWN].decode("utf-8", "replace").strip())
    kind = _BY_STATUS.get(status, InvalidRequest if status < 500 else ServerFailed)
    return kind(status, problem, retry_after_seconds(headers))


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` asks for (RFC 9110, section 10.2.3), None without one that can be read.

    A date counts from the answer's own `Date`: the two clocks need not agree.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until, now = (parsedate_to_datetime(each) for each in (text, headers.get("date", "")))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None
