"""A data set as a service sees it: vectors asked for at a time, labels known at a later one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tidemill.schema import FeatureSchema

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """Requests in the order of `times`.

    `vectors` float32 (rows, features); `labels` float64 (rows,), 0 or 1; `times` when each was
    asked and `label_times` when its outcome was known, int64 ms. Rows before `warm` are history:
    the first release is trained on those whose label was known at `start_ms`; all later rows are
    scored. `retrains_ms` are the moments of later releases. `blocks` numbers the stretches that the
    bootstrap draws. `truth`, where it is known, is the probability that each label was drawn with.
    """

    name: str
    vectors: NDArray[np.float32]
    labels: NDArray[np.float64]
    times: NDArray[np.int64]
    label_times: NDArray[np.int64]
    schema: FeatureSchema
    warm: int
    retrains_ms: tuple[int, ...]
    blocks: NDArray[np.int64]
    step_ms: int
    truth: NDArray[np.float64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (np.diff(self.times) < 0).any() or (self.label_times < self.times).any():
            raise ValueError(f"{self.name}: found times out of order; allowed: asked, then known")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def start_ms(self) -> int:
        """When the first row is scored."""
        return int(self.times[self.warm])

    @property
    def scored(self) -> slice:
        """The rows that count."""
        return slice(self.warm, len(self))

    @property
    def immediate(self) -> bool:
        """True when each label is known before the next request."""
        return bool((self.label_times[:-1] < self.times[1:]).all())

    def known(self, before_ms: int, since_ms: int | None = None) -> Rows:
        """Rows whose label was known before a moment (and not before another), by label time."""
        order = np.argsort(self.label_times, kind="stable")
        low = 0 if since_ms is None else int(np.searchsorted(self.label_times[order], since_ms))
        return order[low : int(np.searchsorted(self.label_times[order], before_ms))]

    def between(self, begin_ms: int, start_ms: int) -> Stream:
        """The stream without what was asked before `begin_ms`, scored from `start_ms` on."""
        some = slice(int(np.searchsorted(self.times, begin_ms)), None)
        return Stream(
            self.name, self.vectors[some], self.labels[some], self.times[some],
            self.label_times[some], self.schema, int(np.searchsorted(self.times[some], start_ms)),
            tuple(moment for moment in self.retrains_ms if moment > start_ms), self.blocks[some],
            self.step_ms, None if self.truth is None else self.truth[some],
        )  # fmt: skip

    def first(self, rows: int) -> Stream:
        """The stream cut after so many scored rows."""
        stop = min(self.warm + rows, len(self))
        end = int(self.times[stop - 1])
        return Stream(
            self.name, self.vectors[:stop], self.labels[:stop], self.times[:stop],
            self.label_times[:stop], self.schema, self.warm,
            tuple(moment for moment in self.retrains_ms if moment <= end), self.blocks[:stop],
            self.step_ms, None if self.truth is None else self.truth[:stop],
        )  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step of the service: all of `asked` are scored, then all of `known` are learned."""

    asked: Rows
    known: Rows


def steps(
    stream: Stream, step_ms: int, since_ms: int | None = None, until_ms: int | None = None
) -> Iterator[Step]:
    """What happens from one moment to before another, in steps of `step_ms` from the first one.

    Steps with nothing to do are left out.
    """
    begin = int(stream.times[0]) if since_ms is None else since_ms
    end = int(stream.label_times.max()) + 1 if until_ms is None else until_ms
    by_label = np.argsort(stream.label_times, kind="stable")
    asked, asked_step = _within(np.arange(len(stream)), stream.times, begin, end, step_ms)
    known, known_step = _within(by_label, stream.label_times, begin, end, step_ms)
    for step in np.union1d(asked_step, known_step):
        asks = slice(*np.searchsorted(asked_step, (step, step + 1)))
        knows = slice(*np.searchsorted(known_step, (step, step + 1)))
        yield Step(asked[asks], known[knows])


def _within(rows: Rows, times: Rows, begin: int, end: int, step_ms: int) -> tuple[Rows, Rows]:
    """The rows, sorted by their times, that lie in a span, and the step of each."""
    low, high = np.searchsorted(times[rows], (begin, end))
    rows = rows[low:high]
    return rows, (times[rows] - begin) // step_ms


def even_blocks(rows: int, count: int) -> NDArray[np.int64]:
    """Stretches of equal length."""
    return np.arange(rows) * count // max(rows, 1)


def plain_schema(names: Sequence[str], categorical: Sequence[str] = ()) -> FeatureSchema:
    """The schema of a table that no declaration stands behind."""
    return FeatureSchema(tuple(names), tuple(categorical), "float32\n" + "\n".join(names))
