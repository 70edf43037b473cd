"""What the api answers, as frozen values; what a newer api says beside is passed over."""

from __future__ import annotations

from typing import Any

import msgspec


class ModelVersion(msgspec.Struct, frozen=True):
    """Which weights answered, and as what.

    `release` is what they started from, `snapshot` the learner's (0: the release itself), `offset`
    how far in the examples it had come; `arm` is `champion`, `canary` or `default`.
    """

    release: str
    snapshot: int
    offset: int = 0
    arm: str = "champion"


class Explanation(msgspec.Struct, frozen=True):
    """What each feature adds to a score: `base` and all contributions add up to it.

    In log-odds where the label is 0 or 1, else in the label's own unit. `methods` says how they
    were computed, the model's own first.
    """

    base: float
    contributions: dict[str, float]
    methods: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """One score, what computed it and how fresh its features were.

    `score` is a probability, or a value where the label is a number; `label` is 1 from the declared
    threshold on, else 0, None where the label is a number; `interval` is where the outcome is
    expected to lie, None unless the model knows. `feature_ages_ms` says per entity how long before
    the request its newest event lies, None for one never seen. `degraded` names what was missing,
    nothing for an answer in full: `features`, `stale`, `weights`, `release`, `model` or
    `explanation`, where one was asked for that could not be given.
    """

    prediction_id: str
    score: float
    model: ModelVersion
    feature_ages_ms: dict[str, float | None]
    degraded: tuple[str, ...]
    label: int | None = None
    interval: tuple[float, float] | None = None
    explanation: Explanation | None = None


class Answers(msgspec.Struct, frozen=True):
    """The scores of one batch, in the order of its requests."""

    predictions: list[Answer]


class Accepted(msgspec.Struct, frozen=True):
    """How many labels or events the broker has acknowledged."""

    accepted: int


class OtherScore(msgspec.Struct, frozen=True):
    """Another model's score of the same vector; None where it failed."""

    release: str
    snapshot: int
    score: float | None
    offset: int = 0


class LoggedPrediction(msgspec.Struct, frozen=True):
    """One prediction as it was logged; times in ms since 1970.

    `baseline` is what the frozen release said, None where it failed. `features` are the values the
    model saw, None where missing, by name; None where nobody knows any more what they were. `arms`
    are the other models' scores, `labels` the outcomes that are archived; `source` is `recent` or
    `archive`.
    """

    id: str
    key: str
    time: int
    scored_ms: int
    score: float
    baseline: float | None
    model: ModelVersion
    schema: str
    features: dict[str, float | None] | None = None
    request: dict[str, Any] | None = None
    arms: list[OtherScore] = []
    labels: list[dict[str, Any]] = []
    source: str = ""


class Release(msgspec.Struct, frozen=True):
    """One release: its role, what it answers of the requests, when it was made from how many rows.

    `problem` says why one that is damaged has nothing else.
    """

    release: str
    role: str
    share: float = 0.0
    created_ms: int = 0
    rows: int = 0
    problem: str = ""


class RoleChange(msgspec.Struct, frozen=True):
    """One release got another role: when (ms since 1970), by whom and why."""

    release: str
    action: str
    time_ms: int
    by: str = ""
    why: str = ""
    instead_of: str = ""
    share: float = 0.0


class Models(msgspec.Struct, frozen=True):
    """The releases, oldest first, which of them is to answer, and the newest changes of role."""

    champion: str | None
    releases: list[Release]
    changes: list[RoleChange]


class Readiness(msgspec.Struct, frozen=True):
    """Whether the service can answer in full, what it lacks and why, and which release scores."""

    ready: bool
    missing: dict[str, str] = {}
    model: str = ""
