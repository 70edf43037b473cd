"""A call parses what is asked of it, and hot routes find their paths and ask who may come in."""

import pytest

from api.http.call import Call
from api.http.errors import Problem, Refused
from api.http.hot import HotRoute, HotRoutes
from api.measuring.measurements import Measurements


async def echo(call: Call) -> bytes:
    """What came."""
    return call.body or b"{}"


def routes(**options) -> HotRoutes:
    """An exact path and one with a part in braces."""
    paths = {"/a": HotRoute("a", 200, echo), "/m/{model}/infer": HotRoute("m", 200, echo)}
    return HotRoutes(paths, 100, Measurements(), **options)


async def ask(hot: HotRoutes, path: str, *headers: tuple[bytes, bytes]) -> list[dict]:
    """What one POST is answered with."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"",
             "headers": list(headers)}  # fmt: skip
    await hot.answer(hot.find(path), scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a", "a"),
        ("/m/x/infer", "m"),
        ("/m//infer", None),
        ("/m/infer", None),
        ("/m/x/y/infer", None),
        ("/b", None),
    ],
)
def test_a_path_finds_its_route(path, name):
    """One part may be anything but empty and more than one part."""
    found = routes().find(path)
    assert name == (found.name if found else None)


def test_headers_are_looked_up_by_small_letters():
    """The first of a name counts."""
    headers = [(b"x-api-key", b"one"), (b"x-api-key", b"two")]
    call = Call({"path": "/a", "query_string": b"", "headers": headers}, [])
    assert (b"one", None) == (call.header(b"x-api-key"), call.header(b"authorization"))


def test_a_query_is_decoded_once():
    """Percent signs and plus signs mean what they mean in a query."""
    call = Call({"path": "/a", "query_string": b"a=1%202&b=x+y&c=", "headers": []}, [])
    assert {"a": "1 2", "b": "x y", "c": ""} == call.query
    assert call.query is call.query


async def test_who_is_not_admitted_is_not_read(capsys):
    """The refusal is the answer, with the headers that admission added."""

    def admit(call, route):
        call.answer_headers.append((b"ratelimit", b"0"))
        raise Refused(401, Problem("unauthorized", "key", "nothing", "a key"))

    start, _ = await ask(routes(admit=admit), "/a")
    assert (401, b"0") == (start["status"], dict(start["headers"])[b"ratelimit"])


async def test_admission_may_be_waited_for_or_not():
    """Both ways lead to the route."""

    async def later(call):
        call.caller = "k1"

    for admit in (lambda call, route: None, lambda call, route: later(call)):
        start, body = await ask(routes(admit=admit), "/a")
        assert (200, b"{}") == (start["status"], body["body"])
