"""The answers of the scoring routes, and how ids are made for them."""

from __future__ import annotations

import os

import msgspec


class ModelVersion(msgspec.Struct, frozen=True):
    """Which weights answered: the release and the learner's snapshot (0: the release itself)."""

    release: str
    snapshot: int


class Answer(msgspec.Struct, frozen=True):
    """One score: a probability, what computed it and how fresh its features were.

    `feature_ages_ms` says per entity how long before the request its newest event lies, null for
    one never seen; `degraded` names what was missing: `features` when the store did not answer,
    `model` before the first release, when every score is the prior 0.5.
    """

    prediction_id: str
    score: float
    model: ModelVersion
    feature_ages_ms: dict[str, float | None]
    degraded: tuple[str, ...]


class BatchAnswer(msgspec.Struct, frozen=True):
    """The scores of one batch, in the order of its requests."""

    predictions: list[Answer]


def new_prediction_ids(count: int) -> list[str]:
    """Random UUIDs (version 4) as 32 hex digits; the system's randomness is read once for all."""
    digits = os.urandom(16 * count).hex()
    return [
        f"{h[:12]}4{h[13:16]}{'89ab'[int(h[16], 16) & 3]}{h[17:]}"
        for h in (digits[i : i + 32] for i in range(0, 32 * count, 32))
    ]
