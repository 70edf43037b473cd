"""What is said of a model's quality as it runs: the document behind `/v1/quality`.

Times are milliseconds since 1970-01-01 UTC, of the stream; shares and probabilities from 0 to 1.
What is not known (yet) is null, a measure that is not known absent.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Part(msgspec.Struct, frozen=True):
    """Base of the parts: JSON objects."""


class Measures(Part, frozen=True, omit_defaults=True):
    """Quality of one role's answers; binary tasks have the first five, regressions the last two.

    `auc_error` is how far `auc` can be off where it was counted in cells, 0 where it is exact;
    `log_loss` is in nats; `calibration_error` is the expected calibration error.
    """

    auc: float | None = None
    auc_error: float | None = None
    log_loss: float | None = None
    calibration_error: float | None = None
    accuracy: float | None = None
    mae: float | None = None
    rmse: float | None = None


Roles = dict[str, Measures]
"""`service` what was answered, `release` what the frozen release says, `candidate` a newer one."""


class Running(Part, frozen=True):
    """Quality over the newest examples, or over all with weights that halve every `half_life`."""

    examples: int
    roles: Roles
    half_life: int | None = None


class Candidate(Part, frozen=True):
    """A new release's learner while it catches up, and what was answered to its examples."""

    examples: int
    candidate: Measures
    service: Measures


class Slice(Part, frozen=True):
    """The newest examples whose request has this value in this field.

    `value` is empty in the slice of all other values.
    """

    field: str
    value: str
    examples: int
    roles: Roles


class Bucket(Part, frozen=True):
    """Predictions made from `from_ms` to before `to_ms` whose labels have come.

    `maturity` is the estimated share of their labels that has come, null while how labels come is
    not known. While it is `young` its quality says little: what comes early may differ from what
    comes late. `partial`: labels that came before this worker began to count are missing.
    """

    from_ms: int
    to_ms: int
    examples: int
    roles: Roles
    maturity: float | None
    young: bool
    partial: bool


class Maturity(Part, frozen=True):
    """Share of the labels that has come by an age; `known` once ages up to the wait were seen."""

    wait_ms: int
    known: bool
    ages_ms: list[int]
    shares: list[float]


class DriftAlert(Part, frozen=True):
    """Something moved, or has come back."""

    time_ms: int
    subject: str
    state: str
    message: str


class Quality(Part, frozen=True):
    """The whole document. Counts begin anew when the worker starts: at `since_ms`."""

    task: str
    examples: int
    since_ms: int | None
    now_ms: int | None
    sliding: Running
    decayed: Running
    maturity: Maturity
    buckets: list[Bucket]
    slices: list[Slice]
    corrected: int
    not_corrected: int
    candidate: Candidate | None
    experts: Mapping[str, float] = {}
    drift: list[DriftAlert] = []
