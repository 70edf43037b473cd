"""Another declaration serves once it has a release, a file that fits and fresh features."""

import asyncio
from dataclasses import replace

import msgspec
import pytest
from payments import make_project, train_model

from api.adopting.cut_over import ALERT
from features.plan import compile_plan
from learners.release import TREES_FILE, ModelFile, release_files
from tidemill import RequestFeature, Trial, Window
from tidemill.errors import DeclarationError
from tidemill.registry import Manifest
from tidemill.roles import RoleChange
from tidemill.topics import ALERTS
from tidemill.wire import Alert, decode

SCORE = "/v1/score"


def larger_project():
    """The project with one window feature and one request feature more."""
    project = make_project()
    payment, window = project.events[0], project.features[0]
    more = (
        Window("paid_lately", payment, ("mean",), window.by, ("2h",), payment.amount),
        RequestFeature("double", project.request.amount * 2),
    )
    return replace(project, features=(*project.features, *more))


LARGER = compile_plan(larger_project())


@pytest.fixture(scope="module")
def larger_text() -> bytes:
    """A model of the larger project."""
    return train_model(LARGER)


def publish(world, text: bytes, name: str = "r0002", plan=LARGER) -> None:
    """Publish a release for other features than those served."""
    manifest = Manifest(
        name, "payments", plan.schema.hash, list(plan.schema.names), 0, 0, 0, 1, {}, {}, {}, {}
    )
    world.registry.publish(manifest, release_files(ModelFile(TREES_FILE, text)))


def alerts(world) -> list[tuple[str, str, str]]:
    """The alerts so far."""
    found = [decode(Alert, value) for _, value in world.producer.sent.get(ALERTS, [])]
    return [(alert.name, alert.state, alert.message) for alert in found]


async def test_the_new_schema_serves_with_its_release(served, larger_text):
    """The file declares what the release was made for: one look, and it serves."""
    served.declared = larger_project
    publish(served, larger_text)
    await served.service.cut_over.look()
    service = served.service
    assert (LARGER.schema.hash, "r0002", "") == (
        service.serving.schema, service.slot.current.release, service.cut_over.waiting,
    )  # fmt: skip
    assert LARGER.schema.hash == served.served[-1]
    assert [] == alerts(served)


async def test_promoting_a_release_of_the_old_schema_goes_back(served, larger_text):
    """With the file restored, the champion is what the old declaration serves."""
    old = served.plan.schema.hash
    served.declared = larger_project
    publish(served, larger_text)
    await served.service.cut_over.look()
    change = RoleChange("r0001", "promoted", old, 1, "ann")
    served.registry.enter(lambda standings: change)
    served.declared, served.stamp = make_project, 1
    await served.service.cut_over.look()
    service = served.service
    assert (old, "r0001") == (service.serving.schema, service.slot.current.release)


async def test_no_request_fails_and_each_answer_has_one_schema(served, call, larger_text):
    """Requests run through the exchange; every prediction has the vector its schema describes."""
    body = {"card": "c1", "shop": "s1", "amount": 12.5, "country": "NZ"}
    stop, statuses = asyncio.Event(), []

    async def ask() -> None:
        while not stop.is_set():
            statuses.append((await call.post(SCORE, body)).status)

    async with served.service.running():
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(ask())
            served.declared = larger_project
            publish(served, larger_text)
            while served.service.serving.schema != LARGER.schema.hash:
                await asyncio.sleep(0.001)
            served_before = len(statuses)
            while len(statuses) < served_before + 50:
                await asyncio.sleep(0.001)
            stop.set()
    assert {200} == set(statuses)
    widths = {
        (prediction.schema, len(prediction.vector) // 4)
        for prediction in served.producer.predictions()
    }
    assert {
        (served.plan.schema.hash, len(served.plan.schema.names)),
        (LARGER.schema.hash, len(LARGER.schema.names)),
    } == widths
    releases = {(p.schema, p.release) for p in served.producer.predictions()}
    assert {(served.plan.schema.hash, "r0001"), (LARGER.schema.hash, "r0002")} == releases


async def test_a_request_under_way_ends_with_what_it_began_with(served, call, larger_text):
    """A read that was waiting while another declaration took over is answered by the old one."""
    body = {"card": "c1", "shop": "s1", "amount": 12.5, "country": "NZ"}
    served.store.hangs = True
    waiting = asyncio.ensure_future(call.post(SCORE, body))
    await asyncio.sleep(0)
    served.declared = larger_project
    publish(served, larger_text)
    await served.service.cut_over.look()
    answer = (await waiting).json
    assert ("r0001", "r0002") == (
        answer["model"]["release"], served.service.slot.current.release,
    )  # fmt: skip


async def test_a_file_that_declares_something_else_keeps_the_old_one(served, larger_text):
    """A release for features that the file does not declare is not served, and an alert says so."""
    publish(served, larger_text)
    await served.service.cut_over.look()
    service = served.service
    expected = (
        f"schema of the project file: found {served.plan.schema.hash}; "
        f"allowed: {LARGER.schema.hash}, that of r0002"
    )
    assert (served.plan.schema.hash, expected) == (service.serving.schema, service.cut_over.waiting)
    assert [(ALERT, "began", expected)] == alerts(served)


@pytest.mark.parametrize(
    "broken", [DeclarationError("import", "SyntaxError", "code that runs"), ZeroDivisionError("?")]
)
async def test_a_broken_file_never_breaks_serving(served, call, request_body, larger_text, broken):
    """Whatever loading raises, the old declaration serves; the mended file is tried again."""

    def fail():
        raise broken

    served.declared = fail
    publish(served, larger_text)
    await served.service.cut_over.look()
    assert 200 == (await call.post(SCORE, request_body)).status
    assert served.plan.schema.hash == served.service.serving.schema
    served.declared = larger_project
    await served.service.cut_over.look()  # the file has not changed: not tried again
    assert served.plan.schema.hash == served.service.serving.schema
    served.stamp += 1
    await served.service.cut_over.look()
    assert LARGER.schema.hash == served.service.serving.schema
    assert ["began", "ended"] == [state for _, state, _ in alerts(served)]


async def test_it_waits_until_the_features_are_as_fresh(served, larger_text):
    """A state that is behind the one served is not served yet."""
    served.declared = larger_project
    publish(served, larger_text)
    served.applied[LARGER.state] = {0: 10, 1: 4}
    await served.service.cut_over.look()
    assert served.plan.schema.hash == served.service.serving.schema
    assert "found 7 events behind" in served.service.cut_over.waiting
    served.applied[LARGER.state] = {0: 17, 1: 5}
    await served.service.cut_over.look()
    assert LARGER.schema.hash == served.service.serving.schema


async def test_a_damaged_release_changes_nothing(served, larger_text):
    """The new schema's only release fails its checks: the old one goes on, and an alert says so."""
    served.declared = larger_project
    publish(served, larger_text)
    (served.registry.folder / "r0002" / "trees.safetensors").write_bytes(b"tampered")
    await served.service.cut_over.look()
    assert served.plan.schema.hash == served.service.serving.schema
    assert [(ALERT, "began", "release r0002: refused, see the log")] == alerts(served)


async def test_without_the_store_it_waits(served, larger_text):
    """Freshness cannot be known: nothing is exchanged, nothing is raised."""
    served.declared = larger_project
    publish(served, larger_text)
    served.store_gone = True
    await served.service.cut_over.look()
    assert served.plan.schema.hash == served.service.serving.schema
    served.store_gone = False
    await served.service.cut_over.look()
    assert LARGER.schema.hash == served.service.serving.schema


async def test_a_manifest_that_cannot_be_read_changes_nothing(served, larger_text):
    """Nobody knows what it was made for."""
    served.declared = larger_project
    publish(served, larger_text)
    (served.registry.folder / "r0002" / "manifest.json").write_bytes(b"?")
    await served.service.cut_over.look()
    assert served.plan.schema.hash == served.service.serving.schema


async def test_the_old_declaration_serves_again_with_its_release(served, larger_text):
    """Going back is the same step: the old file and a newer release of its schema."""
    served.declared = larger_project
    publish(served, larger_text)
    await served.service.cut_over.look()
    served.declared, served.stamp = make_project, 2
    served.release("r0003")
    await served.service.cut_over.look()
    assert (served.plan.schema.hash, "r0003") == (
        served.service.serving.schema, served.service.slot.current.release,
    )  # fmt: skip


async def test_the_document_describes_what_serves(served, call, larger_text):
    """OpenAPI is generated again: the request of the new declaration."""
    project = larger_project()
    request = type(project.request)({**project.request.fields, "coupon": str | None})
    wider = replace(project, request=request)
    before = (await call("GET", "/openapi.json")).json
    served.declared = lambda: wider
    publish(served, larger_text, plan=compile_plan(wider))
    await served.service.cut_over.look()
    after = (await call("GET", "/openapi.json")).json
    names = [set(d["components"]["schemas"]["Request"]["properties"]) for d in (before, after)]
    assert {"coupon"} == names[1] - names[0]


async def test_rules_follow_the_schema_of_the_prediction(served, call, request_body, larger_text):
    """A prediction of the old declaration that is still on its way is judged by the old rules."""
    request_body["amount"] = 9_000.0
    await call.post(SCORE, request_body)
    served.declared = larger_project
    publish(served, larger_text)
    await served.service.cut_over.look()
    await call.post(SCORE, request_body)
    async with served.service.running():
        await asyncio.sleep(0)
    assert {"large": 2} == dict(served.service.measurements.bad_cases)


async def test_status_says_which_declaration_serves(served, call, larger_text):
    """Schema, state and the number of features, and why another one waits."""
    publish(served, larger_text)
    await served.service.cut_over.look()
    found = msgspec.json.decode((await call("GET", "/v1/status")).body)["features"]
    assert served.plan.schema.hash == found["schema"]
    assert found["waiting"].startswith("schema of the project file")


@pytest.mark.parametrize(("errors", "found"), [(None, False), (0.01, True)])
async def test_the_limits_are_those_of_what_serves(served, larger_text, errors, found):
    """With another declaration come its own bounds on failing answers."""
    served.declared = lambda: replace(larger_project(), trial=Trial(errors=errors))
    publish(served, larger_text)
    await served.service.cut_over.look()
    limits, measured = served.service._limits, served.service.measurements
    said = []
    for _ in range(62):
        measured.predictions += 10
        measured.arm_failures["r0002"] += 5
        served.clock.advance(1_000)
        said.append(limits.judge(("r0002",)))
    assert found == any(said)
