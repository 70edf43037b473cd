"""A candidate is worse when its losses are above those of what was answered by more than chance."""

import msgspec
import numpy as np
import pytest
from stream_world import NOW, make_prediction

from learners.learner import Scores, Vectors
from learners.prior import PRIOR
from streams.catch_up import CatchUp
from streams.learning import Learning, Place
from tidemill.roles import RoleChange
from tidemill.tasks import BINARY, REGRESSION, Task
from tidemill.wire import ArmScore, Example

ROWS = 2_000
PUBLISHED = RoleChange("r0002", "published", "s", 0)


class Oracle:
    """A learner that predicts what it was told to."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    def learn_many(self, vectors: Vectors, labels: object, weights: object) -> Scores:
        """What was predicted before."""
        return self._scores[: len(vectors)]


def caught_up(
    own: Scores, answered: Scores, labels: Scores, task: Task = BINARY, release: str = "r0001"
) -> CatchUp:
    """A candidate that has caught up on these examples."""
    placed = []
    for row, (score, label) in enumerate(zip(answered.tolist(), labels.tolist(), strict=True)):
        made = make_prediction("k", NOW)
        made = msgspec.structs.replace(made, score=score, release=release)
        placed.append((row, Example(made, label, NOW, NOW, 0, row + 1)))
    candidate = CatchUp(Learning("r0002", Oracle(own), Place(0, {})), task, 0, PUBLISHED)
    candidate.learn(placed, placed[0][1].prediction.schema)
    return candidate


@pytest.fixture
def truth() -> tuple[Scores, Scores]:
    """Probabilities and labels drawn with them."""
    rng = np.random.default_rng(1)
    right = rng.uniform(0.05, 0.95, ROWS)
    return right, (rng.random(ROWS) < right).astype(float)


def test_the_truth_is_not_worse_than_a_guess(truth: tuple[Scores, Scores]) -> None:
    """Nor the other way round anything but worse."""
    right, labels = truth
    guess = np.full(ROWS, 0.5)
    assert not caught_up(right, guess, labels).is_worse(0)
    assert caught_up(guess, right, labels).is_worse(0)


def test_a_difference_by_chance_is_none(truth: tuple[Scores, Scores]) -> None:
    """Scores that jitter around the same truth are no reason to give a release up."""
    right, labels = truth
    worse = [
        caught_up(
            np.clip(right + rng.normal(0, 0.02, ROWS), 0.01, 0.99),
            np.clip(right + rng.normal(0, 0.02, ROWS), 0.01, 0.99),
            labels,
        ).is_worse(0)
        for rng in map(np.random.default_rng, range(40))
    ]
    assert sum(worse) <= 4


def test_the_tolerance_is_relative(truth: tuple[Scores, Scores]) -> None:
    """What is worse by a tenth is within a tolerance of a third."""
    right, labels = truth
    duller = 0.5 + 0.6 * (right - 0.5)
    own, answered = caught_up(duller, right, labels).losses
    assert own > answered
    assert caught_up(duller, right, labels).is_worse(0)
    assert not caught_up(duller, right, labels).is_worse(0.33)


def test_values_are_compared_by_squared_error() -> None:
    """A regression's candidate that is off by more is worse."""
    rng = np.random.default_rng(2)
    labels = rng.normal(300, 50, ROWS)
    near, far = labels + rng.normal(0, 1, ROWS), labels + rng.normal(0, 5, ROWS)
    assert caught_up(far, near, labels, REGRESSION).is_worse(0)
    assert not caught_up(near, far, labels, REGRESSION).is_worse(0)


def test_what_the_prior_answered_is_not_compared(truth: tuple[Scores, Scores]) -> None:
    """Before the first release there was nothing to be better than."""
    right, labels = truth
    assert 0 == caught_up(right, right, labels, release=PRIOR).compared


def test_the_champion_is_judged_by_what_it_said_itself(truth: tuple[Scores, Scores]) -> None:
    """Also where a canary answered; the default head's answers are nobody's."""
    right, labels = truth
    made = make_prediction("k", NOW)
    placed = []
    for row, (score, label) in enumerate(zip(right.tolist(), labels.tolist(), strict=True)):
        said = msgspec.structs.replace(
            made, score=0.5, release="r0009", arm="canary", arms=[ArmScore("r0001", 1, 0, score)]
        )
        if row % 2:
            said = msgspec.structs.replace(made, score=0.5, arm="default")
        placed.append((row, Example(said, label, NOW, NOW, 0, row + 1)))
    candidate = CatchUp(Learning("r0002", Oracle(right), Place(0, {})), BINARY, 0, PUBLISHED)
    candidate.learn(placed, made.schema)
    assert ROWS // 2 == candidate.compared
    own, answered = candidate.losses
    assert own == pytest.approx(answered)
