"""What a call may ask for beside the score."""

import pytest

from api.http.call import Call
from api.road.wishes import Wishes, wishes_of
from tidemill.errors import InputError


def call_with(query: bytes, *headers: tuple[bytes, bytes]) -> Call:
    """A call with this query."""
    return Call({"path": "/", "query_string": query, "headers": list(headers)}, [])


def test_nothing_asked_is_nothing():
    """Without query and trace there is nothing to carry along."""
    assert wishes_of(call_with(b"")) is None
    assert wishes_of(call_with(b"explain=false")) is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"explain=true", Wishes(explain=True)),
        (b"max_staleness=1500", Wishes(max_staleness_ms=1_500)),
        (b"max_staleness=5min&explain=true", Wishes(True, 300_000)),
        (b"max_staleness=%36h", Wishes(max_staleness_ms=21_600_000)),
    ],
)
def test_what_is_asked_is_read(query, expected):
    """Durations as they are declared, or milliseconds."""
    assert expected == wishes_of(call_with(query))


def test_a_trace_alone_is_a_wish():
    """It goes with the prediction."""
    call = call_with(b"")
    call.traceparent = b"00-1"
    assert Wishes(traceparent=b"00-1") == wishes_of(call)


@pytest.mark.parametrize(
    ("query", "cause", "field"),
    [
        (b"explain=yes", "invalid_value", "explain"),
        (b"explain=", "invalid_value", "explain"),
        (b"max_staleness=0", "invalid_value", "max_staleness"),
        (b"max_staleness=-1", "invalid_value", "max_staleness"),
        (b"max_staleness=5m", "invalid_value", "max_staleness"),
        (b"max_staleness=" + b"9" * 5_000, "invalid_value", "max_staleness"),
        (b"max_staleness=1.5h", "invalid_value", "max_staleness"),
        (b"explian=true", "unknown_parameter", "query"),
        (b"explain=true&explain=false", "repeated_parameter", "query"),
        (b"explain=true&explain=" + b"x" * 5_000, "repeated_parameter", "query"),
        (b"&".join(b"a%d=1" % n for n in range(20)), "too_many_parameters", "query"),
    ],
)
def test_what_cannot_be_asked_is_refused(query, cause, field):
    """With its cause and place; whatever is long is cut."""
    with pytest.raises(InputError) as refused:
        wishes_of(call_with(query))
    assert (cause, field) == (refused.value.cause, refused.value.field)
    assert len(str(refused.value)) < 300
