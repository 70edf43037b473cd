"""What is counted while a dataset's rows are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from batch.datasets.manifest import FeatureStatistics, SplitRows
from batch.datasets.parts import Rows
from batch.datasets.sample import Cut
from features.plan import FeaturePlan
from tidemill.tasks import BINARY


@dataclass
class Written:
    """Rows, classes and the parts in time of what was written; later its files and statistics."""

    plan: FeaturePlan
    cut: Cut
    matured_ms: int
    rows: int = 0
    train: int = 0
    holdout: int = 0
    immature: int = 0
    counts: dict[float, list[float]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    part_rows: list[int] = field(default_factory=list)
    statistics: list[FeatureStatistics] = field(default_factory=list)

    def add(self, rows: Rows) -> None:
        """Count rows."""
        self.rows += len(rows)
        self.train += int(self.cut.trained_on(rows.facts).sum())
        held, newer = self.cut.held_out(rows.facts), rows.column("time") >= self.matured_ms
        self.holdout += int(held.sum())
        self.immature += int((held & newer).sum())
        if self.plan.project.task != BINARY:
            return
        labels, weights = rows.column("label"), rows.column("weight")
        for label in np.unique(labels).tolist():
            counted = self.counts.setdefault(label, [0, 0.0])
            counted[0] += int((labels == label).sum())
            counted[1] += float(weights[labels == label].sum())

    @property
    def classes(self) -> dict[str, int]:
        """Rows by label."""
        return {f"{label:g}": int(self.counts[label][0]) for label in sorted(self.counts)}

    @property
    def class_weights(self) -> dict[str, float]:
        """Sums of weights by label."""
        return {f"{label:g}": self.counts[label][1] for label in sorted(self.counts)}

    def split(self) -> SplitRows:
        """The rows forward in time."""
        cut, gap = self.cut, self.rows - self.train - self.holdout
        return SplitRows(
            cut.train_until_ms, cut.start_ms, cut.end_ms, self.train, gap, self.holdout
        )

    def warnings(self) -> list[str]:
        """What is odd about it, a sentence each."""
        found = []
        if len(self.counts) == 1:
            found.append(f"single class: found only label {next(iter(self.counts)):g}")
        for name, rows in (("to train on", self.train), ("to judge on", self.holdout)):
            if not rows:
                found.append(f"forward split: found no row {name}")
        if 2 * self.immature > self.holdout:
            found.append(
                f"not matured: labels are final for requests before {moment(self.matured_ms)}; of "
                f"{self.immature} of the {self.holdout} rows to judge on they may still change, "
                "and more may come"
            )
        return found


def moment(ms: int) -> str:
    """A time as people read it, UTC."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError):
        return f"{ms} ms"
