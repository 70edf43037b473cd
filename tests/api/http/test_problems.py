"""Every refusal is a problem (RFC 9457): its type, its title, and what was wrong for programs."""

import re
from pathlib import Path

import pytest

from api.http.problems import TITLES, problem_type

ROOT = Path(__file__).parents[3]
PROBLEM = "application/problem+json"
WORDS = re.compile(r'(?:InputError|Problem|refuse_missing|refuse_conflict|_refuse)\(\s*"([a-z_]+)"')


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/score", (400, "malformed")),
        ("GET", "/v1/score", (405, "method_not_allowed")),
        ("POST", "/v1/events", (400, "malformed")),
        ("GET", "/v1/nothing", (404, "unknown_route")),
        ("POST", "/v1/problems", (405, "method_not_allowed")),
        ("GET", "/v1/predictions/none", (404, "unknown_prediction")),
        ("GET", "/v1/features/planet/x", (404, "unknown_entity")),
        ("GET", "/v1/quality", (404, "unknown_quality")),
    ],
)
async def test_a_refusal_is_a_problem(served, call, method, path, expected):
    """Hot routes, rare ones and FastAPI's own refuse in the same words."""
    status, cause = expected
    reply = await call(method, path, b"{")
    found = reply.json
    assert (status, PROBLEM) == (reply.status, reply.headers["content-type"])
    assert (problem_type(cause), TITLES[cause], status, path, cause) == tuple(
        found[name] for name in ("type", "title", "status", "instance", "cause")
    )
    assert (
        f"{found['field']}: found {found['found']}; allowed: {found['allowed']}"
        == (found["detail"])
    )


async def test_the_kinds_of_problems_are_listed(call):
    """A problem's type leads to a list that has it."""
    listed = (await call("GET", "/v1/problems")).json
    assert set(TITLES) == set(listed)
    assert "/v1/problems#queue_full" == listed["queue_full"]["type"]


def test_every_cause_has_a_title():
    """What the api can refuse a request for stands in the list, in words."""
    said = set()
    others = (
        "batch/publish/orders.py", "features/decoding.py", "features/cloud_events.py",
        "features/inspection/look.py",
    )  # fmt: skip
    for path in [*(ROOT / "api").rglob("*.py"), *(ROOT / each for each in others)]:
        said |= set(WORDS.findall(path.read_text()))
    assert set() == said - set(TITLES)


async def test_an_error_of_ours_says_nothing_of_itself(served, call, monkeypatch):
    """Whatever fails, the caller hears that it is for the log."""

    async def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(served.service, "status", broken)
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/v1/status", "headers": [], "query_string": b"",
        "scheme": "http", "server": ("test", 80), "root_path": "",
    }  # fmt: skip
    with pytest.raises(RuntimeError):  # for the server's log, after the answer
        await served.app(scope, None, send)
    assert 500 == sent[0]["status"]
    assert b"secret" not in sent[1]["body"]
    assert b"internal_error" in sent[1]["body"]
