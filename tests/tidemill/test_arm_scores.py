"""What a model said is found whoever answered."""

import math

from tidemill.arm_scores import champions_example, of_champion, said_by
from tidemill.wire import ArmScore, Example, Prediction

PREDICTION = Prediction("p", "k", 1, b"", "s", 0.7, 0.5, "r0002", 9, 1, offset=5)
CHAMPION = ArmScore("r0001", 3, 4, 0.4)


def test_the_one_that_answered_and_those_that_did_not() -> None:
    """None stands for one that was not asked, NaN for one that failed."""
    arms = [CHAMPION, ArmScore("r0003", 1, 0, math.nan)]
    made = Prediction(*_fields(arm="canary", arms=arms))
    assert (0.7, 0.4, None) == (
        said_by(made, "r0002"), said_by(made, "r0001"), said_by(made, "r0009")
    )  # fmt: skip
    assert math.isnan(said_by(made, "r0003") or 0.0)


def test_what_stood_in_for_a_model_is_not_what_it_said() -> None:
    """Nor is what answered on features that are too old."""
    failed = Prediction(*_fields(arms=[ArmScore("r0002", 9, 5, math.nan)]))
    assert math.isnan(said_by(failed, "r0002") or 0.0)
    assert said_by(Prediction(*_fields(arm="default")), "r0002") is None


def test_a_canarys_record_as_if_the_champion_had_answered() -> None:
    """Score and version change places; a record of the champion's stays as it is."""
    made = Prediction(*_fields(arm="canary", arms=[CHAMPION]))
    found = of_champion(made)
    assert ("r0001", 3, 4, 0.4, "champion") == (
        found.release, found.snapshot, found.offset, found.score, found.arm
    )  # fmt: skip
    assert [ArmScore("r0002", 9, 5, 0.7)] == found.arms
    assert of_champion(PREDICTION) is PREDICTION


def test_a_champion_that_failed_leaves_the_example_as_it_is() -> None:
    """What was answered is all that is known."""
    silent = Prediction(*_fields(arm="canary", arms=[ArmScore("r0001", 3, 4, math.nan)]))
    example = Example(silent, 1.0, 2, 2, 0, 1)
    assert champions_example(example) is example
    spoke = Example(Prediction(*_fields(arm="canary", arms=[CHAMPION])), 1.0, 2, 2, 0, 1)
    assert 0.4 == champions_example(spoke).prediction.score


def _fields(arm: str = "champion", arms: list[ArmScore] | None = None) -> list:
    """The fields of a prediction answered by r0002."""
    made = {name: getattr(PREDICTION, name) for name in PREDICTION.__struct_fields__}
    return list((made | {"arm": arm, "arms": arms or []}).values())
