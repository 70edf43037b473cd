"""Predictions reach the broker once it is there, and never hold up an answer."""

import asyncio

import msgspec

from api.resources.predictions import RecentPredictions
from tidemill.wire import BadCaseFound, decode

SCORE = "/v1/score"


async def test_an_answer_does_not_wait_for_the_broker(served, call, request_body):
    """Scores are answered while the broker has taken nothing yet."""
    served.producer.open.clear()
    async with served.service.running():
        reply = await call.post(SCORE, request_body)
        assert (200, []) == (reply.status, served.producer.predictions())
        served.producer.open.set()
    assert 1 == len(served.producer.predictions())


async def test_predictions_survive_a_broker_that_is_down(served, call, request_body, until):
    """Sending is tried again until the broker is back; nothing is lost, in the order of scoring."""
    served.producer.down = True
    async with served.service.running():
        replies = [await call.post(SCORE, request_body) for _ in range(20)]
        await until(lambda: served.producer.refusals >= 2)
        assert 20 == served.service.log.depth
        served.producer.down = False
    sent = [prediction.id for prediction in served.producer.predictions()]
    assert [reply.json["prediction_id"] for reply in replies] == sent
    assert 0 == served.service.log.depth


async def test_sending_makes_room_again(served, call, request_body, until):
    """After 503 for a full queue, scores are taken as soon as the broker has caught up."""
    served.producer.open.clear()
    batch = {"requests": [request_body] * 200}
    async with served.service.running():
        statuses = [(await call.post("/v1/score:batch", batch)).status for _ in range(3)]
        served.producer.open.set()
        await until(lambda: served.service.log.depth == 0)
        statuses.append((await call.post("/v1/score:batch", batch)).status)
    assert [200, 200, 503, 200] == statuses
    assert 600 == len(served.producer.predictions())


async def test_shutdown_has_a_deadline(served, call, request_body, monkeypatch):
    """A clean stop ends, though the broker stays away and predictions are left."""
    monkeypatch.setattr("api.service.DRAIN_SECONDS", 0.05)
    served.producer.down = True
    async with asyncio.timeout(5), served.service.running():
        await call.post(SCORE, request_body)
    assert 1 == served.service.log.depth


async def test_the_key_of_a_record_is_the_join_key(served, call, request_body):
    """Predictions lie in the partition in which their labels will."""
    async with served.service.running():
        await call.post(SCORE, request_body)
    assert [b"c1|s1"] == [key for key, _ in served.producer.sent["predictions"]]


async def test_rules_without_a_label_are_judged_when_scoring(served, call, request_body):
    """A bad case that needs no label is found at once; one that needs it is left to the join."""
    async with served.service.running():
        for amount in (10.0, 6_000.0, 20.0):
            await call.post(SCORE, request_body | {"amount": amount})
    found = [decode(BadCaseFound, value) for _, value in served.producer.sent["badcases"]]
    large = served.producer.predictions()[1]
    now_ms = served.clock.now_ms()
    assert [BadCaseFound("large", large, None, now_ms)] == found
    assert {"large": 1} == dict(served.service.measurements.bad_cases)


async def test_gathering_ends_when_the_queue_fills(served, call, request_body, until, monkeypatch):
    """However long predictions may gather, a quarter of the queue is sent at once."""
    monkeypatch.setattr("api.road.prediction_log._GATHER_SECONDS", 60.0)
    async with served.service.running():
        await call.post(SCORE, request_body)
        await call.post("/v1/score:batch", {"requests": [request_body] * 200})
        await until(lambda: len(served.producer.predictions()) >= 125)
    assert 201 == len(served.producer.predictions())


async def test_a_trace_goes_with_its_prediction(served, call, request_body):
    """Beside the record of the request that came with one, and beside no other."""
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with served.service.running():
        for headers in ([], [(b"traceparent", trace)], [(b"traceparent", b"nonsense")]):
            body = msgspec.json.encode(request_body)
            assert 200 == (await call("POST", SCORE, body, headers=headers)).status
    sent = served.producer.sent["predictions"]
    assert [[], [("traceparent", trace)], []] == [list(r[2]) if len(r) > 2 else [] for r in sent]


async def test_every_answer_is_remembered_once(served, call, request_body):
    """So as many of the newest are found at once as are kept."""
    served.service.log.recent = recent = RecentPredictions(3)
    ids = [(await call.post(SCORE, request_body)).json["prediction_id"] for _ in range(3)]
    assert ids == [found.id for found in map(recent.find, ids) if found]


async def test_whatever_a_client_raises_nothing_is_lost(
    served, call, request_body, until, monkeypatch
):
    """An error that nobody foresaw is one to try again after, not the end of the log."""
    send, errors = served.producer.send_many, [RuntimeError("closed"), ValueError("?")]

    async def failing(kind, records, partition=None):
        if errors:
            raise errors.pop()
        await send(kind, records, partition)

    monkeypatch.setattr(served.producer, "send_many", failing)
    async with served.service.running():
        await call.post(SCORE, request_body)
        await until(served.producer.predictions)
    assert 1 == len(served.producer.predictions())
