"""What each feature added to a score, by the model that answered."""

import asyncio

import numpy as np
import pytest

from learners.explain import contributions
from tidemill.errors import InputError
from tidemill.wire import vectors

SCORE = "/v1/score"


def log_odds(score: float) -> float:
    """The raw score of a probability."""
    return float(np.log(score / (1 - score)))


def explained_is_the_champion_alone(served, monkeypatch) -> None:
    """Other models are of a kind that cannot be."""
    champion, known = served.service.slot.current.head, contributions.methods

    def methods(learner):
        if learner is champion:
            return known(learner)
        raise InputError("not_explained", "explain", "a model of River", "trees")

    monkeypatch.setattr(contributions, "methods", methods)


def raise_closed(*_: object) -> None:
    """As an executor does that was shut down."""
    raise RuntimeError("cannot schedule new futures after shutdown")


async def test_an_explanation_adds_up_to_the_score(served, call, request_body):
    """Every feature has its part, and the method is said."""
    answer = (await call.post(f"{SCORE}?explain=true", request_body)).json
    found = answer["explanation"]
    assert list(served.plan.schema.names) == list(found["contributions"])
    total = found["base"] + sum(found["contributions"].values())
    assert log_odds(answer["score"]) == pytest.approx(total, abs=1e-9)
    assert ["tree_shap"] == found["methods"]


async def test_only_who_asks_gets_one(served, call, request_body):
    """In one group each caller has what it asked for."""
    paths = [SCORE, f"{SCORE}?explain=true", SCORE]
    replies = await asyncio.gather(*(call.post(path, request_body) for path in paths))
    assert 1 == served.store.reads
    assert [False, True, False] == ["explanation" in reply.json for reply in replies]


async def test_every_answer_of_a_batch_is_explained(served, call, request_body):
    """Each by its own vector."""
    requests = [request_body | {"amount": float(n)} for n in range(100)]
    reply = await call.post("/v1/score:batch?explain=true", {"requests": requests})
    for answer in reply.json["predictions"]:
        found = answer["explanation"]
        total = found["base"] + sum(found["contributions"].values())
        assert log_odds(answer["score"]) == pytest.approx(total, abs=1e-9)


async def test_what_answered_a_part_is_not_written_to_until_it_is_explained(
    served, call, request_body
):
    """The next part of a batch is read meanwhile, and other weights may come."""
    reader, head = served.service.serving.scorer._reader, served.service.slot.current.head
    read, lent = reader.read, []

    async def reading(requests):
        lent.append(head in served.service.lent)
        return await read(requests)

    reader.read = reading
    batch = {"requests": [request_body] * 100}
    assert 200 == (await call.post("/v1/score:batch?explain=true", batch)).status
    assert ([False, True], False) == (lent, head in served.service.lent)


async def test_the_model_that_answered_explains(served, call, request_body):
    """A canary its own score."""
    served.challenge(share=1.0)
    await served.service.serving.arms.look()
    answer = (await call.post(f"{SCORE}?explain=true", request_body)).json
    found = answer["explanation"]
    assert "canary" == answer["model"]["arm"]
    total = found["base"] + sum(found["contributions"].values())
    assert log_odds(answer["score"]) == pytest.approx(total, abs=1e-9)


async def test_the_prior_is_explained_by_nothing(world, call, request_body):
    """No feature added anything."""
    answer = (await call.post(f"{SCORE}?explain=true", request_body)).json
    found = answer["explanation"]
    assert {0.0} == {found["base"], *found["contributions"].values()}


async def test_explained_predictions_are_logged_as_any_other(served, call, request_body):
    """Once, with the vector that was explained."""
    async with served.service.running():
        answer = (await call.post(f"{SCORE}?explain=true", request_body)).json
    (prediction,) = served.producer.predictions()
    assert answer["prediction_id"] == prediction.id
    head = served.service.slot.current.head
    assert answer["score"] == float(head.predict_many(vectors([prediction]))[0])


async def test_a_model_that_cannot_be_explained_is_said_before_scoring(
    served, call, request_body, monkeypatch
):
    """422, nothing is logged, and no place in the queue is taken."""

    def refuse(learner):
        raise InputError("not_explained", "explain", "a model of River", "trees")

    monkeypatch.setattr("learners.explain.contributions.methods", refuse)
    reply = await call.post(f"{SCORE}?explain=true", request_body)
    assert (422, 0) == (reply.status, served.service.log.depth)
    assert 0 == served.service.measurements.predictions


async def test_a_canary_that_cannot_be_explained_answers_without(
    served, call, request_body, monkeypatch
):
    """Its score is answered and logged, and the answer says what it lacks."""
    served.challenge(share=1.0)
    await served.service.serving.arms.look()
    explained_is_the_champion_alone(served, monkeypatch)
    plain = (await call.post(SCORE, request_body)).json
    answer = (await call.post(f"{SCORE}?explain=true", request_body)).json
    assert ("canary", ["explanation"]) == (answer["model"]["arm"], answer["degraded"])
    assert (plain["score"], False) == (answer["score"], "explanation" in answer)
    assert (2, 1) == (served.service.log.depth, served.service.measurements.degraded["explanation"])


async def test_each_answer_of_a_batch_has_what_its_model_can_say(
    served, call, request_body, monkeypatch
):
    """The champion's are explained, the canary's say that they are not."""
    served.challenge(share=0.5)
    await served.service.serving.arms.look()
    explained_is_the_champion_alone(served, monkeypatch)
    requests = [request_body | {"card": f"c{n}"} for n in range(40)]
    reply = await call.post("/v1/score:batch?explain=true", {"requests": requests})
    found = {
        (each["model"]["arm"], "explanation" in each, *each["degraded"])
        for each in reply.json["predictions"]
    }
    assert {("champion", True), ("canary", False, "explanation")} == found


async def test_a_failed_explanation_costs_no_score(served, call, request_body, monkeypatch):
    """Who asked has the score and hears that the explanation is missing; all is logged."""

    def fail(learner, vectors):
        raise ZeroDivisionError

    monkeypatch.setattr(contributions, "contributions", fail)
    paths = [SCORE, f"{SCORE}?explain=true"]
    replies = await asyncio.gather(*(call.post(path, request_body) for path in paths))
    assert [200, 200] == [reply.status for reply in replies]
    assert [[], ["explanation"]] == [reply.json["degraded"] for reply in replies]
    assert 1 == len({reply.json["score"] for reply in replies})
    assert 2 == served.service.log.depth


async def test_a_process_that_ends_answers_without(served, call, request_body, monkeypatch):
    """There is no thread any more that could explain."""
    monkeypatch.setattr(served.service.lent, "in_thread", raise_closed)
    answer = (await call.post(f"{SCORE}?explain=true", request_body)).json
    assert (["explanation"], 1) == (answer["degraded"], served.service.log.depth)


async def test_explanations_leave_half_of_the_queue_to_others(served, call, request_body):
    """They are waited for by one thread; who only wants a score is answered meanwhile."""
    served.service.log.reserve(served.service.settings.prediction_queue // 2)
    refused = await call.post(f"{SCORE}?explain=true", request_body)
    assert (503, "queue_full") == (refused.status, refused.json["cause"])
    assert 200 == (await call.post(SCORE, request_body)).status
