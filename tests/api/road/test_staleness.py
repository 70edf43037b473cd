"""Features older than a request tolerates count as missing, and the default head answers."""

from dataclasses import replace

import numpy as np
import pytest
from payments import make_project

from api.http.app import create_app
from api.service import ScoringService
from features.plan import compile_plan, outputs_of
from features.replay import Replayer
from tidemill import DerivedFeature, Serving, column
from tidemill.topics import Names
from tidemill.wire import vectors

SCORE = "/v1/score"


async def pay(world, plan, card: str, ages_ms: dict[str, int], now_ms: int) -> None:
    """One payment of each of these cards at shop s1, so long ago."""
    replayer = Replayer(plan)
    columns = {
        "time": np.array([now_ms - age for age in ages_ms.values()], np.int64),
        "card": np.array(list(ages_ms), object),
        "shop": np.array([card] * len(ages_ms), object),
        "amount": np.full(len(ages_ms), 5.0),
    }
    replayer.apply("payment", columns)
    names = Names("payments", 4, plan.state)
    await world.store.write(
        [
            (names.blob(names.entity_partition(key), entity, key), blob)
            for entity, key, blob in replayer.blobs()
        ]
    )


@pytest.fixture
async def paid(served, request_body):
    """Card c1 paid an hour ago, card c2 a second ago, both at shop s1; snapshot 5 answers."""
    ages = {"c1": 3_600_000, "c2": 1_000}
    await pay(served, served.plan, "s1", ages, request_body["time"])
    served.write_snapshot(5)
    await served.service.adoption.adopt_newest()
    return served


async def test_fresh_features_are_answered_by_the_champion(paid, call, request_body):
    """Nothing is old, or nothing was asked: the answers are the same."""
    plain = (await call.post(SCORE, request_body)).json
    asked = (await call.post(f"{SCORE}?max_staleness=2h", request_body)).json
    assert ("champion", []) == (asked["model"]["arm"], asked["degraded"])
    assert (plain["score"], plain["model"]) == (asked["score"], asked["model"])


async def test_old_features_are_answered_by_the_release(paid, call, request_body):
    """The old entity's windows are missing, the other's are there; the champion's score is kept."""
    async with paid.service.running():
        answer = (await call.post(f"{SCORE}?max_staleness=30min", request_body)).json
    (prediction,) = paid.producer.predictions()
    assert ("default", ["stale"]) == (answer["model"]["arm"], answer["degraded"])
    assert {"release": "r0001", "snapshot": 0, "offset": 0, "arm": "default"} == answer["model"]
    matrix = vectors([prediction])
    missing = np.isnan(matrix[0])
    card, shop = (outputs_of(paid.plan.project, each) for each in paid.plan.project.entities)
    assert missing[card].all()
    assert not missing[shop].any()
    frozen = paid.service.slot.current.frozen
    assert float(frozen.predict_many(matrix)[0]) == answer["score"] == prediction.score
    head = paid.service.slot.current.head
    (champion,) = prediction.arms
    assert ("r0001", 5, 50) == (champion.release, champion.snapshot, champion.offset)
    assert float(head.predict_many(matrix)[0]) == champion.score
    assert "default" == prediction.arm
    assert 3_600_000 == answer["feature_ages_ms"]["card"]


async def test_each_call_of_a_group_has_its_own_limit(paid, call, request_body):
    """What one caller tolerates is nothing to another."""
    import asyncio

    paths = [SCORE, f"{SCORE}?max_staleness=30min", SCORE, f"{SCORE}?max_staleness=2h"]
    replies = await asyncio.gather(*(call.post(path, request_body) for path in paths))
    assert 1 == paid.store.reads
    arms = [reply.json["model"]["arm"] for reply in replies]
    assert ["champion", "default", "champion", "champion"] == arms


async def test_a_limit_holds_for_every_request_of_a_batch(paid, call, request_body):
    """Those whose features are fresh are the champion's."""
    requests = [request_body | {"card": card} for card in ("c1", "c2", "c3")]
    path = "/v1/score:batch?max_staleness=60s"
    answers = (await call.post(path, {"requests": requests})).json["predictions"]
    arms = [answer["model"]["arm"] for answer in answers]
    assert ["default", "champion", "champion"] == arms  # an entity never seen is not old


async def test_without_the_store_nothing_is_fresh(paid, call, request_body):
    """Who asks for fresh features gets the default head, who does not the champion."""
    paid.store.gone = True
    answer = (await call.post(f"{SCORE}?max_staleness=2h", request_body)).json
    assert (["features", "stale"], "default") == (answer["degraded"], answer["model"]["arm"])
    answer = (await call.post(SCORE, request_body)).json
    assert (["features"], "champion") == (answer["degraded"], answer["model"]["arm"])


async def test_the_prior_may_be_the_default(paid, call, request_body):
    """As declared."""
    project = replace(make_project(), serving=Serving(default_head="prior", threshold=0.6))
    service = ScoringService(
        compile_plan(project), paid.service.ports, paid.service.settings, paid.clock
    )
    await service.adoption.adopt_newest()
    caller = type(call)(create_app(service))
    answer = (await caller.post(f"{SCORE}?max_staleness=30min", request_body)).json
    assert (0.5, 0, "prior", "default") == (
        answer["score"], answer["label"], answer["model"]["release"], answer["model"]["arm"],
    )  # fmt: skip


async def test_what_is_derived_of_old_features_is_missing_too(paid, request_body):
    """A derived feature is computed again from what is left."""
    project = make_project()
    name = next(each for each in project.feature_names if each.startswith("paid"))
    derived = DerivedFeature("twice", column(name) * 2)
    plan = compile_plan(replace(project, features=(*project.features, derived)))
    await pay(paid, plan, "s1", {"c1": 3_600_000}, request_body["time"])
    reader = paid.service.ports.of_plan(plan).reader
    decoder = paid.service.serving.decoder
    requests = [decoder.decode(b'{"card": "c1", "shop": "s1", "amount": 1}')]
    found = await reader.read(requests)
    old = np.array([[True, True]])
    after = reader.forget(requests, found, old)
    place = plan.schema.names.index(name)
    assert not np.isnan(found.matrix[0, [place, -1]]).any()
    assert np.isnan(after.matrix[0, [place, -1]]).all()
    kept = [n for n, each in enumerate(plan.schema.names) if each in ("amount", "hour")]
    np.testing.assert_array_equal(found.matrix[0, kept], after.matrix[0, kept])
