"""Challengers are scored behind the answer, and never stand in its way."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from tidemill.wire import vectors

SCORE = "/v1/score"


@pytest.fixture
async def shadowed(served):
    """A champion and a shadow."""
    served.challenge()
    await served.service.serving.arms.look()
    return served


def set_head(world, head) -> None:
    """Let the shadow be another model."""
    (arm,) = world.service.serving.arms.challengers
    arm.slot.current = replace(arm.slot.current, head=head)


class Waiting:
    """A head that scores when it is let."""

    def __init__(self) -> None:
        self.go, self.asked = threading.Event(), 0

    def predict_both(self, vectors):
        """Says 0.25."""
        self.asked += 1
        assert self.go.wait(10)
        scores = np.full(len(vectors), 0.25)
        return scores, scores


class Raising:
    """A head that fails."""

    def predict_both(self, vectors):
        """Never says anything."""
        raise MemoryError


async def test_a_shadow_is_in_the_record_and_not_in_the_answer(shadowed, call, request_body):
    """What it says of the same vector, with its version."""
    async with shadowed.service.running():
        answer = (await call.post(SCORE, request_body)).json
    (prediction,) = shadowed.producer.predictions()
    (shadow,) = prediction.arms
    ((_, model),) = shadowed.service.serving.arms.models()
    assert "r0001" == answer["model"]["release"] == prediction.release
    assert ("r0002", 50, 500) == (shadow.release, shadow.snapshot, shadow.offset)
    assert float(model.head.predict_many(vectors([prediction]))[0]) == shadow.score
    assert shadow.score != answer["score"]


async def test_an_answer_does_not_wait_for_a_shadow(shadowed, call, request_body):
    """The caller has long been answered when the shadow has thought it over."""
    head = Waiting()
    set_head(shadowed, head)
    async with shadowed.service.running():
        assert 200 == (await call.post(SCORE, request_body)).status
        assert [] == shadowed.producer.predictions()
        head.go.set()
    (prediction,) = shadowed.producer.predictions()
    assert [0.25] == [arm.score for arm in prediction.arms]


async def test_a_shadow_that_is_too_slow_is_left_out(
    shadowed, call, request_body, until, monkeypatch
):
    """Predictions go to the broker without it, while it thinks and after; they are counted."""
    monkeypatch.setattr("api.road.shadows.PATIENCE_SECONDS", 0.02)
    head = Waiting()
    set_head(shadowed, head)
    async with shadowed.service.running():
        for number in range(1, 4):
            await call.post(SCORE, request_body)
            await until(lambda n=number: n == len(shadowed.producer.predictions()))
        assert (1, 3) == (head.asked, shadowed.service.measurements.drops["shadow"])
        head.go.set()
        await until(lambda: head not in shadowed.service.lent)
        await call.post(SCORE, request_body)
    found = shadowed.producer.predictions()
    assert [[], [], [], [0.25]] == [[arm.score for arm in each.arms] for each in found]


async def test_a_shadow_that_fails_is_heard_of(shadowed, call, request_body):
    """Its score is NaN, the answers are as ever, and the failures are counted."""
    set_head(shadowed, Raising())
    async with shadowed.service.running():
        reply = await call.post("/v1/score:batch", {"requests": [request_body] * 5})
    assert 200 == reply.status
    found = shadowed.producer.predictions()
    assert [["r0002"]] * 5 == [[arm.release for arm in each.arms] for each in found]
    assert all(np.isnan(each.arms[0].score) for each in found)
    assert 5 == shadowed.service.measurements.arm_failures["r0002"]


async def test_a_queue_that_fills_has_no_time_for_shadows(shadowed, call, request_body):
    """More than half full, predictions are sent as they are."""
    async with shadowed.service.running():
        shadowed.service.log.reserve(shadowed.service.settings.prediction_queue // 2)
        await call.post(SCORE, request_body)
    (prediction,) = shadowed.producer.predictions()
    assert ([], 1) == (prediction.arms, shadowed.service.measurements.drops["shadow"])


async def test_shadows_and_their_time_are_measured(shadowed, call, request_body):
    """One call for the group."""
    async with shadowed.service.running():
        await call.post("/v1/score:batch", {"requests": [request_body] * 5})
    measured = shadowed.service.measurements
    assert 1 == measured.stage_seconds["shadow"].count()
    assert 1 == measured.arm_seconds["r0002"].count()


async def test_what_a_thread_reads_is_not_written_to(shadowed, call, request_body, until):
    """A learner lent to a thread is known as such until the thread has ended."""
    head = Waiting()
    set_head(shadowed, head)
    lent = shadowed.service.lent
    async with shadowed.service.running():
        await call.post(SCORE, request_body)
        await until(lambda: head.asked)
        assert head in lent
        head.go.set()
        await until(lambda: head not in lent)


async def test_the_loop_goes_on_while_shadows_are_scored(shadowed, call, request_body, until):
    """Answers come while a thread is busy with a shadow."""
    head = Waiting()
    set_head(shadowed, head)
    async with shadowed.service.running():
        await call.post(SCORE, request_body)
        await until(lambda: head.asked)
        started = time.monotonic()
        statuses = [(await call.post(SCORE, request_body)).status for _ in range(20)]
        assert time.monotonic() - started < 2
        head.go.set()
    assert {200} == set(statuses)


async def test_whatever_becomes_of_shadows_the_log_is_written(
    shadowed, call, request_body, monkeypatch
):
    """An error of ours there costs no prediction."""

    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("api.road.shadows._score", fail)
    async with shadowed.service.running():
        await call.post(SCORE, request_body)
    (prediction,) = shadowed.producer.predictions()
    assert [] == prediction.arms
