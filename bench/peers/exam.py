"""What a peer of `bench quality` is given: rows to score and labels to learn, in one order.

Only NumPy is imported here: the peers' environment has little else in common with ours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Exam:
    """The files of one exam; `options` are the peer's own.

    `data` is an npz of `vectors` (rows, features), `labels` (rows,), `categorical` (features,) and
    `schedule`: row k to be scored is k, row k to be learned is -k - 1.
    """

    data: str
    scores: str
    file: str
    options: dict[str, Any]

    @classmethod
    def of(cls, argument: str) -> Exam:
        """From the program's only argument."""
        return cls(**json.loads(argument))


@dataclass(frozen=True)
class Rows:
    """The contents of an exam's `data`."""

    vectors: NDArray[np.float32]
    labels: NDArray[np.int8]
    categorical: NDArray[np.bool_]
    schedule: NDArray[np.int64]

    @classmethod
    def read(cls, exam: Exam) -> Rows:
        """Load everything."""
        with np.load(exam.data) as found:
            return cls(*(found[name] for name in cls.__dataclass_fields__))


def sit(
    exam: Exam, rows: Rows, score: Callable[[int], float], learn: Callable[[int, int], None]
) -> None:
    """Walk the schedule: `score(row)` gives a probability of 1, `learn(row, label)` learns it."""
    scores = np.full(len(rows.labels), np.nan)
    started = time.perf_counter()
    for entry in rows.schedule.tolist():
        if entry >= 0:
            scores[entry] = score(entry)
        else:
            learn(-entry - 1, int(rows.labels[-entry - 1]))
    np.save(exam.scores, scores)
    told = {"seconds": time.perf_counter() - started, "rows": len(scores)}
    Path(exam.file).write_text(json.dumps(told))
