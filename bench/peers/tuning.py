"""What a tuner of `bench tune` is given, and what it hands back; NumPy is all that is imported.

A tuner may search for so many seconds. Each time its own score says that it has found something
better, that is an incumbent: what one would ship if the search ended there. When the time is over
it trains every incumbent on all rows, as it would its last one, and scores the test rows with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
MOST = 30  # incumbents that are trained again; the first and the last are among them
OVERTIME = 1.05  # of the budget: what a trial that began in time may take longer


@dataclass(frozen=True)
class Tuning:
    """One tuner's task: where the rows are, how long it may search on how many cores.

    `data` is an npz of `vectors` (rows, features) in the order of time, `labels`, `times`,
    `label_times` (rows,), `tested` (test rows, features), `names` (features,) and `categorical`
    (features,). `scores` is where the test rows' scores go, (incumbents, test rows).
    """

    data: str
    scores: str
    file: str
    seconds: float
    cores: int
    seed: int
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, argument: str) -> Tuning:
        """From the program's only argument."""
        return cls(**json.loads(argument))

    def keep_to_cores(self) -> None:
        """Let this process have so many of the cores and no other."""
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self.cores])


@dataclass(frozen=True)
class Rows:
    """The contents of a task's `data`."""

    vectors: NDArray[np.float32]
    labels: NDArray[np.int8]
    times: NDArray[np.int64]
    label_times: NDArray[np.int64]
    tested: NDArray[np.float32]
    names: NDArray[np.str_]
    categorical: NDArray[np.bool_]

    @classmethod
    def read(cls, tuning: Tuning) -> Rows:
        """Load everything."""
        with np.load(tuning.data) as found:
            return cls(*(found[name] for name in cls.__dataclass_fields__))

    def write(self, file: Path) -> None:
        """For `read`."""
        np.savez(file, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    def digest(self) -> str:
        """Equal for equal rows, whoever read them."""
        parts = (self.vectors, self.labels, self.tested)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    def forward(self, share: float = 0.2) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The newest share of the rows, and those whose label was known before the first of it."""
        cut = self.times[int(len(self.times) * (1 - share))]
        return np.flatnonzero(self.label_times < cut), np.flatnonzero(self.times >= cut)


@dataclass(frozen=True)
class Incumbent:
    """What was best after so many seconds; `loss` by the tuner's own validation."""

    seconds: float
    loss: float
    settings: dict[str, Any]


class Stopwatch:
    """Seconds since the search began, and what was best when."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.incumbents: list[Incumbent] = []

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.perf_counter() - self._started

    def found(self, loss: float, settings: dict[str, Any]) -> None:
        """Take in what a trial found, if nothing was better."""
        if not self.incumbents or loss < self.incumbents[-1].loss:
            self.incumbents.append(Incumbent(self.seconds, loss, settings))


def thinned(incumbents: Sequence[Incumbent]) -> list[Incumbent]:
    """So many of them, evenly, the first and the last included."""
    places = np.unique(np.linspace(0, len(incumbents) - 1, MOST).round().astype(int))
    return [incumbents[place] for place in places] if incumbents else []


def hand_back(
    tuning: Tuning,
    rows: Rows,
    seconds: float,
    incumbents: Sequence[Incumbent],
    refit: Callable[[Incumbent], Scores],
) -> None:
    """Train the incumbents again; write their scores and what became of the search.

    What came after the budget does not count, unless there is nothing else.
    """
    timely = [each for each in incumbents if each.seconds <= tuning.seconds * OVERTIME]
    kept, scores, told = thinned(timely or incumbents[:1]), [], []
    for incumbent in kept:
        started = time.perf_counter()
        scores.append(refit(incumbent))
        told.append(asdict(incumbent) | {"refit_seconds": time.perf_counter() - started})
    np.save(tuning.scores, np.array(scores, np.float64))
    result = {
        "seconds": seconds,
        "found": len(incumbents),
        "digest": rows.digest(),
        "incumbents": told,
    }
    Path(tuning.file).write_text(json.dumps(result))
