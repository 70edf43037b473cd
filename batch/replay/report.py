"""What a replay says of predictions: features, weights and scores then, and the score of now."""

from __future__ import annotations

import msgspec

OTHER_SCHEMA, UNKNOWN_OFFSET, DAMAGED = "other_schema", "unknown_offset", "damaged"
RELEASE_DELETED, RELEASE_UNREADABLE = "release_deleted", "release_unreadable"
NOT_ARCHIVED, ARCHIVE_GAP = "not_archived_yet", "archive_gap"


class Problem(msgspec.Struct, frozen=True):
    """Why something cannot be rebuilt; `cause` is a short stable word."""

    cause: str
    message: str


class Difference(msgspec.Struct, frozen=True):
    """A feature that the archived events do not give as it was logged, and why (see `Cause`)."""

    name: str
    logged: float
    rebuilt: float
    cause: str


class Features(msgspec.Struct, frozen=True):
    """The vector from the events known before the scoring, compared with the logged one by bytes.

    `left_out` are features that the log does not determine (static rows, and what reads them): they
    are taken as they were logged.
    """

    equal: bool = False
    compared: int = 0
    differences: list[Difference] = []
    left_out: list[str] = []
    problem: Problem | None = None


class Weights(msgspec.Struct, frozen=True):
    """The learner that answered, as it was learned again.

    After every example before `offset`: `examples` of them since the release, which was trained to
    `trained_to`; the ranges in `skipped` were left out for good.
    """

    release: str
    snapshot: int
    offset: int
    trained_to: int
    examples: int
    skipped: list[tuple[int, int]] = []


class Number(msgspec.Struct, frozen=True):
    """What was answered, and what the weights of `release` then say of the logged vector.

    `equal` by bits; `replayed` is None where that release is gone.
    """

    logged: float
    replayed: float | None
    equal: bool
    release: str


class Now(msgspec.Struct, frozen=True):
    """What the newest weights say: of the logged vector, and of the one that all events known by
    now give for the same request and time (None where it cannot be rebuilt).
    """

    release: str
    snapshot: int
    offset: int
    score: float
    settled: float | None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction; `exact` where features, score and baseline are those logged, bit for bit.

    `problem` says why weights and scores could not be rebuilt; `from_rebuilt` is the score of the
    rebuilt vector; `now` is None where no newest weights are known.
    """

    id: str
    key: str
    time: int
    scored_ms: int
    arm: str
    release: str
    snapshot: int
    schema: str
    exact: bool
    problem: Problem | None = None
    features: Features = Features()
    weights: Weights | None = None
    score: Number | None = None
    baseline: Number | None = None
    from_rebuilt: float | None = None
    now: Now | None = None


class Report(msgspec.Struct, frozen=True):
    """The predictions in the order asked for; `unknown` are ids that are nowhere in the archive."""

    predictions: list[Replayed]
    unknown: list[str]

    @property
    def exact(self) -> bool:
        """True when all that was asked for was found and is exact."""
        return not self.unknown and all(each.exact for each in self.predictions)
