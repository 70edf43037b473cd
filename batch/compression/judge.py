"""Judges smaller models as they would be served: bytes, operations, loss and latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.compression.family import Family, some_of
from batch.compression.latency import Latency, Timer, measure
from batch.compression.linear import Linears
from batch.compression.net import Nets
from batch.compression.trees import Trees
from batch.trainers.trainer import TrainingRows
from learners.learner import Frozen, Scores
from learners.quality import log_loss
from learners.release import LINEAR_FILE, NET_FILE, TREES_FILE, ModelFile, read_model
from tidemill.compression import Compression
from tidemill.declaration import Project

NONE = "none"
"""The method's name where the model stays as it was."""

FAMILIES: Mapping[str, type[Family]] = {
    TREES_FILE: Trees,
    NET_FILE: Nets,
    LINEAR_FILE: Linears,
}
"""By the model's file; a trainer of one's own compresses its models itself."""

_COUNTED_ROWS = 2000
_CHUNK_ROWS = 10_000


@dataclass(frozen=True)
class Measured:
    """A model and what it is worth; `loss` relative to the one before compression.

    `variant` is which of the models of this strength it is.
    """

    method: str
    keep: float
    model: ModelFile
    metric: float
    loss: float
    operations: float
    latency: Latency | None = None
    variant: int = 0

    def entry(self) -> dict[str, Any]:
        """Its line among what was tried."""
        return {
            "method": self.method,
            "keep": self.keep,
            "bytes": len(self.model),
            "loss": self.metric,
            "relative_loss": self.loss,
            "operations": self.operations,
        }


class Judge:
    """Measures models as they would be served."""

    def __init__(
        self, checked: TrainingRows, settings: Compression, project: Project, timer: Timer
    ) -> None:
        self.settings, self.methods = settings, settings.methods
        self._checked, self._project, self._timer = checked, project, timer
        self._counted = some_of(checked, _COUNTED_ROWS).vectors

    def base(self, model: ModelFile) -> Measured:
        """The model as it is."""
        frozen = read_model(model, self._project)
        metric = self._metric(frozen)
        return Measured(
            NONE, 1.0, model, metric, 0.0, self._operations(model, frozen), self._timed(frozen)
        )

    def measured(self, model: ModelFile, method: str, keep: float, base: Measured) -> Measured:
        """A smaller model beside the one it was made of."""
        frozen = read_model(model, self._project)
        metric = self._metric(frozen)
        loss = (metric - base.metric) / base.metric if base.metric > 0 else metric - base.metric
        watched = self.settings.most_microseconds is not None
        latency = self._timed(frozen) if watched else None
        operations = self._operations(model, frozen)
        return Measured(method, keep, model, metric, loss, operations, latency)

    def reaches(self, found: Measured, base: Measured) -> bool:
        """True when every target is met; without any there is always more to be had."""
        wanted, size = self.settings, len(found.model)
        micro = found.latency.single if found.latency else 0.0
        return wanted.has_target and all(
            (
                wanted.smaller is None or size * wanted.smaller <= len(base.model),
                wanted.faster is None or found.operations * wanted.faster <= base.operations,
                wanted.most_bytes is None or size <= wanted.most_bytes,
                wanted.most_microseconds is None or micro <= wanted.most_microseconds,
            )
        )

    def best(self, found: list[Measured]) -> tuple[Measured, bool]:
        """The one to serve, and whether it reaches the targets (without any: True)."""
        base = found[0]
        within = [one for one in found if one.loss <= self.settings.loss]
        there = [one for one in within if self.reaches(one, base)]
        if there:
            return min(there, key=lambda one: (one.loss, len(one.model), one.model.data)), True
        least = min(within, key=lambda one: (len(one.model), one.loss, one.model.data))
        return least, not self.settings.has_target

    def report(
        self, base: Measured, chosen: Measured, reached: bool, tried: list[Measured]
    ) -> dict[str, Any]:
        """Before and after, as numbers that can be kept with a run."""
        before = base.latency or self._timed(read_model(base.model, self._project))
        after = before
        if chosen is not base:
            after = chosen.latency or self._timed(read_model(chosen.model, self._project))
        return {
            "method": chosen.method,
            "keep": chosen.keep,
            "variant": chosen.variant,
            "target_reached": reached,
            "bytes_before": len(base.model),
            "bytes_after": len(chosen.model),
            "smaller": len(base.model) / len(chosen.model),
            "operations_before": base.operations,
            "operations_after": chosen.operations,
            "single_row_microseconds_before": before.single,
            "single_row_microseconds_after": after.single,
            "batch_row_microseconds_before": before.batch,
            "batch_row_microseconds_after": after.batch,
            "loss_before": base.metric,
            "loss_after": chosen.metric,
            "relative_loss": chosen.loss,
            "checked_rows": len(self._checked),
            "tried": [one.entry() for one in tried],
        }

    def _timed(self, frozen: Frozen) -> Latency:
        return measure(frozen, self._checked.vectors, self._timer)

    def _operations(self, model: ModelFile, frozen: Frozen) -> float:
        family = FAMILIES.get(model.name)
        return family.operations(frozen, self._counted) if family else 0.0

    def _metric(self, frozen: Frozen) -> float:
        rows = self._checked
        starts = range(0, len(rows), _CHUNK_ROWS)
        parts = [frozen.predict_many(rows.vectors[s : s + _CHUNK_ROWS]) for s in starts]
        return loss_of(np.concatenate(parts), rows, frozen.task.kind)


def loss_of(scores: Scores, rows: TrainingRows, kind: str) -> float:
    """Log-loss of probabilities (rows,) or (rows, classes); a regression's mean squared error."""
    weights = rows.weights if rows.weights.sum() > 0 else None
    if kind == "regression":
        return float(np.average((scores - rows.labels) ** 2, weights=weights))
    if kind == "multiclass":
        scores = scores[np.arange(len(rows)), rows.labels.astype(np.int64)]
        return float(log_loss(np.ones(len(rows)), scores, weights) or 0.0)
    return float(log_loss(rows.labels, scores, weights) or 0.0)
