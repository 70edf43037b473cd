"""Each refusal is an error of its own, which says what the api said."""

from __future__ import annotations

import pickle

import pytest

from tidemill.client import errors
from tidemill.client.errors import (
    BadAnswer,
    ClientError,
    Conflict,
    InvalidRequest,
    NoAnswer,
    NotAllowed,
    NotFound,
    RateLimited,
    Refusal,
    ServerFailed,
    refusal_of,
    retry_after_seconds,
)
from tidemill.errors import TidemillError

BODY = (
    b'{"type":"/v1/problems#wrong_type","title":"A value has the wrong type","status":422,'
    b'"detail":"amount: found str; allowed: float","instance":"/v1/score","cause":"wrong_type",'
    b'"field":"amount","found":"str","allowed":"float","of_tomorrow":[1]}'
)


def test_every_error_is_in_the_tree() -> None:
    """Each class derives from the base and is drawn in the module's docstring."""
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception) and value is not TidemillError
    ]
    assert all(issubclass(value, ClientError) for value in classes)
    assert [] == [value.__name__ for value in classes if value.__name__ not in str(errors.__doc__)]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest), (401, NotAllowed), (403, NotAllowed), (404, NotFound),
        (409, Conflict), (413, InvalidRequest), (422, InvalidRequest), (429, RateLimited),
        (500, ServerFailed), (503, ServerFailed), (418, InvalidRequest),
        (304, BadAnswer), (204, BadAnswer),
    ],
)  # fmt: skip
def test_a_status_has_its_error(status: int, kind: type[ClientError]) -> None:
    """Statuses of no refusal are answers that cannot be read."""
    assert kind is type(refusal_of(status, {}, BODY))


def test_a_refusal_has_what_the_problem_says() -> None:
    """Cause, field, found and allowed for programs, the detail for people."""
    error = refusal_of(422, {}, BODY)
    assert isinstance(error, Refusal)
    assert ("wrong_type", "amount", "str", "float") == (
        error.cause, error.field, error.found, error.allowed,
    )  # fmt: skip
    assert "422 wrong_type: amount: found str; allowed: float" == str(error)
    assert "/v1/score" == error.problem.instance


@pytest.mark.parametrize("body", [b"<h1>Bad Gateway</h1>", b"", b"\xff\xfe", b"[" * 100_000])
def test_a_proxys_page_is_a_refusal_too(body: bytes) -> None:
    """What is not a problem document is shown as far as it can be."""
    error = refusal_of(502, {}, body)
    assert isinstance(error, ServerFailed)
    assert "" == error.cause
    assert str(error).startswith("502: ") and len(str(error)) < 250


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, 999_999_999.0),
        (
            {
                "retry-after": "Sun, 06 Nov 1994 08:49:37 GMT",
                "date": "Sun, 06 Nov 1994 08:49:07 GMT",
            },
            30.0,
        ),
        (
            {
                "retry-after": "Sun, 06 Nov 1994 08:49:07 GMT",
                "date": "Sun, 06 Nov 1994 08:49:37 GMT",
            },
            0.0,
        ),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], expected: float | None) -> None:
    """A date counts from the answer's own; what cannot be read asks for nothing."""
    assert expected == retry_after_seconds(headers)


def test_errors_survive_a_process_boundary() -> None:
    """An error comes back from a pickle with its fields."""
    for error in (NoAnswer("url", "refused", False), refusal_of(422, {}, BODY), BadAnswer(1, "x")):
        assert vars(error) == vars(pickle.loads(pickle.dumps(error)))  # noqa: S301
