"""The HTTP surface: every route, every refusal, and the published schema."""

import asyncio

import msgspec
import pytest

SCORE, BATCH, LABELS = "/v1/score", "/v1/score:batch", "/v1/labels"


async def test_a_score_names_its_prediction_model_and_ages(served, call, request_body):
    """An answer says what computed it, how fresh its features are, and that nothing was missing."""
    reply = await call.post(SCORE, request_body)
    assert 200 == reply.status
    answer = reply.json
    model = {"release": "r0001", "snapshot": 0, "offset": 0, "arm": "champion"}
    assert model == answer["model"]
    assert {"card": None, "shop": None} == answer["feature_ages_ms"]
    assert [] == answer["degraded"]
    assert 0 < answer["score"] < 1
    assert 32 == len(answer["prediction_id"])


async def test_the_answer_says_how_it_is_encoded(served, call, request_body):
    """JSON with its length."""
    reply = await call.post(SCORE, request_body)
    assert "application/json" == reply.headers["content-type"]
    assert str(len(reply.body)) == reply.headers["content-length"]


async def test_a_body_may_come_in_pieces(served, call, request_body):
    """Chunks are put together."""
    body = msgspec.json.encode(request_body)
    assert 200 == (await call("POST", SCORE, body[:5], body[5:20], body[20:])).status


async def test_a_batch_is_answered_in_order(served, call, request_body):
    """Each request of a batch gets the score it gets alone."""
    requests = [request_body | {"amount": float(n)} for n in range(150)]
    batch = (await call.post(BATCH, {"requests": requests})).json["predictions"]
    alone = [(await call.post(SCORE, request)).json["score"] for request in requests]
    assert alone == [answer["score"] for answer in batch]


async def test_an_empty_batch_is_answered_with_nothing(served, call):
    """No requests, no predictions."""
    assert {"predictions": []} == (await call.post(BATCH, {"requests": []})).json


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{not json", (400, "malformed", "body")),
        (b"", (400, "malformed", "body")),
        (b'{"card": "c1", "shop": "s1", "amount": NaN}', (400, "malformed", "body")),
        (b'{"card": "c1", "shop": "s1", "amount": Infinity}', (400, "malformed", "body")),
        (b'{"card": "c\xff", "shop": "s1", "amount": 1}', (400, "malformed", "body")),
        (b'{"card": "c1", "shop": "s1", "amount": 1e999}', (422, "invalid_value", "amount")),
        (b"[]", (422, "wrong_type", "body")),
        (b'{"card": "c1", "amount": 1}', (422, "missing_field", "shop")),
        (b'{"card": "c1", "shop": "s1", "amount": 1, "x": 1}', (422, "unknown_field", "x")),
        (b'{"card": 7, "shop": "s1", "amount": 1}', (422, "wrong_type", "card")),
        (b'{"card": "c1", "shop": "s1", "amount": "1"}', (422, "wrong_type", "amount")),
        (b'{"card": "c", "shop": "s", "amount": 1, "time": -5}', (422, "absurd_time", "time")),
        (
            b'{"card": "c", "shop": "s", "amount": 1, "time": 9000000000000000}',
            (422, "absurd_time", "time"),
        ),
    ],
)
async def test_a_bad_request_names_what_is_wrong(served, call, body, expected):
    """Each kind of bad input has its status, cause and field, and is not scored."""
    reply = await call("POST", SCORE, body)
    error = reply.json
    assert expected == (reply.status, error["cause"], error["field"])
    assert {"cause", "field", "found", "allowed"} < set(error)
    assert "application/problem+json" == reply.headers["content-type"]
    assert 0 == served.service.log.depth


async def test_a_batch_is_refused_as_a_whole(served, call, request_body):
    """One bad request refuses the batch and is named by its place."""
    bad = request_body | {"amount": "much"}
    reply = await call.post(BATCH, {"requests": [request_body, bad]})
    assert (422, "requests[1].amount") == (reply.status, reply.json["field"])
    assert 0 == served.service.log.depth


async def test_a_batch_has_a_limit(served, call, request_body):
    """More requests than allowed are refused with both numbers."""
    reply = await call.post(BATCH, {"requests": [request_body] * 201})
    assert (422, "201 requests", "at most 200") == (
        reply.status, reply.json["found"], reply.json["allowed"],
    )  # fmt: skip


async def test_a_large_body_is_refused_unread(served, call):
    """A declared length over the limit is refused before one byte of the body is received."""
    headers = [(b"content-length", b"10485760")]
    reply = await call("POST", SCORE, b"x" * 1000, headers=headers)
    assert (413, "body_too_large", 0) == (reply.status, reply.json["cause"], call.received)


async def test_a_large_body_without_a_length_is_cut_off(served, call):
    """A chunked body is refused once it is over the limit; the rest is not received."""
    reply = await call("POST", SCORE, *[b"x" * 10_000] * 1_000)
    assert 413 == reply.status
    assert call.received < 10


async def test_a_caller_who_leaves_gets_nothing(served, call):
    """A body that breaks off is neither answered nor scored."""
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive():
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": SCORE, "headers": []}
    await served.app(scope, receive, send)
    assert 0 == served.service.measurements.predictions


async def test_a_gone_store_degrades_the_answer(served, call, request_body):
    """Without the store the request's own features are scored, and the answer says so."""
    served.store.gone = True
    reply = await call.post(SCORE, request_body)
    assert (200, ["features"]) == (reply.status, reply.json["degraded"])


async def test_a_store_that_hangs_degrades_the_answer(served, call, request_body):
    """An answer waits for the store no longer than its deadline, and then not again at once."""
    served.store.hangs = True
    async with asyncio.timeout(5):
        replies = [await call.post(SCORE, request_body) for _ in range(3)]
    assert [["features"]] * 3 == [reply.json["degraded"] for reply in replies]
    assert 1 == served.store.reads


async def test_a_store_that_failed_is_left_alone_for_a_moment(served, call, request_body):
    """The next request does not wait for a store that has just failed."""
    served.store.gone = True
    for _ in range(5):
        await call.post(SCORE, request_body)
    assert 1 == served.store.reads


async def test_before_any_release_the_prior_answers(world, call, request_body):
    """Without a model every score is 0.5, and the answer says so."""
    reply = await call.post(SCORE, request_body)
    assert (200, 0.5, ["model"]) == (reply.status, reply.json["score"], reply.json["degraded"])
    model = {"release": "prior", "snapshot": 0, "offset": 0, "arm": "champion"}
    assert model == reply.json["model"]


async def test_an_answer_names_all_that_was_missing(world, call, request_body):
    """Without store and model the prior answers still."""
    world.store.gone = True
    reply = await call.post(SCORE, request_body)
    assert (200, ["features", "model"]) == (reply.status, reply.json["degraded"])


async def test_a_full_queue_is_503_rather_than_loss(served, call, request_body):
    """When the broker is behind, scores are refused; none of those answered is dropped."""
    requests = {"requests": [request_body] * 200}
    statuses = [(await call.post(BATCH, requests)).status for _ in range(3)]
    assert [200, 200, 503] == statuses
    assert 400 == served.service.log.depth
    reply = await call.post(BATCH, requests)
    assert ("queue_full", "1") == (reply.json["cause"], reply.headers["retry-after"])


async def test_an_error_of_ours_is_500_and_gives_its_place_back(served, call, request_body):
    """A failure while scoring is answered and logged, not leaked, and reserves nothing."""
    served.service.slot.current = object()
    reply = await call.post(SCORE, request_body)
    assert (500, "internal_error") == (reply.status, reply.json["cause"])
    assert 0 == served.service.log.depth


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/nothing", (404, "unknown_route")),
        ("GET", SCORE, (405, "method_not_allowed")),
        ("POST", "/healthz", (405, "method_not_allowed")),
    ],
)
async def test_other_routes_and_methods_are_refused(served, call, method, path, expected):
    """Unknown paths and methods get the same kind of error as everything else."""
    reply = await call(method, path)
    assert expected == (reply.status, reply.json["cause"])
    assert reply.status == 404 or "allow" in reply.headers


async def test_health_is_about_the_process_alone(world, call):
    """Alive without a model, a store or a broker."""
    world.store_gone = world.broker_gone = True
    assert (200, {"alive": True}) == ((r := await call("GET", "/healthz")).status, r.json)


async def test_ready_says_what_is_missing(world, call):
    """Not ready without store and broker, each with its reason; a model may come later."""
    world.store_gone = world.broker_gone = True
    reply = await call("GET", "/readyz")
    missing = {"store": "connection refused", "broker": "no broker"}
    assert (503, missing) == (reply.status, reply.json["missing"])
    world.store_gone = world.broker_gone = False
    reply = await call("GET", "/readyz")
    expected = {"ready": True, "missing": {}, "model": "prior"}
    assert (200, expected) == (reply.status, reply.json)
    world.release()
    await world.service.adoption.adopt_newest()
    assert "r0001" == (await call("GET", "/readyz")).json["model"]


async def test_progress_is_by_source_partition(served, call):
    """The next offset of each source partition, applied everywhere."""
    assert {"events": {"0": 17, "1": 4}} == (await call("GET", "/v1/progress")).json


async def test_progress_without_a_store_is_503(served, call):
    """A gone store is said, with a time to come again."""
    served.store_gone = True
    reply = await call("GET", "/v1/progress")
    assert (503, "store_unavailable") == (reply.status, reply.json["cause"])
    assert "1" == reply.headers["retry-after"]


async def test_published_schema_is_the_declaration(served, call):
    """The request's fields, which are required, and no other; every reference leads somewhere."""
    document = (await call("GET", "/openapi.json")).json
    schemas = document["components"]["schemas"]
    assert {"card", "shop", "amount", "country", "time"} == set(schemas["Request"]["properties"])
    assert ["card", "shop", "amount"] == schemas["Request"]["required"]
    text = msgspec.json.encode(document).decode()
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(schemas)


async def test_published_answer_fits_the_answer(served, call, request_body):
    """The answer has exactly the fields its schema lists; an explanation only when it is asked."""
    document = (await call("GET", "/openapi.json")).json
    answer = (await call.post(SCORE, request_body)).json
    listed = document["components"]["schemas"]["Answer"]
    assert set(listed["required"]) == set(answer)
    explained = (await call.post(f"{SCORE}?explain=true", request_body)).json
    assert set(listed["properties"]) == set(explained)


async def test_the_lifespan_runs_the_service(world, call, request_body, until):
    """Started with the app, the model is adopted; stopped with it, every prediction is sent."""
    world.release()
    async with world.app.router.lifespan_context(world.app):
        await until(lambda: world.service.slot.current.release == "r0001")
        replies = await asyncio.gather(*(call.post(SCORE, request_body) for _ in range(50)))
    assert [200] * 50 == [reply.status for reply in replies]
    sent = {prediction.id for prediction in world.producer.predictions()}
    assert {reply.json["prediction_id"] for reply in replies} == sent
