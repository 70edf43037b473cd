"""Labels without key fields name the prediction that was answered, and may be numbers."""

from dataclasses import replace

import pytest
from payments import make_project

from api.http.app import create_app
from api.service import ScoringService
from features.plan import compile_plan
from tidemill.label import Label

SCORE, LABELS = "/v1/score", "/v1/labels"


@pytest.fixture
def numbers(world):
    """The service with a label that is a number and is joined by the prediction's id."""
    plan = compile_plan(replace(make_project(), label=Label((), "1d", "number")))
    service = world.service
    world.service = ScoringService(plan, service.ports, service.settings, world.clock)
    world.app = create_app(world.service)
    return world


async def test_the_key_of_a_record_is_the_prediction_id(numbers, call, request_body):
    """Each of two answers to the same request has an outcome of its own."""
    async with numbers.service.running():
        answers = [(await call.post(SCORE, request_body)).json for _ in range(2)]
    ids = [answer["prediction_id"] for answer in answers]
    assert 2 == len(set(ids))
    assert ids == [prediction.key for prediction in numbers.producer.predictions()]
    assert [each.encode() for each in ids] == [k for k, _ in numbers.producer.sent["predictions"]]


@pytest.mark.parametrize(("value", "status"), [(-2.5, 202), (0, 202), ("1", 422), (True, 422)])
async def test_a_label_may_be_any_number(numbers, call, value, status):
    """What is none is refused, and the answer says what is allowed."""
    reply = await call.post(LABELS, {"key": "id", "value": value, "time": 1_399_999_999_000})
    assert status == reply.status
    if status == 422:
        assert "a finite number" == reply.json["allowed"]


async def test_the_published_example_is_accepted(numbers, call):
    """The document names the prediction's id as the key."""
    document = (await call("GET", "/openapi.json")).json
    content = document["paths"][LABELS]["post"]["requestBody"]["content"]["application/json"]
    example = content["examples"]["one"]["value"]
    assert "the answer's prediction_id" == example["key"]
    assert 202 == (await call.post(LABELS, example)).status
