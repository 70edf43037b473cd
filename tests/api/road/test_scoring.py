"""Waiting requests are scored together, and one does not suffer for another."""

import asyncio

import numpy as np
from structlog.testing import capture_logs

from features.decoding import RequestDecoder
from features.replay import Replayer
from tidemill.topics import Names
from tidemill.wire import vectors

SCORE = "/v1/score"


async def test_all_waiting_requests_share_one_read(served, call, request_body):
    """Fifty concurrent requests cost one round trip to the store."""
    bodies = [request_body | {"card": f"c{n}"} for n in range(50)]
    replies = await asyncio.gather(*(call.post(SCORE, body) for body in bodies))
    assert [200] * 50 == [reply.status for reply in replies]
    assert 1 == served.store.reads


async def test_a_group_has_a_cap(served, call, request_body):
    """A hundred concurrent requests are two groups."""
    await asyncio.gather(*(call.post(SCORE, request_body) for _ in range(100)))
    assert 2 == served.store.reads


async def test_a_batch_of_several_parts_is_scored_as_a_whole(served, call, request_body):
    """A part that fails fails all of it: nothing is logged, and every place is free again."""
    scorer, batch = served.service.serving.scorer, {"requests": [request_body] * 150}
    read, reads = scorer._reader.read, []

    async def fails_at_the_last(requests):
        reads.append(len(requests))
        if len(reads) == 3:
            raise RuntimeError("unforeseen")
        return await read(requests)

    scorer._reader.read = fails_at_the_last
    with capture_logs():
        reply, other = await asyncio.gather(
            call.post("/v1/score:batch", batch), call.post(SCORE, request_body)
        )
    assert ([64, 64, 22, 1], 500, 200) == (reads, reply.status, other.status)
    assert 1 == served.service.log.depth == served.service.measurements.predictions
    found = (await call.post("/v1/score:batch", batch)).json["predictions"]
    assert 150 == len({answer["prediction_id"] for answer in found})
    assert {other.json["score"]} == {answer["score"] for answer in found}
    assert 151 == served.service.log.depth


async def test_a_failure_after_scoring_leaves_nobody_waiting(served, call, request_body):
    """All of the group are answered, their places are free again, and the next is scored."""
    scorer = served.service.serving.scorer
    note = scorer._note_ages

    def fail(_):
        scorer._note_ages = note
        raise RuntimeError("unforeseen")

    scorer._note_ages = fail
    with capture_logs():  # to draw the tracebacks would take longer than what is bounded here
        async with asyncio.timeout(5):
            replies = await asyncio.gather(*(call.post(SCORE, request_body) for _ in range(3)))
    assert [500] * 3 == [reply.status for reply in replies]
    assert 0 == served.service.log.depth
    assert 200 == (await call.post(SCORE, request_body)).status


async def test_each_caller_gets_its_own_answer(served, call, request_body):
    """Scored together or alone, the score of a request is the same."""
    bodies = [request_body | {"amount": float(n * 3)} for n in range(40)]
    together = await asyncio.gather(*(call.post(SCORE, body) for body in bodies))
    alone = [await call.post(SCORE, body) for body in bodies]
    assert [r.json["score"] for r in alone] == [r.json["score"] for r in together]


async def test_the_prediction_keeps_the_vector_it_used(served, call, request_body):
    """What is logged reproduces the answered score."""
    async with served.service.running():
        answer = (await call.post(SCORE, request_body)).json
    (prediction,) = served.producer.predictions()
    head = served.service.slot.current.head
    assert answer["score"] == float(head.predict_many(vectors([prediction]))[0])
    assert answer["score"] == prediction.score
    assert ("c1|s1", request_body["time"]) == (prediction.key, prediction.time)
    assert served.plan.schema.hash == prediction.schema
    assert (answer["prediction_id"], "r0001", 0) == (
        prediction.id, prediction.release, prediction.snapshot,
    )  # fmt: skip


async def test_the_prediction_keeps_its_request(served, call, request_body):
    """The logged request decodes to what was scored, its time filled in."""
    sent = {name: value for name, value in request_body.items() if name != "time"}
    async with served.service.running():
        await call.post(SCORE, sent)
    (prediction,) = served.producer.predictions()
    request = RequestDecoder(served.plan.project, served.clock, 0).decode(prediction.request)
    assert prediction.time == request.time
    assert sent == {name: getattr(request, name) for name in sent}


async def test_a_score_of_the_prior_is_logged_as_any_other(world, call, request_body):
    """Its label joins, so that a first release has examples."""
    async with world.service.running():
        answer = (await call.post(SCORE, request_body)).json
    (prediction,) = world.producer.predictions()
    assert (answer["prediction_id"], "prior", 0, 0.5, 0.5) == (
        prediction.id, prediction.release, prediction.snapshot, prediction.score,
        prediction.baseline,
    )  # fmt: skip
    assert world.plan.schema.hash == prediction.schema
    assert len(world.plan.schema.names) == vectors([prediction]).shape[1]


async def test_one_bad_request_does_not_fail_its_group(served, call, request_body):
    """When scoring together fails, each call is scored alone and only the guilty one fails."""
    scorer = served.service.serving.scorer
    decoder = RequestDecoder(served.plan.project, served.clock, 0)
    good = [decoder.decode(b'{"card": "c", "shop": "s", "amount": 1}') for _ in range(3)]
    tasks = [scorer.score((request,)) for request in (good[0], object(), good[1], good[2])]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [isinstance(result, Exception) for result in results]
    assert [False, True, False, False] == failed
    assert 3 == served.service.log.depth


async def test_a_caller_who_gave_up_does_not_disturb_the_others(served, call, request_body):
    """A cancelled call leaves its group whole."""
    tasks = [asyncio.ensure_future(call.post(SCORE, request_body)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [200, 200] == [results[0].status, results[2].status]


async def test_a_request_without_time_is_scored_for_now(served, call, request_body):
    """The clock says for when."""
    del request_body["time"]
    async with served.service.running():
        await call.post(SCORE, request_body)
    assert [served.clock.now_ms()] == [p.time for p in served.producer.predictions()]


async def test_feature_ages_are_times_since_the_newest_event(served, call, request_body):
    """An entity with events has an age; one never seen has none."""
    replayer = Replayer(served.plan)
    time = request_body["time"] - 1_500
    columns = {
        "time": np.array([time], np.int64),
        "card": np.array(["c1"], object),
        "shop": np.array(["s9"], object),
        "amount": np.array([5.0]),
    }
    replayer.apply("payment", columns)
    names = Names("payments", 4, served.plan.state)
    await served.store.write(
        [
            (names.blob(names.entity_partition(key), entity, key), blob)
            for entity, key, blob in replayer.blobs()
        ]
    )
    answer = (await call.post(SCORE, request_body)).json
    assert {"card": 1_500, "shop": None} == answer["feature_ages_ms"]
