"""What a dataset is and where it comes from: the record that its id is the hash of."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from tidemill.dataset_rule import DatasetRule

QUANTILES = tuple(step / 20 for step in range(21))
"""Which quantiles are kept of each feature, the smallest and the largest value among them."""


class FeatureStatistics(msgspec.Struct, frozen=True):
    """One feature over all rows; None where there is no value at all.

    `quantiles` are those of `QUANTILES`, from a sample of rows drawn by hash (of few rows: all).
    `distinct` counts a categorical feature's values, None beyond 10 000; `top` are the commonest
    values of the sample with their shares.
    """

    name: str
    count: int
    missing: int
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None
    quantiles: list[float] = []
    categorical: bool = False
    distinct: int | None = None
    top: dict[str, float] = {}


class SplitRows(msgspec.Struct, frozen=True):
    """The rows forward in time: trained on | gap | judged on.

    Trained on may be rows whose label came before `train_until_ms`; the holdout are requests from
    `start_ms` on; between them lie those whose label came later, and the rule's gap.
    """

    train_until_ms: int
    start_ms: int
    end_ms: int
    train: int
    gap: int
    holdout: int


class DatasetManifest(msgspec.Struct, frozen=True):
    """What a dataset is and where it comes from; all of it but `created_ms` makes its id.

    `rule` is a DatasetRule as data, `bad_cases` the rules it weighs by, as text. `offsets`: as in a
    release's manifest, `examples:0` is the next offset of the examples topic, `sequence:P` the
    highest sequence of join partition P before it; empty when nothing was live. `backfilled` counts
    rows of which a feature was computed, `left_out` those that lack what that takes, by the field
    (`request`: all of it). `dropped` were archived and chosen against by the rule. `classes` and
    `class_weights` are rows and sums of weights by label, empty for numbers. Requests up to
    `matured_ms` have their last label. `parts` are files with their sha256; `warnings` sentences.
    """

    id: str
    project: str
    schema: str
    features: list[str]
    rule: dict[str, Any]
    bad_cases: dict[str, str]
    parent: str
    created_ms: int
    from_ms: int
    to_ms: int
    matured_ms: int
    rows: int
    classes: dict[str, int]
    class_weights: dict[str, float]
    split: SplitRows
    statistics: list[FeatureStatistics]
    offsets: dict[str, int]
    backfilled: int
    left_out: dict[str, int]
    dropped: int
    parts: dict[str, str]
    part_rows: list[int]
    warnings: list[str]

    def named(self) -> DatasetManifest:
        """The same with the id that its content gives."""
        plain = msgspec.structs.replace(self, id="", created_ms=0)
        digest = hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()
        return msgspec.structs.replace(self, id=f"d{digest[:12]}")

    def as_rule(self) -> DatasetRule:
        """The rule it was made by."""
        return DatasetRule.from_data(self.rule)
