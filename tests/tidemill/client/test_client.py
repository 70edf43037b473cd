"""Both clients against an api that is played: what they send, what they try again, what they say.

Every test runs with the client that waits and with the one for asyncio.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from tidemill.client import (
    AsyncClient,
    BadAnswer,
    Client,
    InvalidRequest,
    NoAnswer,
    NotAllowed,
    Options,
    Outcome,
    RateLimited,
    Retry,
    ServerFailed,
)

URL = "http://api.test:8000"
AT_ONCE = Retry(deadline_seconds=20, draw=lambda most: 0.0)
ANSWER = {
    "prediction_id": "a" * 32, "score": 0.25, "label": 0, "interval": None,
    "model": {"release": "r0001", "snapshot": 3, "offset": 30, "arm": "champion", "new": 1},
    "feature_ages_ms": {"card": 1.5, "shop": None}, "degraded": [], "of_tomorrow": {"x": 1},
}  # fmt: skip
BUSY = httpx.Response(503, json={"cause": "queue_full", "detail": "busy"})
Reply = httpx.Response | Exception


@dataclass
class Api:
    """Answers from a list, the last one again and again, and keeps what it was asked."""

    replies: list[Reply] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        self.asked.append(request)
        reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    @property
    def bodies(self) -> list[Any]:
        """What was sent, decoded."""
        return [msgspec.json.decode(request.content) for request in self.asked]


Call = Callable[..., Any]


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> type:
    """One of the clients."""
    found: type = request.param
    return found


@pytest.fixture
def ask(kind: type) -> Call:
    """`ask(api, method, *arguments, key=…, options=…)`: one call of a new client."""

    def call(api: Api, method: str, *arguments: Any, **more: Any) -> Any:
        settings = {name: more.pop(name) for name in ("key", "options") if name in more}
        settings.setdefault("options", Options(retry=AT_ONCE))
        client = kind(URL, transport=httpx.MockTransport(api), **settings)

        async def whole() -> Any:
            async with client:
                return await getattr(client, method)(*arguments, **more)

        if inspect.iscoroutinefunction(getattr(kind, method)):
            return asyncio.run(whole())
        with client:
            return getattr(client, method)(*arguments, **more)

    return call


def test_a_score_is_typed(ask: Call) -> None:
    """The answer's fields are values, and what a newer api adds is passed over."""
    api = Api([httpx.Response(200, json=ANSWER)])
    answer = ask(api, "score", {"card": "c1", "amount": np.float32(2.5)})
    assert (0.25, 0, None, ()) == (answer.score, answer.label, answer.interval, answer.degraded)
    assert ("r0001", 3, 30) == (answer.model.release, answer.model.snapshot, answer.model.offset)
    assert {"card": 1.5, "shop": None} == answer.feature_ages_ms
    assert [{"card": "c1", "amount": 2.5}] == api.bodies
    (request,) = api.asked
    assert ("POST", "/v1/score", b"") == (request.method, request.url.path, request.url.query)
    assert "application/json" == request.headers["content-type"]


def test_an_answer_of_an_older_api_will_do(ask: Call) -> None:
    """What is not there has its default."""
    old = {name: ANSWER[name] for name in ("prediction_id", "score", "feature_ages_ms", "degraded")}
    api = Api([httpx.Response(200, json={**old, "model": {"release": "r1", "snapshot": 0}})])
    answer = ask(api, "score", {})
    assert (None, "champion", None) == (answer.label, answer.model.arm, answer.explanation)


def test_wishes_are_in_the_query(ask: Call) -> None:
    """Explanations and staleness are asked for beside the request."""
    told = {"base": 0.5, "contributions": {"amount": -1.5}, "methods": ["tree_shap"]}
    api = Api([httpx.Response(200, json={**ANSWER, "explanation": told})])
    answer = ask(api, "score", {}, explain=True, max_staleness="5min")
    assert {"explain": "true", "max_staleness": "5min"} == dict(api.asked[0].url.params)
    assert {"amount": -1.5} == answer.explanation.contributions


def test_several_are_scored_in_one_call(ask: Call) -> None:
    """In their order; of none there is nothing to ask."""
    second = {**ANSWER, "score": 0.75}
    api = Api([httpx.Response(200, json={"predictions": [ANSWER, second]})])
    answers = ask(api, "score_many", iter([{"card": "c1"}, {"card": "c2"}]))
    assert [0.25, 0.75] == [answer.score for answer in answers]
    assert [{"requests": [{"card": "c1"}, {"card": "c2"}]}] == api.bodies
    nothing = Api()
    assert ([], 0, 0) == tuple(
        ask(nothing, method, []) for method in ("score_many", "send_labels", "send_events")
    )
    assert [] == nothing.asked


def test_labels_go_under_one_key_however_often_they_are_sent(ask: Call) -> None:
    """Every attempt has the same bytes and the same key; another call has another."""
    api = Api([httpx.ReadError("gone"), BUSY, httpx.Response(202, json={"accepted": 2})])
    when = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    labels = [Outcome("k1", 1, when), {"key": "k2", "value": 0.0, "time": 1_704_164_646_000}]
    assert 2 == ask(api, "send_labels", labels)
    expected = [
        {"key": "k1", "value": 1.0, "time": 1_704_164_645_000, "producer": ""},
        {"key": "k2", "value": 0.0, "time": 1_704_164_646_000},
    ]
    assert [expected] * 3 == api.bodies
    (key,) = {request.headers["idempotency-key"] for request in api.asked}
    other = Api([httpx.Response(202, json={"accepted": 1})])
    ask(other, "send_labels", labels[:1])
    assert key != other.asked[0].headers["idempotency-key"]
    ask(other, "send_labels", labels[:1], idempotency_key="mine")
    assert "mine" == other.asked[1].headers["idempotency-key"]


def test_a_label_that_is_being_taken_is_waited_for(ask: Call) -> None:
    """A 409 of one's own first attempt is no error."""
    taken = httpx.Response(409, json={"cause": "request_in_progress"})
    api = Api([taken, taken, httpx.Response(202, json={"accepted": 1})])
    assert 1 == ask(api, "send_labels", [Outcome("k", 1, 1)])
    assert 3 == len(api.asked)


def test_a_time_without_a_zone_is_refused(ask: Call) -> None:
    """Nothing is guessed, and nothing is sent."""
    api = Api()
    with pytest.raises(ValueError, match="2024-01-02T00:00:00; allowed: one with a time zone"):
        ask(api, "send_labels", [Outcome("k", 1, datetime(2024, 1, 2))])  # noqa: DTZ001
    assert [] == api.asked


def test_events_have_ids_by_which_they_count_once(ask: Call) -> None:
    """One without an id gets one, the same for every attempt."""
    api = Api([BUSY, httpx.Response(202, json={"accepted": 2})])
    assert 2 == ask(api, "send_events", [{"event": "payment", "id": "e1"}, {"event": "payment"}])
    first, second = api.bodies
    assert first == second
    assert "e1" == first[0]["id"]
    assert 32 == len(first[1]["id"])


def test_what_passes_is_tried_until_it_has_passed(ask: Call) -> None:
    """A connection that breaks, a proxy without a server and a busy service are waited out."""
    replies: list[Reply] = [
        httpx.ConnectError("refused"), httpx.RemoteProtocolError("disconnected"),
        httpx.ReadTimeout("slow"), httpx.Response(502), BUSY, httpx.Response(504),
        httpx.Response(429, json={"cause": "rate_limited"}, headers={"retry-after": "0"}),
    ]  # fmt: skip
    api = Api([*replies, httpx.Response(200, json=ANSWER)])
    assert 0.25 == ask(api, "score", {}).score
    assert 8 == len(api.asked)


def test_a_refusal_is_not_tried_again(ask: Call) -> None:
    """What the api says of the request is raised at once."""
    problem = {"cause": "missing_field", "field": "amount", "found": "nothing"}
    api = Api([httpx.Response(422, json={**problem, "allowed": "a value", "detail": "…"})])
    with pytest.raises(InvalidRequest) as raised:
        ask(api, "score", {})
    assert ("missing_field", "amount", "nothing", "a value") == (
        raised.value.cause, raised.value.field, raised.value.found, raised.value.allowed,
    )  # fmt: skip
    assert 1 == len(api.asked) == raised.value.attempts


def test_the_deadline_ends_it_with_the_last_error(ask: Call) -> None:
    """Out of time, the error says what was wrong and how often it was tried."""
    options = Options(retry=Retry(deadline_seconds=0.05, draw=lambda most: 0.0))
    with pytest.raises(ServerFailed, match="503 queue_full: busy") as raised:
        ask(Api([BUSY]), "score", {}, options=options)
    assert raised.value.attempts > 1
    with pytest.raises(NoAnswer, match="http://api.test:8000.*ConnectError: refused"):
        ask(Api([httpx.ConnectError("refused")]), "score", {}, options=options)


def test_who_is_to_wait_longer_than_the_deadline_does_not_wait(ask: Call) -> None:
    """`Retry-After` beyond the deadline is raised at once, and says how long it would be."""
    api = Api([httpx.Response(429, headers={"retry-after": "3600"})])
    with pytest.raises(RateLimited) as raised:
        ask(api, "score", {})
    assert (1, 3600.0) == (len(api.asked), raised.value.retry_after)


def test_readiness_is_asked_once(ask: Call) -> None:
    """A service that is not ready says what it lacks; one that is not there is an error."""
    not_ready = {"ready": False, "missing": {"store": "gone"}, "model": "r0001"}
    api = Api([httpx.Response(503, json=not_ready)])
    found = ask(api, "ready")
    assert (False, {"store": "gone"}, "r0001", 1) == (
        found.ready, found.missing, found.model, len(api.asked),
    )  # fmt: skip
    gone = Api([httpx.ConnectError("refused")])
    with pytest.raises(NoAnswer):
        ask(gone, "ready")
    assert 1 == len(gone.asked)


def test_a_prediction_and_the_models_are_typed(ask: Call) -> None:
    """What was logged, and which release has which role."""
    logged = {
        "id": "b" * 32, "key": "k", "time": 1, "scored_ms": 2, "score": 0.5, "baseline": 0.4,
        "model": ANSWER["model"], "schema": "s", "features": {"amount": None},
        "request": {"amount": None}, "labels": [{"value": 1.0}], "source": "archive",
        "arms": [{"release": "r2", "snapshot": 1, "offset": 3, "score": None}],
    }  # fmt: skip
    api = Api([httpx.Response(200, json=logged)])
    found = ask(api, "prediction", "b/ b")
    assert b"/v1/predictions/b%2F%20b" == api.asked[0].url.raw_path
    assert (0.4, {"amount": None}, None) == (found.baseline, found.features, found.arms[0].score)
    change = {"release": "r1", "action": "promoted", "schema": "s", "time_ms": 5, "by": "me"}
    roles = {"champion": "r1", "releases": [{"release": "r1", "role": "champion", "rows": 10}]}
    models = ask(Api([httpx.Response(200, json={**roles, "changes": [change]})]), "models")
    assert ("r1", "champion", "me") == (
        models.champion, models.releases[0].role, models.changes[0].by,
    )  # fmt: skip


@pytest.mark.parametrize("content", [b"<html>", b"{}", b"[]", b'{"score": "high"}', b"\xff"])
def test_what_is_not_this_api_is_said(ask: Call, content: bytes) -> None:
    """A success that cannot be read is an error, and is not asked for again."""
    api = Api([httpx.Response(200, content=content)])
    with pytest.raises(BadAnswer, match="answer 200: "):
        ask(api, "score", {})
    assert 1 == len(api.asked)


def test_a_redirect_is_not_followed(ask: Call) -> None:
    """A key never goes to another server because the first one says so."""
    api = Api([httpx.Response(307, headers={"location": "http://elsewhere.test/"})])
    with pytest.raises(BadAnswer, match="answer 307"):
        ask(api, "score", {}, key="secret")
    assert 1 == len(api.asked)


def test_the_key_goes_with_every_call_and_is_never_shown(ask: Call, kind: type) -> None:
    """In the header, made anew where it is a function, and in no text."""
    keys = iter(["first-secret", "second-secret"])
    api = Api([httpx.Response(401, json={"cause": "unauthorized", "detail": "expired"})])
    for expected in ("first-secret", "second-secret"):
        with pytest.raises(NotAllowed) as raised:
            ask(api, "score", {}, key=lambda: next(keys))
        assert f"Bearer {expected}" == api.asked[-1].headers["authorization"]
        assert "secret" not in f"{raised.value!s} {raised.value!r}"
    client = kind(URL, "first-secret", transport=httpx.MockTransport(api))
    assert f"{kind.__name__}(URL('{URL}'), key=***)" == repr(client)
    assert "secret" not in repr(vars(client))
    assert f"{kind.__name__}(URL('{URL}'), key=None)" == repr(kind(URL))
    with pytest.raises(ValueError, match="key: found other characters") as refused:
        ask(api, "score", {}, key="sécret")
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    "more",
    [{"idempotency_key": "k\n1"}, {"traceparent": "00-\r\nx-evil: 1"}, {"key": "secret "}],
    ids=str,
)
def test_what_no_header_can_hold_is_said_before_anything_is_sent(
    ask: Call, more: dict[str, str]
) -> None:
    """By the name of what was given, without repeating it."""
    api = Api([httpx.Response(202, json={"accepted": 1})])
    with pytest.raises(ValueError, match=r"^[a-z-]+: found other characters; allowed: ") as raised:
        ask(api, "send_labels", [Outcome("k", 1, 1)], **more)
    assert [] == api.asked
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("kind_of", [httpx.LocalProtocolError, httpx.UnsupportedProtocol])
def test_what_cannot_be_sent_is_not_tried_again(ask: Call, kind_of: type) -> None:
    """It is the caller's to mend, and what httpx says of it may hold a secret."""
    api = Api([kind_of("Illegal header value b'Bearer secret'")])
    with pytest.raises(ValueError, match=f"request: found {kind_of.__name__}; allowed: ") as raised:
        ask(api, "score", {})
    assert (1, True) == (len(api.asked), raised.value.__suppress_context__)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["", "api:8000", "ftp://api", "http://", "http://api:x", "/v1"])
def test_an_address_that_is_none_is_refused(kind: type, url: str) -> None:
    """At once, and not at the first call."""
    with pytest.raises(ValueError, match=r"url: found .*; allowed: http\(s\)://host:port"):
        kind(url)


def test_an_api_below_a_path_is_found(ask: Call, kind: type) -> None:
    """A proxy may put it anywhere."""
    api = Api([httpx.Response(200, json={"ready": True})])
    client = kind("http://api.test/scores/", transport=httpx.MockTransport(api))
    found = client.ready()
    assert (asyncio.run(found) if inspect.isawaitable(found) else found).ready
    assert "/scores/readyz" == api.asked[0].url.path


def test_a_trace_goes_on(ask: Call) -> None:
    """The caller's traceparent, given with the call or by a function."""
    one, two = (f"00-{'1' * 32}-{digit * 16}-01" for digit in "23")
    api = Api([httpx.Response(200, json=ANSWER)])
    options = Options(retry=AT_ONCE, traceparent=lambda: one)
    ask(api, "score", {}, options=options)
    ask(api, "score", {}, options=options, traceparent=two)
    ask(api, "score", {}, options=replace(options, traceparent=lambda: None))
    assert [one, two, None] == [request.headers.get("traceparent") for request in api.asked]


async def test_a_call_that_hangs_is_given_up() -> None:
    """An attempt has its own time, whatever each step of it may take."""
    asked = 0

    async def hang(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    options = Options(timeout_seconds=0.01, retry=replace(AT_ONCE, deadline_seconds=0.1))
    async with AsyncClient(URL, options=options, transport=httpx.MockTransport(hang)) as client:
        with pytest.raises(NoAnswer, match=r"http://api.test:8000.*no answer within 0\.0"):
            await client.score({})
    assert asked > 1


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"timeout_seconds": 0}, "timeout_seconds"), ({"connections": 0}, "conn")],
)
def test_options_that_cannot_be_are_refused(settings: dict[str, Any], name: str) -> None:
    """The error names the option."""
    with pytest.raises(ValueError, match=f"Options.{name}.*found 0; allowed"):
        Options(**settings)


def test_a_proxys_password_is_not_shown() -> None:
    """Neither in the options nor in the address."""
    assert "pw" not in repr(Options(proxy="http://me:pw@proxy:1"))
    client = Client("http://me:pw@api.test")
    assert "pw" not in repr(client)
    client.close()
