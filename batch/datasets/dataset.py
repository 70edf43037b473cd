"""Labelled examples of a time range as arrays, and how far in the log they reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batch.training_set import TrainingSet, some
from features.archive.events import each_once
from features.archive.files import read_examples
from tidemill.topics import EXAMPLES


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples in the order in which their labels came; every array has one row for each."""

    keys: NDArray[np.object_]  # join keys
    vectors: NDArray[np.float32]  # (rows, features), NaN = missing
    labels: NDArray[np.float64]
    times: NDArray[np.int64]  # when scored, ms
    label_times: NDArray[np.int64]  # when the outcome came, ms
    scores: NDArray[np.float64]  # what was answered, NaN in backfilled rows
    baselines: NDArray[np.float64]  # what the frozen release said then
    live: NDArray[np.bool_]  # answered, not backfilled
    weights: NDArray[np.float64]  # how many examples each stands for

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any] | slice) -> Dataset:
        """Some of the rows, by mask or by number, or a stretch of them, which copies nothing."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True, slots=True)
class Extract:
    """A dataset and where it comes from.

    `offsets` is for a release's manifest: `examples:0` is the next offset of the examples topic,
    `sequence:P` the highest sequence of join partition P before it; empty when nothing was live.
    `backfilled` counts the examples logged for another declaration of which a part was computed,
    `left_out` those that lack what that takes (their request, a field of it).
    """

    data: Dataset
    offsets: dict[str, int]
    backfilled: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Offsets of examples that the breaker put aside: nobody is to learn them.

    `skipped` are ranges that an operator left out for good, from the first up to before the second;
    from `since` on learning is paused now.
    """

    skipped: Sequence[tuple[int, int]] = ()
    since: int | None = None

    def holds(self, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the offsets were left out for good."""
        held = np.zeros(len(offsets), bool)
        for start, end in self.skipped:
            held |= (offsets >= start) & (offsets < end)
        return held


def extract(
    training: TrainingSet,
    from_ms: int | None = None,
    to_ms: int | None = None,
    quarantined: Quarantined | None = None,
) -> Extract:
    """Read the archive's examples with `from_ms` <= time < `to_ms`, each prediction once.

    What corrects an earlier example of the same prediction takes its place. The learner's weights
    for labels that may still be corrected are not taken: here the corrections have come.

    A learner catches up from one offset. So a live example at or past the first one that `to_ms`
    leaves out stays out too: the learner gets it, and none is trained on and learned again. The
    same holds from where learning is paused on.
    """
    quarantined = quarantined or Quarantined()
    table = read_examples(training.home, training.plan.project.name, from_ms)
    table, offsets = _up_to(table, to_ms, quarantined.since)
    held = quarantined.holds(table["offset"].to_numpy())
    table = table.filter(pa.array(~held)) if held.any() else table
    table = _newest(each_once(table))
    found = training.vectors(table)
    data = _dataset(some(table, found.rows), found.vectors)
    return Extract(data, offsets, found.computed, len(table) - len(found.rows))


def _newest(examples: pa.Table) -> pa.Table:
    """The last example of each prediction, by offset; rows without a prediction's id all stay."""
    ids = pc.fill_null(examples["prediction_id"], "").to_numpy(zero_copy_only=False)
    live = np.flatnonzero((examples["offset"].to_numpy() >= 0) & (ids != ""))
    last = dict(zip(ids[live].tolist(), live.tolist(), strict=True))
    kept = np.ones(len(examples), bool)
    kept[live] = False
    kept[list(last.values())] = True
    return examples if kept.all() else examples.filter(pa.array(kept))


def _up_to(
    table: pa.Table, to_ms: int | None, since: int | None
) -> tuple[pa.Table, dict[str, int]]:
    offsets = table["offset"].to_numpy()
    live = offsets >= 0
    late = np.zeros(len(table), bool) if to_ms is None else table["time"].to_numpy() >= to_ms
    left_out = offsets[live & late]
    bound = int(left_out.min()) if len(left_out) else int(offsets.max(initial=-1)) + 1
    bound = bound if since is None else min(bound, since)
    kept = ~late & (offsets < bound)
    reached = {f"{EXAMPLES}:0": bound} if (live & kept).any() else {}
    if reached:
        partitions = table["join_partition"].to_numpy()
        sequences = table["sequence"].to_numpy()
        for partition in np.unique(partitions[live & kept]):
            rows = live & kept & (partitions == partition)
            reached[f"sequence:{partition}"] = int(sequences[rows].max())
    return table.filter(pa.array(kept)), reached


def _dataset(table: pa.Table, vectors: NDArray[np.float32]) -> Dataset:
    data = Dataset(
        keys=table["key"].to_numpy(),
        vectors=vectors,
        labels=table["label"].to_numpy(),
        times=table["time"].to_numpy(),
        label_times=table["label_time"].to_numpy(),
        scores=table["score"].to_numpy(),
        baselines=table["baseline"].to_numpy(),
        live=table["offset"].to_numpy() >= 0,
        weights=table["sampled"].to_numpy(),
    )
    return data.take(np.lexsort((table["offset"].to_numpy(), data.label_times)))
