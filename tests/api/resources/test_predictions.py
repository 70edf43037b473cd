"""GET /v1/predictions/{id}: what was asked, what was seen, and what answered."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from api.http.app import create_app
from api.ports import ArchivedPrediction
from api.resources.predictions import RecentPredictions
from api.service import ScoringService
from tidemill.errors import TidemillError
from tidemill.wire import Prediction

SCORE, PREDICTIONS = "/v1/score", "/v1/predictions/"
ID = "0" * 32


async def test_an_answer_is_found_at_once(served, call, request_body):
    """With the features it saw by name, and the request."""
    answer = (await call.post(SCORE, request_body)).json
    reply = await call("GET", PREDICTIONS + answer["prediction_id"])
    found = reply.json
    assert (200, "recent", answer["score"], "c1|s1") == (
        reply.status, found["source"], found["score"], found["key"],
    )  # fmt: skip
    assert request_body == found["request"]
    assert list(served.plan.schema.names) == list(found["features"])
    assert (12.5, 0.0) == (found["features"]["amount"], found["features"]["paid_sum_card_1h"])
    assert ("r0001", 0, "champion") == tuple(
        found["model"][name] for name in ("release", "snapshot", "arm")
    )
    assert served.plan.schema.hash == found["schema"]


def test_the_oldest_leave():
    """However many are answered, so many are kept."""
    recent = RecentPredictions(3)
    for n in range(5):
        recent.put([Prediction(str(n), "k", 1, b"", "s", 0.5, 0.5, "r0001", 0, 1)])
    assert [None, None, "2", "3", "4"] == [
        found and found.id for found in map(recent.find, map(str, range(5)))
    ]


def archived(world, find):
    """The app with this in place of the archive."""
    ports = replace(world.service.ports, find_archived=find)
    return create_app(ScoringService(world.plan, ports, world.service.settings, world.clock))


async def test_an_older_one_comes_from_the_archive(world, call):
    """With the names of its own schema and its outcomes, although another schema serves."""
    record = Prediction(
        ID, "k", 5, b"\0\0\x80\x3f\0\0\xc0\x7f", "older", 0.25, 0.5, "r0001", 3, 6, b"", 7
    )
    labels = [{"label": 1.0, "label_time": 9, "kind": "label", "offset": 4}]

    async def find(prediction):
        return ArchivedPrediction(record, ["a", "b"], labels) if prediction == ID else None

    other = type(call)(archived(world, find))
    found = (await other("GET", PREDICTIONS + ID)).json
    assert ("archive", {"a": 1.0, "b": None}, None, labels) == tuple(
        found[name] for name in ("source", "features", "request", "labels")
    )
    assert 404 == (await other("GET", PREDICTIONS + "1" * 32)).status


@pytest.mark.parametrize("prediction", ["x", "0" * 31, "0" * 33, "A" * 32, "0" * 31 + "%00"])
async def test_what_is_no_id_is_404(call, prediction):
    """The archive is not asked for it."""
    reply = await call("GET", PREDICTIONS + prediction)
    assert (404, "unknown_prediction") == (reply.status, reply.json["cause"])


@pytest.mark.parametrize("error", [OSError("disk"), TidemillError("away"), TimeoutError()])
async def test_an_archive_that_does_not_answer_is_503(world, call, error):
    """With a time to come again."""

    async def find(prediction):
        raise error

    reply = await type(call)(archived(world, find))("GET", PREDICTIONS + ID)
    assert (503, "archive_unavailable", "1") == (
        reply.status, reply.json["cause"], reply.headers["retry-after"],
    )  # fmt: skip


async def test_an_archive_that_hangs_is_503(world, call, monkeypatch):
    """The answer has a deadline."""
    monkeypatch.setattr("api.resources.predictions.ARCHIVE_SECONDS", 0.01)

    async def find(prediction):
        await asyncio.Event().wait()

    reply = await type(call)(archived(world, find))("GET", PREDICTIONS + ID)
    assert (503, "archive_unavailable") == (reply.status, reply.json["cause"])


async def test_the_published_schema_fits(served, call, request_body):
    """The answer has exactly the fields its schema lists."""
    answer = (await call.post(SCORE, request_body)).json
    found = (await call("GET", PREDICTIONS + answer["prediction_id"])).json
    schemas = (await call("GET", "/openapi.json")).json["components"]["schemas"]
    assert set(schemas["PredictionView"]["properties"]) == set(found)
    assert msgspec.json.encode(found)
