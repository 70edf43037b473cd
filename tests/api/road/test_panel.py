"""When a champion fails, what is left answers, and says so."""

from dataclasses import replace

import numpy as np
import pytest

SCORE = "/v1/score"


class Broken:
    """A head that fails for some amounts, or for all."""

    def __init__(self, column: int, above: float = -1.0, says: float | None = None) -> None:
        self.column, self.above, self.says = column, above, says

    def predict_both(self, vectors):
        """Raises, or says something that is no score."""
        bad = vectors[:, self.column] > self.above
        if self.says is None and bad.any():
            raise FloatingPointError("broken")
        scores = np.where(bad, self.says or 0.0, 0.125)
        return scores, np.full(len(vectors), 0.5)


class BrokenRelease:
    """A release that fails too."""

    def predict_many(self, vectors):
        """Never says anything."""
        raise FloatingPointError("broken")


def break_champion(world, **changes) -> None:
    """Put another model into the slot, as it is."""
    slot = world.service.slot
    slot.current = replace(slot.current, **changes)


@pytest.fixture
def amount(served) -> int:
    """The column of the amount."""
    return served.plan.schema.names.index("amount")


@pytest.mark.parametrize("says", [None, np.nan, np.inf])
async def test_the_weights_before_answer_first(served, call, request_body, amount, says):
    """A swap kept them; the record says who answered and that the champion failed."""
    before = (await call.post(SCORE, request_body)).json
    served.write_snapshot(4)
    await served.service.adoption.adopt_newest()
    break_champion(served, head=Broken(amount, says=says))
    async with served.service.running():
        answer = (await call.post(SCORE, request_body)).json
    assert (before["score"], before["model"], ["weights"]) == (
        answer["score"], answer["model"], answer["degraded"],
    )  # fmt: skip
    prediction = served.producer.predictions()[-1]
    (failed,) = prediction.arms
    assert ("r0001", 0) == (prediction.release, prediction.snapshot)
    assert ("r0001", 4, 40, True) == (
        failed.release, failed.snapshot, failed.offset, bool(np.isnan(failed.score)),
    )  # fmt: skip
    assert 1 == served.service.measurements.arm_failures["r0001"]
    assert {"weights": 1} == dict(served.service.measurements.degraded)


async def test_then_the_release_answers(served, call, request_body, amount):
    """Without weights before, as it was trained."""
    expected = (await call.post(SCORE, request_body)).json["score"]
    break_champion(served, head=Broken(amount), snapshot=7)
    answer = (await call.post(SCORE, request_body)).json
    assert (expected, ["release"]) == (answer["score"], answer["degraded"])
    assert ("r0001", 0) == (answer["model"]["release"], answer["model"]["snapshot"])


async def test_and_at_last_the_prior(served, call, request_body, amount):
    """Something is always answered."""
    break_champion(served, head=Broken(amount), frozen=BrokenRelease())
    answer = (await call.post(SCORE, request_body)).json
    assert (0.5, "prior", ["model"]) == (
        answer["score"], answer["model"]["release"], answer["degraded"],
    )  # fmt: skip


@pytest.mark.parametrize("says", [None, np.nan])
async def test_one_bad_row_does_not_cost_the_others(served, call, request_body, amount, says):
    """The champion answers what it can of a group."""
    break_champion(served, head=Broken(amount, above=100.0, says=says))
    rows = [request_body | {"amount": each} for each in (50.0, 150.0, 60.0)]
    answers = (await call.post("/v1/score:batch", {"requests": rows})).json["predictions"]
    assert [[], ["release"], []] == [answer["degraded"] for answer in answers]
    assert (0.125, 0.125) == (answers[0]["score"], answers[2]["score"])


async def test_a_failed_champion_without_a_store_says_both(served, call, request_body, amount):
    """Everything that is missing is named."""
    served.store.gone = True
    break_champion(served, head=Broken(amount))
    answer = (await call.post(SCORE, request_body)).json
    assert ["features", "release"] == answer["degraded"]


async def test_the_label_is_one_from_the_threshold_on(served, call, request_body, amount):
    """0.5 where nothing else is declared."""
    for score, label in ((0.5, 1), (0.4999, 0)):
        break_champion(served, head=Broken(amount, says=score))
        answer = (await call.post(SCORE, request_body)).json
        assert (score, label) == (answer["score"], answer["label"])


async def test_an_interval_is_answered_where_the_model_knows(served, call, request_body, amount):
    """Its two ends; null for a model that does not."""

    class Knowing(Broken):
        """A head with intervals."""

        def intervals(self, vectors):
            """The same for all."""
            return np.tile([0.1, 0.3], (len(vectors), 1))

    assert (await call.post(SCORE, request_body)).json["interval"] is None
    break_champion(served, head=Knowing(amount, says=0.2))
    assert [0.1, 0.3] == (await call.post(SCORE, request_body)).json["interval"]


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([[0.1, 0.3]], [None, None]),
        ([[0.1, 0.3], [np.nan, 0.3]], [[0.1, 0.3], None]),
        ([[0.1, np.inf], [0.1, 0.3]], [None, [0.1, 0.3]]),
        ([0.1, 0.3], [None, None]),
    ],
)
async def test_an_interval_that_is_none_costs_no_answer(
    served, call, request_body, intervals, expected
):
    """Too few of them, of another shape, or without ends: the scores are answered."""

    class Confused(Broken):
        """A head whose intervals are wrong."""

        def intervals(self, vectors):
            """What the test says."""
            return np.array(intervals)

    amount = served.plan.schema.names.index("amount")
    break_champion(served, head=Confused(amount, says=0.2))
    reply = await call.post("/v1/score:batch", {"requests": [request_body] * 2})
    assert 200 == reply.status
    found = reply.json["predictions"]
    assert [0.2, 0.2] == [answer["score"] for answer in found]
    assert expected == [answer["interval"] for answer in found]
