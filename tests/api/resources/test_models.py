"""/v1/models: what each release is for, and orders that say who wants them and why."""

from dataclasses import replace
from functools import partial

import msgspec
import pytest
from payments import make_project

from api.http.app import create_app
from api.service import ScoringService
from cli.role_orders import RegistryOrders
from features.plan import compile_plan
from tidemill.errors import BusUnavailable
from tidemill.learner_kinds import TreeHead
from tidemill.wire import Announcement, decode

MODELS = "/v1/models"
ORDER = {"by": "anna", "why": "better for two days"}


def with_orders(world, plan):
    """The ports of one declaration, with orders about its releases."""
    learner = plan.project.learner.name
    orders = RegistryOrders(world.registry, plan.schema.hash, learner, world.clock)
    return replace(world.of_plan(plan), orders=orders)


@pytest.fixture
def ordered(world, call):
    """Calls an app that takes orders for three releases."""
    for name in ("r0001", "r0002", "r0003"):
        world.release(name)
    ports = replace(world.service.ports, of_plan=partial(with_orders, world))
    world.service = ScoringService(world.plan, ports, world.service.settings, world.clock)
    return type(call)(create_app(world.service))


async def test_the_releases_are_listed(ordered):
    """Oldest first, each with its role; the newest is the champion."""
    found = (await ordered("GET", MODELS)).json
    assert "r0003" == found["champion"]
    assert [("r0001", "former"), ("r0002", "former"), ("r0003", "champion")] == [
        (each["release"], each["role"]) for each in found["releases"]
    ]
    assert ["published"] * 3 == [change["action"] for change in found["changes"]]


async def test_one_release_is_shown_with_its_changes(ordered):
    """Only its own."""
    found = (await ordered("GET", f"{MODELS}/r0002")).json
    assert ("r0002", "former") == (found["release"]["release"], found["release"]["role"])
    assert ["r0002"] == [change["release"] for change in found["changes"]]


async def test_a_promotion_is_entered_and_announced(ordered, world):
    """Who wanted it and why stands in the journal; every process hears of it."""
    reply = await ordered.post(f"{MODELS}/r0001:promote", ORDER)
    change = reply.json["change"]
    assert (200, True) == (reply.status, reply.json["announced"])
    assert ("r0001", "promoted", "anna", "better for two days") == tuple(
        change[name] for name in ("release", "action", "by", "why")
    )
    assert "r0001" == world.registry.champion()
    ((_, value, *_),) = world.producer.sent["models"]
    announced = decode(Announcement, value)
    assert ("release", "head", "r0001") == (
        announced.kind, announced.learner, announced.release
    )  # fmt: skip


async def test_a_rollback_puts_the_champion_out(ordered, world):
    """The one it takes the place of is rolled back."""
    change = (await ordered.post(f"{MODELS}/r0002:rollback", ORDER)).json["change"]
    assert ("rolled_back", "r0003") == (change["action"], change["instead_of"])
    assert ["r0002", "rolled_back"] == [
        world.registry.champion(), world.registry.standings().role("r0003")
    ]  # fmt: skip


async def test_a_challenger_gets_a_share(ordered, world):
    """Or none: then it is only scored."""
    change = (await ordered.post(f"{MODELS}/r0001:challenge", ORDER | {"share": 0.1})).json
    assert ("challenger", 0.1) == (change["change"]["action"], change["change"]["share"])
    assert 0.1 == world.registry.standings().share("r0001")
    assert "r0003" == world.registry.champion()


async def test_a_retired_release_is_out(ordered, world):
    """For good, unless it is forced back."""
    path = f"{MODELS}/r0001"
    reply = await ordered.post(f"{path}:retire", ORDER)
    change = reply.json["change"]
    assert ("retired", "anna", True) == (change["action"], change["by"], reply.json["announced"])
    assert "retired" == (await ordered("GET", path)).json["release"]["role"]
    refused = await ordered.post(f"{path}:promote", ORDER)
    assert (409, "retired") == (refused.status, refused.json["cause"])
    assert 200 == (await ordered.post(f"{path}:promote", ORDER | {"force": True})).status
    assert "r0001" == world.registry.champion()


async def test_orders_are_for_the_declaration_that_serves(ordered, world):
    """Its learner hears of them, and what answers for it is not retired; the one before may be."""
    project = make_project()
    changed = replace(project, learner=TreeHead("other"), features=project.features[::-1])
    plan = compile_plan(changed)
    world.release("r0004", plan.schema.hash)
    world.service._adopt(world.service._build(plan))
    refused = await ordered.post(f"{MODELS}/r0004:retire", ORDER)
    assert (409, "champion") == (refused.status, refused.json["cause"])
    assert 200 == (await ordered.post(f"{MODELS}/r0003:retire", ORDER)).status
    ((_, value, *_),) = world.producer.sent["models"]
    announced = decode(Announcement, value)
    assert ("other", "r0003") == (announced.learner, announced.release)


async def test_what_is_so_already_changes_nothing(ordered, world):
    """An order twice is one change, and nothing to announce."""
    path = f"{MODELS}/r0001:promote"
    replies = [(await ordered.post(path, ORDER)).json for _ in range(2)]
    assert {"change": None, "announced": False} == replies[1]
    assert 1 == len(world.producer.sent["models"])


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("r0001:promote", {"by": "anna"}, (422, "missing_field", "why")),
        ("r0001:promote", {"why": "so"}, (422, "missing_field", "by")),
        ("r0001:promote", ORDER | {"by": ""}, (422, "invalid_value", "by")),
        ("r0001:promote", ORDER | {"why": ""}, (422, "invalid_value", "why")),
        ("r0001:promote", ORDER | {"force": "yes"}, (422, "wrong_type", "force")),
        ("r0001:promote", ORDER | {"share": 0.1}, (422, "unknown_field", "share")),
        ("r0001:challenge", ORDER | {"share": 1}, (422, "invalid_value", "share")),
        ("r0001:challenge", ORDER | {"share": -0.1}, (422, "invalid_value", "share")),
        ("r0099:promote", ORDER, (404, "no_release", "release")),
        ("r0003:challenge", ORDER, (409, "champion", "r0003")),
        ("..:promote", ORDER, (404, "no_release", "release")),
        ("r0003:retire", ORDER, (409, "champion", "r0003")),
        ("r0099:retire", ORDER, (404, "no_release", "release")),
        ("r0001:retire", ORDER | {"force": True}, (422, "unknown_field", "force")),
        ("r0001:retire", {"by": "anna"}, (422, "missing_field", "why")),
    ],
)
async def test_an_order_that_is_none_is_refused(ordered, world, path, body, expected):
    """Nothing is entered, and the field is named."""
    reply = await ordered.post(f"{MODELS}/{path}", body)
    assert expected == (reply.status, reply.json["cause"], reply.json["field"])
    assert "r0003" == world.registry.champion()
    assert {} == world.producer.sent


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"by":' + b"[" * 20_000])
async def test_a_body_that_is_no_json_is_400_or_422(ordered, body):
    """However deep it is nested."""
    assert (await ordered("POST", f"{MODELS}/r0001:promote", body)).status in (400, 422)


async def test_a_damaged_release_is_refused(ordered, world):
    """An order for it is a conflict that says why; the list names the problem."""
    (world.registry.folder / "r0001" / "trees.safetensors").write_bytes(b"other")
    reply = await ordered.post(f"{MODELS}/r0001:promote", ORDER)
    assert (409, "damaged_release") == (reply.status, reply.json["cause"])
    (world.registry.folder / "r0001" / "manifest.json").write_bytes(b"{}")
    listed = (await ordered("GET", MODELS)).json["releases"]
    assert "problem" in listed[0]


async def test_a_broker_that_is_away_is_said(ordered, world):
    """The change stands; every process finds it by itself."""
    world.producer.down = True
    reply = await ordered.post(f"{MODELS}/r0001:promote", ORDER)
    assert (200, False) == (reply.status, reply.json["announced"])
    assert "r0001" == world.registry.champion()
    assert BusUnavailable.__name__ not in reply.body.decode()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "r0001:promote", "POST"),
        ("GET", "r0001:retire", "POST"),
        ("POST", "r0001", "GET"),
        ("DELETE", "r0001", "GET"),
    ],
)
async def test_another_method_is_405(ordered, method, path, allowed):
    """With the one there is."""
    reply = await ordered(method, f"{MODELS}/{path}")
    assert (405, allowed) == (reply.status, reply.headers["allow"])


async def test_an_unknown_release_is_404(ordered):
    """By its name."""
    assert 404 == (await ordered("GET", f"{MODELS}/r0099")).status


async def test_a_process_without_orders_says_so(world, call):
    """Nothing is entered."""
    reply = await call("POST", f"{MODELS}/r0001:promote", msgspec.json.encode(ORDER))
    assert (404, "no_orders") == (reply.status, reply.json["cause"])


async def test_the_key_that_an_order_came_with_is_entered(ordered, world):
    """Whoever they say they are."""
    from api.http.call import Call
    from api.http.routes import rare_routes

    route = rare_routes(world.service)[MODELS + "/{release}:promote"]
    scope = {"path": f"{MODELS}/r0001:promote", "headers": [], "query_string": b""}
    call = Call(scope, [], msgspec.json.encode(ORDER))
    call.caller = "k17"
    change = msgspec.json.decode(await route.handle(call))["change"]
    assert "anna (key k17)" == change["by"]


async def test_a_caller_who_leaves_is_no_error_of_ours(ordered, world):
    """A body that breaks off is no order, and nothing for the log."""
    messages = [{"type": "http.request", "body": b'{"by":', "more_body": True}]
    sent = []

    async def receive():
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": f"{MODELS}/r0001:promote", "headers": [],
        "query_string": b"", "scheme": "http", "server": ("test", 80), "root_path": "",
    }  # fmt: skip
    await ordered._app(scope, receive, send)
    assert 400 == sent[0]["status"]
    assert "r0003" == world.registry.champion()
