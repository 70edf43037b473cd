"""The Python client against the api over a real socket, and its answers beside the api's own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import msgspec
import pytest

from api.http.server import bind, serve_on
from api.resources import labels, models, predictions
from api.road import answers
from tidemill.client import AsyncClient, Client, InvalidRequest, NoAnswer, Options, Outcome, Retry
from tidemill.client import answers as mirrored
from tidemill.wire import LabelEvent

MIRRORS = [
    (answers.Answer, mirrored.Answer),
    (answers.ModelVersion, mirrored.ModelVersion),
    (answers.Explanation, mirrored.Explanation),
    (answers.BatchAnswer, mirrored.Answers),
    (labels.LabelsAccepted, mirrored.Accepted),
    (predictions.PredictionView, mirrored.LoggedPrediction),
    (predictions.ArmView, mirrored.OtherScore),
    (models.ModelsView, mirrored.Models),
]


@pytest.mark.parametrize(("told", "read"), MIRRORS, ids=lambda kind: kind.__name__)
def test_the_client_reads_what_the_api_writes(
    told: type[msgspec.Struct], read: type[msgspec.Struct]
) -> None:
    """Every field of an answer has its place in the client's, and none is missing there."""
    assert set(told.__struct_fields__) == set(read.__struct_fields__)


def test_what_is_missing_is_read_as_none() -> None:
    """Whatever may be null in a logged prediction."""
    answering = predictions.Answering("r0001", 0, 0, "champion")
    told = predictions.PredictionView(
        "p1", "k", 1, 2, 0.5, None, answering, "s", None, msgspec.Raw(b"null"),
        [predictions.ArmView("r0002", 0, 0, None)], [], "archive",
    )  # fmt: skip
    found = msgspec.json.decode(msgspec.json.encode(told), type=mirrored.LoggedPrediction)
    assert (None, None, None, None) == (
        found.baseline, found.features, found.request, found.arms[0].score
    )  # fmt: skip


def test_an_outcome_is_a_label() -> None:
    """What is sent back is what the api takes."""
    assert Outcome.__struct_fields__ == LabelEvent.__struct_fields__


@pytest.fixture
async def address(served) -> AsyncIterator[str]:
    """Where a running api of the small project answers."""
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serving = asyncio.create_task(serve_on(served.app, listener))
    yield f"http://127.0.0.1:{port}"
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(20):
        await serving


async def test_asyncio_scores_and_labels(address, served, request_body) -> None:
    """Scores, batches and labels arrive, and what is wrong with a request comes back by name."""
    async with AsyncClient(address) as client:
        answer = await client.score(request_body)
        many = await client.score_many([request_body] * 3)
        accepted = await client.send_labels([Outcome("c1|s1", 1, request_body["time"])])
        with pytest.raises(InvalidRequest) as raised:
            await client.score(request_body | {"amount": "much"})
    assert [answer.score] * 3 == [each.score for each in many]
    assert ("r0001", 0, "champion") == (
        answer.model.release, answer.model.snapshot, answer.model.arm,
    )  # fmt: skip
    assert (1, 1) == (accepted, len(served.producer.sent["labels"]))
    assert ("wrong_type", "amount") == (raised.value.cause, raised.value.field)


async def test_a_thread_scores_and_labels(address, served, request_body) -> None:
    """The same from code that waits."""

    def calls() -> tuple[object, ...]:
        with Client(address) as client:
            answer = client.score(request_body)
            many = client.score_many([request_body] * 2)
            accepted = client.send_labels([Outcome("c1|s1", 1, request_body["time"])])
            return answer.score, [each.score for each in many], accepted, client.ready().ready

    score, many, accepted, ready = await asyncio.to_thread(calls)
    assert ([score] * 2, 1, True) == (many, accepted, ready)


async def test_a_label_sent_twice_under_one_key_counts_once(address, served, request_body) -> None:
    """The second answer is the first one's, and the log has one label."""
    label = Outcome("c1|s1", 1, request_body["time"])
    async with AsyncClient(address) as client:
        twice = [await client.send_labels([label], idempotency_key="k1") for _ in range(2)]
    assert ([1, 1], 1) == (twice, len(served.producer.sent["labels"]))


async def test_an_explanation_adds_up_to_the_score(address, served, request_body) -> None:
    """Base and contributions are the log-odds of the score."""
    async with AsyncClient(address) as client:
        answer = await client.score(request_body, explain=True)
        plain = await client.score(request_body)
    assert plain.explanation is None
    told = answer.explanation
    assert told is not None
    assert set(served.plan.schema.names) == set(told.contributions)
    odds = told.base + sum(told.contributions.values())
    assert answer.score == pytest.approx(1 / (1 + 2.718281828459045**-odds), abs=1e-9)
    assert ("tree_shap",) == told.methods


async def test_nobody_there_is_said_with_the_address() -> None:
    """A port that nobody listens on is tried until the deadline, then named."""
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    options = Options(retry=Retry(deadline_seconds=0.2, first_seconds=0.01))
    async with AsyncClient(f"http://127.0.0.1:{port}", options=options) as client:
        with pytest.raises(NoAnswer, match=f"http://127.0.0.1:{port}") as raised:
            await client.score({})
    assert not raised.value.sent
    assert raised.value.attempts > 1
