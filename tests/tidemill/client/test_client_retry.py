"""When a call is tried again: what passes, how long the waits are, and where the deadline lies."""

from __future__ import annotations

import pytest

from tidemill.client.errors import (
    BadAnswer,
    ClientError,
    Conflict,
    InvalidRequest,
    NoAnswer,
    NotAllowed,
    NotFound,
    ProblemDetails,
    RateLimited,
    ServerFailed,
)
from tidemill.client.retry import Attempts, Retry

ALWAYS_MOST = Retry(deadline_seconds=100, first_seconds=1, most_seconds=6, draw=lambda most: most)


def refusal(kind: type, status: int, cause: str = "", after: float | None = None) -> ClientError:
    """A refusal of this status."""
    error: ClientError = kind(status, ProblemDetails(cause=cause), after)
    return error


PASSING = [
    (NoAnswer("url", "refused", sent=False), True, True),
    (NoAnswer("url", "broken", sent=True), True, False),
    (refusal(RateLimited, 429), True, True),
    (refusal(ServerFailed, 503), True, False),
    (refusal(ServerFailed, 502), True, False),
    (refusal(ServerFailed, 504), True, False),
    (refusal(ServerFailed, 500), False, False),
    (refusal(Conflict, 409, "request_in_progress"), True, True),
    (refusal(Conflict, 409, "champion"), False, False),
    (refusal(InvalidRequest, 422), False, False),
    (refusal(NotAllowed, 401), False, False),
    (refusal(NotFound, 404), False, False),
    (BadAnswer(200, "no JSON"), False, False),
]


@pytest.mark.parametrize(("error", "repeated", "otherwise"), PASSING, ids=str)
def test_what_may_pass_is_tried_again(error: ClientError, repeated: bool, otherwise: bool) -> None:
    """A request that must not arrive twice is tried again only where it cannot have arrived."""
    for repeatable, expected in ((True, repeated), (False, otherwise)):
        attempts = Attempts(ALWAYS_MOST, repeatable, 0.0)
        if expected:
            assert 1.0 == attempts.pause(error, 0.0)
        else:
            with pytest.raises(type(error)) as raised:
                attempts.pause(error, 0.0)
            assert error is raised.value


def test_waits_double_up_to_the_most() -> None:
    """Each wait may be twice the one before, and none is above the largest."""
    attempts, error = Attempts(ALWAYS_MOST, True, 0.0), refusal(ServerFailed, 503)
    assert [1, 2, 4, 6, 6] == [attempts.pause(error, 0.0) for _ in range(5)]
    assert 6 == attempts.count


def test_waits_are_spread_over_their_whole_length() -> None:
    """Full jitter: from nothing to the most there may be."""
    retry = Retry(first_seconds=1, most_seconds=1)
    error = refusal(ServerFailed, 503)
    waits = [Attempts(retry, True, 0.0).pause(error, 0.0) for _ in range(500)]
    assert 0 <= min(waits) < 0.1 and 0.9 < max(waits) <= 1


def test_retry_after_is_waited_for_and_more() -> None:
    """Who was asked to come back in two seconds does not come back at the same moment."""
    attempts = Attempts(ALWAYS_MOST, True, 0.0)
    assert 3.0 == attempts.pause(refusal(RateLimited, 429, after=2.0), 0.0)


def test_no_wait_reaches_beyond_the_deadline() -> None:
    """What would have to be waited for too long is raised at once, with how often it was tried."""
    attempts = Attempts(ALWAYS_MOST, True, 50.0)
    error = refusal(RateLimited, 429, after=120.0)
    with pytest.raises(RateLimited):
        attempts.pause(error, 50.0)
    attempts.pause(refusal(ServerFailed, 503), 51.0)
    late = refusal(ServerFailed, 503)
    with pytest.raises(ServerFailed):
        attempts.pause(late, 149.0)
    assert 2 == late.attempts
    assert 99.0 == attempts.left(51.0)


def test_an_attempt_without_time_does_not_hide_what_was_wrong() -> None:
    """A wait that took longer than it should ends with the error before, not with a timeout."""
    attempts, error = Attempts(ALWAYS_MOST, True, 50.0), refusal(ServerFailed, 503)
    assert 0.0 == attempts.left(151.0)
    attempts.pause(error, 51.0)
    with pytest.raises(ServerFailed) as raised:
        attempts.left(149.995)
    assert error is raised.value


def test_many_attempts_do_not_overflow() -> None:
    """The ten thousandth wait is as long as the largest."""
    attempts, error = Attempts(ALWAYS_MOST, True, 0.0), refusal(ServerFailed, 503)
    assert 6.0 == [attempts.pause(error, 0.0) for _ in range(10_000)][-1]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"deadline_seconds": 0}, "deadline_seconds"),
        ({"first_seconds": -1}, "first_seconds"),
        ({"most_seconds": float("nan")}, "most_seconds"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(settings: dict[str, float], name: str) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=f"Retry.{name}: found"):
        Retry(**settings)
