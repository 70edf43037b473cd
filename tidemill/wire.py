"""What travels on the topics: frozen records that encode and decode themselves.

Times are milliseconds since 1970-01-01 UTC; vectors are little-endian float32 in the schema's
order.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

_ENCODER = msgspec.msgpack.Encoder()


class Record(msgspec.Struct, frozen=True, array_like=True):
    """Base of the records: msgpack arrays."""

    def encode(self) -> bytes:
        """The record as msgpack."""
        return _ENCODER.encode(self)


class ArmScore(msgspec.Struct, frozen=True, array_like=True):
    """What another model than the one that answered says for the same vector.

    `offset` is how far its learner had come; `score` is NaN where it failed.
    """

    release: str
    snapshot: int
    offset: int
    score: float


class Prediction(Record, frozen=True):
    """One scored request, logged with the vector it used.

    `score` is the probability answered; `baseline` is what the frozen release says for the same
    vector. `request` is the request as JSON with its `time`; empty in records of earlier versions.
    `offset` is how far in the examples the learner that answered had come: before it lies all it
    knew. `arm` says as what the model answered: `champion`, `canary`, or `default` where the
    features were too old for either. `arms` are the other models' scores.
    """

    id: str
    key: str
    time: int
    vector: bytes
    schema: str
    score: float
    baseline: float
    release: str
    snapshot: int
    scored_ms: int
    request: bytes = b""
    offset: int = 0
    arm: str = "champion"
    arms: list[ArmScore] = []


class LabelEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The outcome of one prediction, as producers send it (JSON); `producer` says who did."""

    key: str
    value: float
    time: int
    producer: str = ""


class Example(Record, frozen=True):
    """A prediction with its label.

    `partition` and `sequence` are the join's, gap-free per partition.
    `label_produced_ms` is the wall-clock time at which the broker or producer stamped the label.
    `weight` is its importance. `kind` is `label`, `missing` (the value declared for a prediction
    whose wait ended without one) or `correction` (of an earlier example of the same prediction).
    `sampled` is the part of the weight that makes up for negatives that were left out; batch, which
    knows what a missing label has become by now, takes only that.
    """

    prediction: Prediction
    label: float
    label_time: int
    label_produced_ms: int
    partition: int
    sequence: int
    weight: float = 1.0
    kind: str = "label"
    producer: str = ""
    sampled: float = 1.0


class Quarantined(Record, frozen=True):
    """An example that came while learning was paused: its offset, its bytes, and why."""

    offset: int
    reason: str
    example: bytes


class BadCaseFound(Record, frozen=True):
    """A case worth a look: the reason, the prediction and its label (None: judged at scoring)."""

    reason: str
    prediction: Prediction
    label: float | None
    found_ms: int


class UpdateGroup(msgspec.Struct, frozen=True, array_like=True):
    """Rows for one entity from one kind of event, as columns.

    `keys` are the distinct entity keys; `codes` (int32) say for each row which of them is its own;
    `offsets` (int64) the rows' source offsets; `times` (int64); `values` float32 of shape (rows,
    series) with NaN where a series does not take the event; `first` (uint8) is 1 on one row of each
    event.
    """

    entity: int
    event: int
    keys: list[str]
    codes: bytes
    offsets: bytes
    times: bytes
    values: bytes
    first: bytes


class UpdateBatch(Record, frozen=True):
    """All rows of one micro-batch of partition `source` for one target partition.

    `state` says for which state of the entities (`FeaturePlan.state`); the fold of another passes
    it over. `next_offset` follows the micro-batch. Sent to every target partition, rows or not, so
    that each knows how far the source has been applied. `produced_ms` is when the first of
    its events was stamped by broker or producer, 0 where nobody knows.
    """

    state: str
    source: int
    next_offset: int
    groups: list[UpdateGroup]
    produced_ms: int = 0


class DeadLetter(Record, frozen=True):
    """Input that could not be used: its bytes and headers, place and cause."""

    topic: str
    partition: int
    offset: int
    cause: str
    message: str
    key: bytes | None
    value: bytes
    time_ms: int
    headers: list[tuple[str, bytes]] = []


class Announcement(Record, frozen=True):
    """A release published by batch or a snapshot published by a learner.

    `sha256` is the hex digest of the snapshot's bytes or of the release's manifest.
    `labels_produced_ms` are the times of the labels this snapshot learned since the one before,
    `offset` is how far in the examples it has come.
    """

    kind: Literal["release", "snapshot"]
    learner: str
    release: str
    snapshot: int
    sha256: str
    time_ms: int
    examples: int = 0
    labels_produced_ms: list[int] = []
    offset: int = 0


class Alert(Record, frozen=True):
    """Something an operator should know, when it begins and again when it has ended.

    `name` says what kind of thing (`paused`: the step `subject` waits for the store or the broker;
    `cut_over`: a release for other features cannot be served; `learning_paused`: the breaker
    stopped the learner `subject`; `release_refused`: the champion cannot be used;
    `release_given_up`; `release_slow`: one that an operator ordered has not caught up;
    `challenger_promoted`, `champion_rolled_back`, `challenger_silenced`,
    `challenger_retired` and `challenger_refused` of a trial, which have no end; `drift` of the
    `subject` loss, score or features; `skew`); `began_ms` is the same in both records and ties them
    together.
    """

    name: str
    subject: str
    state: Literal["began", "ended"]
    message: str
    time_ms: int
    began_ms: int


def decode(kind: type[Any], data: bytes) -> Any:
    """Decode one record; raises msgspec.DecodeError for anything else."""
    try:
        return _DECODERS[kind].decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


_DECODERS: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind)
    for kind in (
        Prediction,
        Example,
        Quarantined,
        BadCaseFound,
        UpdateBatch,
        DeadLetter,
        Announcement,
        Alert,
    )  # fmt: skip
}


def vector_bytes(vector: NDArray[np.float32]) -> bytes:
    """A feature vector as it travels."""
    return vector.astype("<f4", copy=False).tobytes()


def vectors(predictions: list[Prediction]) -> NDArray[np.float32]:
    """The vectors of several predictions, shape (predictions, features)."""
    if not predictions:
        return np.empty((0, 0), dtype=np.float32)
    joined = b"".join(prediction.vector for prediction in predictions)
    return np.frombuffer(joined, "<f4").reshape(len(predictions), -1)
