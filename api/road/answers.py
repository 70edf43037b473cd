"""The answers of the scoring routes, and how ids are made for them."""

from __future__ import annotations

import os
from typing import Literal

import msgspec

Arm = Literal["champion", "canary", "default"]
_TIME_BITS = 2**48 - 1


class ModelVersion(msgspec.Struct, frozen=True):
    """Which weights answered, and as what.

    `release` is what they started from, `snapshot` the learner's (0: the release itself), `offset`
    how far in the examples it had come. `arm` is `canary` for a challenger that was given this
    request, `default` where the features were older than the request tolerates.
    """

    release: str
    snapshot: int
    offset: int
    arm: Arm


class Explanation(msgspec.Struct, frozen=True):
    """What each feature adds to a score: `base` and all contributions add up to it.

    In log-odds where the label is 0 or 1, else in the label's own unit. `methods` says how they
    were computed, the model's own first.
    """

    base: float
    contributions: dict[str, float]
    methods: tuple[str, ...]


class Answer(msgspec.Struct, frozen=True):
    """One score, what computed it and how fresh its features were.

    `score` is a probability, or a value where the label is a number; `label` is 1 from the declared
    threshold on, else 0, null where the label is a number; `interval` is where the outcome is
    expected to lie, null unless the model knows. `feature_ages_ms` says per entity how long before
    the request its newest event lies, null for one never seen. `degraded` names what was missing:
    `features` when the store did not answer; `stale` when they were older than the request
    tolerates and the declared default head answered; `weights` and `release` when the model failed
    and the weights before, or the release itself, answered for it; `model` when none could, or
    there is none yet, and every score is the prior's; `explanation` when one was asked for that
    could not be given. The field of that name is there when it could.
    """

    prediction_id: str
    score: float
    label: int | None
    interval: tuple[float, float] | None
    model: ModelVersion
    feature_ages_ms: dict[str, float | None]
    degraded: tuple[str, ...]
    explanation: Explanation | msgspec.UnsetType = msgspec.UNSET


class BatchAnswer(msgspec.Struct, frozen=True):
    """The scores of one batch, in the order of its requests."""

    predictions: list[Answer]


def new_prediction_ids(count: int, now_ms: int) -> list[str]:
    """UUIDs of version 7 (RFC 9562, section 5.7) as 32 hex digits: the time, then 74 random bits.

    Ids of one time lie together, so that one is found in the archive without reading all of it. The
    system's randomness is read once for all of them.
    """
    time, digits = f"{now_ms & _TIME_BITS:012x}7", os.urandom(10 * count).hex()
    return [
        f"{time}{h[:3]}{'89ab'[int(h[3], 16) & 3]}{h[4:19]}"
        for h in (digits[i : i + 20] for i in range(0, 20 * count, 20))
    ]
