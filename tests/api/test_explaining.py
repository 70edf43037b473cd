"""What each feature added to a score, by the model that answered."""

import asyncio

import numpy as np
import pytest

from tidemill.errors import InputError
from tidemill.wire import vectors

SCORE = "/v1/score"


def log_odds(score: float) -> float:
    """The raw score of a probability."""
    return float(np.log(score / (1 - score)))


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


async def test_a_failed_explanation_fails_its_call_alone(served, call, request_body, monkeypatch):
    """500 for who asked, an answer for who did not; its place is given back."""

    def fail(learner, vectors):
        raise ZeroDivisionError

    monkeypatch.setattr("learners.explain.contributions.contributions", fail)
    paths = [SCORE, f"{SCORE}?explain=true"]
    replies = await asyncio.gather(*(call.post(path, request_body) for path in paths))
    assert [200, 500] == [reply.status for reply in replies]
    assert 1 == served.service.log.depth


async def test_explanations_leave_half_of_the_queue_to_others(served, call, request_body):
    """They are waited for by one thread; who only wants a score is answered meanwhile."""
    served.service.log.reserve(served.service.settings.prediction_queue // 2)
    refused = await call.post(f"{SCORE}?explain=true", request_body)
    assert (503, "queue_full") == (refused.status, refused.json["cause"])
    assert 200 == (await call.post(SCORE, request_body)).status
