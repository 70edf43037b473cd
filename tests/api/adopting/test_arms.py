"""Challengers beside the champion: who answers whom, and what the records say of it."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from payments import make_project

from api.adopting.arms import Draw
from api.http.app import create_app
from api.service import ScoringService
from features.plan import compile_plan
from tidemill import Serving
from tidemill.roles import RoleChange
from tidemill.wire import vectors

SCORE = "/v1/score"


class Asked:
    """A request of one card."""

    def __init__(self, card: str | None) -> None:
        self.card, self.shop = card, "s1"


class Failing:
    """A head that cannot score rows whose amount is above a limit."""

    def __init__(self, head, column: int, limit: float, says_nan: bool) -> None:
        self.head, self.column, self.limit, self.says_nan = head, column, limit, says_nan

    def predict_both(self, vectors):
        """Raises, or says NaN, for large amounts."""
        large = vectors[:, self.column] > self.limit
        if large.any() and not self.says_nan:
            raise ZeroDivisionError("too large")
        scores, baselines = self.head.predict_both(vectors)
        return np.where(large, np.nan, scores), baselines


def break_arm(world, says_nan: bool, limit: float = 100.0) -> None:
    """Let the first challenger fail for amounts above 100."""
    (arm,) = world.service.serving.arms.challengers
    column = world.plan.schema.names.index("amount")
    current = arm.slot.current
    arm.slot.current = replace(current, head=Failing(current.head, column, limit, says_nan))


@pytest.fixture
async def canaries(served):
    """A champion, and a challenger that answers a third of the cards."""
    served.challenge(share=1 / 3)
    await served.service.serving.arms.look()
    return served


def test_a_draw_belongs_to_the_entity():
    """The same card always, another card mostly another, another project other ones."""
    draw = Draw(make_project())
    other = Draw(replace(make_project(), name="others"))
    draws = [draw(Asked(f"c{n}"), "id") for n in range(1_000)]
    assert draws == [draw(Asked(f"c{n}"), "another") for n in range(1_000)]
    assert all(0 <= each < 1 for each in draws)
    assert draws != [other(Asked(f"c{n}"), "id") for n in range(1_000)]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_share_is_a_share_of_the_entities(share):
    """Of ten thousand cards about so many are drawn below it."""
    draw = Draw(make_project())
    below = np.mean([draw(Asked(f"c{n}"), "id") < share for n in range(10_000)])
    assert abs(below - share) < 4 * np.sqrt(share * (1 - share) / 10_000)


def test_another_entity_may_be_the_sticky_one():
    """Then the shop decides, and the card does not."""
    project = replace(make_project(), serving=Serving(sticky="shop"))
    assert 1 == len({Draw(project)(Asked(f"c{n}"), "id") for n in range(10)})


def test_without_a_key_each_request_is_drawn_for_itself():
    """A card that is missing is nobody whom one could stick to."""
    draw = Draw(make_project())
    assert draw(Asked(None), "a") != draw(Asked(None), "b")


async def test_without_challengers_the_champion_answers(served, call, request_body):
    """Also after a look."""
    await served.service.serving.arms.look()
    answer = (await call.post(SCORE, request_body)).json
    assert ("r0001", "champion") == (answer["model"]["release"], answer["model"]["arm"])
    assert () == served.service.serving.arms.challengers


async def test_a_canary_answers_its_share_of_the_cards(canaries, call, request_body):
    """Each card by the same model every time, and the model it says is the one that answered."""
    bodies = [request_body | {"card": f"c{n}"} for n in range(200)]
    first, second = [[(await call.post(SCORE, body)).json for body in bodies] for _ in range(2)]
    arms = [answer["model"]["arm"] for answer in first]
    assert arms == [answer["model"]["arm"] for answer in second]
    assert 40 < arms.count("canary") < 95
    releases = {(a["model"]["arm"], a["model"]["release"], a["model"]["snapshot"]) for a in first}
    assert {("champion", "r0001", 0), ("canary", "r0002", 50)} == releases


async def test_the_records_hold_what_both_said(canaries, call, request_body):
    """Whoever answered, the other's score of the same vector is beside it."""
    (arm,) = canaries.service.serving.arms.challengers
    async with canaries.service.running():
        for n in range(30):
            await call.post(SCORE, request_body | {"card": f"c{n}"})
    found = canaries.producer.predictions()
    heads = {"r0001": canaries.service.slot.current.head, "r0002": arm.slot.current.head}
    assert {"champion", "canary"} == {prediction.arm for prediction in found}
    for prediction in found:
        (other,) = prediction.arms
        assert {"r0001", "r0002"} == {prediction.release, other.release}
        for release, score in (
            (prediction.release, prediction.score),
            (other.release, other.score),
        ):
            expected = heads[release].predict_many(vectors([prediction]))[0]
            assert expected == pytest.approx(score, abs=1e-12)
        assert {0: 0, 50: 500}[other.snapshot] == other.offset


async def test_a_raised_share_keeps_those_who_had_it(canaries, call, request_body):
    """More cards get the canary, none of those before loses it."""
    bodies = [request_body | {"card": f"c{n}"} for n in range(100)]

    async def theirs() -> set[int]:
        answers = [(await call.post(SCORE, body)).json for body in bodies]
        return {n for n, each in enumerate(answers) if each["model"]["arm"] == "canary"}

    before = await theirs()
    canaries.challenge(share=0.6)
    await canaries.service.serving.arms.look()
    assert before < await theirs()


async def test_two_canaries_share_the_cards(canaries, call, request_body):
    """The first keeps its own; together they answer no more than all."""
    arms = canaries.service.serving.arms
    first = [arms.of(n / 100) for n in range(100)]
    canaries.challenge("r0003", share=0.9)
    await arms.look()
    both = [arms.of(n / 100) for n in range(100)]
    assert [a.release for a in first if a] == [
        a.release for a in both if a and a.release == "r0002"
    ]
    assert {"r0002", "r0003"} == {arm.release for arm in both if arm}
    assert None not in both


@pytest.mark.parametrize("says_nan", [True, False])
async def test_where_a_canary_fails_the_champion_answers(canaries, call, request_body, says_nan):
    """The failure is counted and stands in the record; other rows of the group are the canary's."""
    break_arm(canaries, says_nan)
    rows = [{"card": f"c{n}", "amount": 50.0 + 100 * (n % 2)} for n in range(40)]
    async with canaries.service.running():
        reply = await call.post("/v1/score:batch", {"requests": [request_body | r for r in rows]})
    answers = reply.json["predictions"]
    large = [answer for answer, row in zip(answers, rows, strict=True) if row["amount"] > 100]
    assert {"champion"} == {answer["model"]["arm"] for answer in large}
    assert "canary" in {answer["model"]["arm"] for answer in answers}
    assert {()} == {tuple(answer["degraded"]) for answer in answers}
    told = canaries.producer.predictions()
    failed = [p for p in told if any(np.isnan(arm.score) for arm in p.arms)]
    assert 20 == len(failed) == canaries.service.measurements.arm_failures["r0002"]
    assert all(1 == len(p.arms) for p in told)


async def test_a_challenger_is_adopted_and_leaves_again(served):
    """As the journal says; its snapshots are its own, and change nothing of the champion's."""
    served.challenge(number=7)
    served.service.adoption.note(served.write_snapshot(3))
    arms = served.service.serving.arms
    await arms.look()
    ((arm, model),) = arms.models()
    assert ("r0002", "shadow", 7, 70) == (model.release, arm.role, model.snapshot, model.offset)
    assert ("r0001", 0) == (
        served.service.slot.current.release,
        served.service.slot.current.snapshot,
    )
    served.registry.enter(
        lambda standings: RoleChange("r0002", "retired", served.plan.schema.hash, 2)
    )
    await arms.look()
    assert [] == arms.models()


async def test_a_challenger_begins_as_its_release(served):
    """Until its learner has a snapshot."""
    served.challenge()
    served.beside.clear()
    await served.service.serving.arms.look()
    ((_, model),) = served.service.serving.arms.models()
    assert ("r0002", 0, 0) == (model.release, model.snapshot, model.offset)


async def test_a_challenger_for_other_features_is_none_of_ours(served):
    """It waits for the api whose declaration it was made for."""
    served.release("r0002", schema="f" * 12)
    change = RoleChange("r0002", "challenger", "f" * 12, 1, share=0.5)
    served.registry.enter(lambda standings: change)
    await served.service.serving.arms.look()
    assert () == served.service.serving.arms.challengers


async def test_a_damaged_challenger_is_refused_once(served):
    """It has no model, and the next look does not try it again."""
    served.challenge(share=0.5)
    served.beside.clear()
    file = served.registry.folder / "r0002" / "trees.safetensors"
    file.write_bytes(file.read_bytes() + b"#")
    for _ in range(3):
        await served.service.serving.arms.look()
    assert [] == served.service.serving.arms.models()
    assert 1 == served.service.measurements.swaps_refused


async def test_a_snapshot_of_another_challenger_is_refused(served):
    """What lies under its learner's name must be of its release."""
    served.challenge()
    served.release("r0003")
    served.registry.enter(
        lambda standings: RoleChange("r0003", "retired", served.plan.schema.hash, 1)
    )
    served.write_snapshot(9, "r0003", learner="head@r0002")
    served.beside["head@r0002"], served.snapshot = served.snapshot, None
    await served.service.serving.arms.look()
    ((_, model),) = served.service.serving.arms.models()
    assert ("r0002", 0) == (model.release, model.snapshot)


async def test_a_damaged_journal_keeps_the_challengers(canaries):
    """Whoever was beside the champion stays there."""
    journal = canaries.registry.folder / "roles.jsonl"
    journal.write_bytes(b"?\n" + journal.read_bytes())
    arms = canaries.service.serving.arms
    await arms.look()
    assert ["r0002"] == [arm.release for arm in arms.challengers]


async def test_challengers_are_followed_while_running(served, call, request_body, until):
    """An order is carried out by whoever hears of it, and the status shows it."""
    async with served.service.running():
        served.challenge(share=1.0)
        served.announced.put_nowait(served.registry.announcement("r0002", "head", 1))
        await until(lambda: served.service.serving.arms.models())
        answer = (await call.post(SCORE, request_body)).json
        (shown,) = (await call("GET", "/v1/status")).json["model"]["challengers"]
    assert ("r0002", "canary") == (answer["model"]["release"], answer["model"]["arm"])
    assert ("r0002", "canary", 1.0, 50) == (
        shown["release"], shown["role"], shown["share"], shown["snapshot"],
    )  # fmt: skip


async def test_one_that_has_just_become_champion_is_no_canary(canaries, call, request_body):
    """While roles are read later than models are adopted, nothing is compared with itself."""
    canaries.write_snapshot(1, "r0002")
    await canaries.service.adoption.adopt_newest()
    async with asyncio.timeout(5), canaries.service.running():
        canaries.write_snapshot(1, "r0002")
        answers = [
            (await call.post(SCORE, request_body | {"card": f"c{n}"})).json for n in range(20)
        ]
    assert {"champion"} == {answer["model"]["arm"] for answer in answers}
    assert {()} == {tuple(p.arms) for p in canaries.producer.predictions()}


async def test_the_draw_of_a_project_without_entities(world):
    """The label's key decides; a prediction that is joined by its id is drawn for itself."""
    project = make_project()
    bare = replace(project, features=project.features[1:])
    assert Draw(bare)(Asked("c1"), "a") == Draw(bare)(Asked("c1"), "b")
    own = replace(bare, label=replace(project.label, key=()))
    assert Draw(own)(Asked("c1"), "a") != Draw(own)(Asked("c1"), "b")


async def test_a_number_has_no_label(served, call, request_body):
    """A service whose label is a number answers without a label."""
    plan = compile_plan(replace(make_project(), label=replace(make_project().label, kind="number")))
    service = ScoringService(plan, served.service.ports, served.service.settings, served.clock)
    served.app = create_app(service)
    answer = (await type(call)(served.app).post(SCORE, request_body)).json
    assert (0.0, None) == (answer["score"], answer["label"])


async def test_the_one_before_is_scored_while_a_retrain_catches_up(served):
    """The retrain may be given up, and the champion goes on being watched."""
    schema, arms = served.plan.schema.hash, served.service.serving.arms
    served.release("r0002")
    promoted = RoleChange("r0002", "promoted", schema, 2, "trial", watched="r0001")
    served.registry.enter(lambda standings: promoted)
    served.write_snapshot(1, "r0002")
    await served.service.adoption.adopt_newest()
    served.release("r0003")
    await arms.look()
    assert ["r0001"] == [model.release for _, model in arms.models()]
    served.write_snapshot(1, "r0003")
    await served.service.adoption.adopt_newest()
    await arms.look()
    assert [] == arms.models()
