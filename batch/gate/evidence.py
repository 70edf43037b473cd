"""What else the gate is told beside the dataset: slices, what people labelled, a stopwatch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from batch.gate.bad_cases import LabelledCases
from batch.gate.budgets import Timer
from batch.training_set import TrainingSet, some
from features.archive.files import read_examples
from tidemill.declaration import Project
from tidemill.errors import InputError


@dataclass(frozen=True, slots=True)
class Evidence:
    """`slices`: the values of declared fields, one for each row of the dataset, None for missing.

    `labelled`: cases that people labelled. `timer`: seconds, for latencies.
    """

    slices: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    labelled: LabelledCases | None = None
    timer: Timer = time.perf_counter


def read_slices(
    home: Path, project: Project, data: Dataset, from_ms: int
) -> dict[str, NDArray[Any]]:
    """The declared slices' values (rows,) of the rows asked from `from_ms` on, as archived.

    Other rows, and those archived without their request, have None. May block on the disk.
    """
    if not project.slices:
        return {}
    table = read_examples(home, project.name, from_ms).select(
        ["key", "time", "label_time", "request"]
    )
    kind = msgspec.defstruct(
        "Sliced", [(name, str | int | float | bool | None, None) for name in project.slices]
    )
    decoder, nothing = msgspec.json.Decoder(kind), kind()
    requests = dict(zip(zip(*(table[c].to_pylist() for c in table.column_names[:3]), strict=True),
                        table["request"].to_pylist(), strict=True))  # fmt: skip
    identities = zip(data.keys, data.times.tolist(), data.label_times.tolist(), strict=True)
    rows = [_decoded(decoder, requests.get(each), nothing) for each in identities]
    return {name: np.array([getattr(row, name) for row in rows], object) for name in project.slices}


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes | None, nothing: Any) -> Any:
    try:
        return decoder.decode(body) if body else nothing
    except msgspec.DecodeError:
        return nothing


def read_labelled(training: TrainingSet, labels: Mapping[str, float]) -> LabelledCases:
    """The archived examples of these prediction ids with the labels that people gave them.

    Raises InputError for a label that the task does not allow, and when none is archived.
    """
    project = training.plan.project
    bad = [id for id, label in labels.items() if not _is_label(label, project)]
    if bad:
        allowed = "0 or 1" if project.task.kind == "binary" else "a finite number"
        raise InputError("label", f"labelled case {bad[0]}", str(labels[bad[0]]), allowed)
    table = read_examples(training.home, project.name)
    table = table.filter(pc.is_in(table["prediction_id"], pa.array(list(labels), pa.string())))
    ids = table["prediction_id"].to_pylist()
    last = np.array(sorted({id: row for row, id in enumerate(ids)}.values()), np.int64)
    if not len(last):
        allowed = "ids of predictions in the archive"
        raise InputError("unknown", "labelled cases", f"{len(labels)} unknown ids", allowed)
    table = some(table, last)
    found = training.vectors(table)
    table = some(table, found.rows)
    given = [labels[id] for id in table["prediction_id"].to_pylist()]
    scores = np.where(table["offset"].to_numpy() >= 0, table["score"].to_numpy(), np.nan)
    return LabelledCases(found.vectors, np.array(given, np.float64), scores)


def _is_label(label: float, project: Project) -> bool:
    return label in (0, 1) if project.task.kind == "binary" else bool(np.isfinite(label))
