"""What each of several models said of one request, whoever of them answered it."""

from __future__ import annotations

import math

import msgspec

from tidemill.wire import ArmScore, Example, Prediction

CANARY, DEFAULT = "canary", "default"


def said_by(prediction: Prediction, release: str) -> float | None:
    """This release's score, NaN where it failed; None where it was not asked.

    What answers on features that are too old is not what a release would have said.
    """
    if prediction.arm == DEFAULT:
        return None
    for each in prediction.arms:  # first: what stood in for a model that failed has its name too
        if each.release == release:
            return each.score
    return prediction.score if prediction.release == release else None


def of_champion(prediction: Prediction) -> Prediction:
    """The record as if the champion had answered, whose score is the first of the other arms'.

    The same record where it did.
    """
    if prediction.arm != CANARY or not prediction.arms:
        return prediction
    champion, *others = prediction.arms
    answered = ArmScore(
        prediction.release, prediction.snapshot, prediction.offset, prediction.score
    )
    return msgspec.structs.replace(
        prediction, release=champion.release, snapshot=champion.snapshot, offset=champion.offset,
        score=champion.score, arm="champion", arms=[answered, *others],
    )  # fmt: skip


def champions_example(example: Example) -> Example:
    """The example of the record as if the champion had answered, unless that one failed."""
    prediction = of_champion(example.prediction)
    if prediction is example.prediction or not math.isfinite(prediction.score):
        return example
    return msgspec.structs.replace(example, prediction=prediction)
