"""The champion and one arm beside it: what both said of the same examples, in blocks of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners.quality import auc, calibration_error, log_loss, mae, rmse
from learners.quality.newest import Newest
from learners.quality.sequences import BlockSums, Floats, Interval
from tidemill.arm_scores import CANARY, said_by
from tidemill.errors import ArtifactError
from tidemill.quality import Measures
from tidemill.tasks import Task
from tidemill.wire import Example

WEIGHT, LOSS, GAIN, MISS, ARM_MISS, LABEL, SQUARE = range(7)
"""The columns of a block: weights, the champion's loss, how much less the arm's is, score less
label of either, the label and its square; all but the first times the weight."""

COLUMNS = 7
COVERED = 0.9
"""Of a block's examples this share must have been scored by both, else it does not count: at first
only labels that come fast are of predictions that the arm has scored, and they tell another story.
"""

NEWEST = 5_000
RUNS = 6  # that begin within a window: more would find a turn a little earlier, and be less sure
_SMALLEST = float(np.finfo(np.float64).eps)  # as in all measures of log-loss
_SWAP = np.eye(COLUMNS)
_SWAP[LOSS, GAIN], _SWAP[GAIN, GAIN] = -1, -1  # its loss is the other's less the gain
_SWAP[[MISS, ARM_MISS]] = _SWAP[[ARM_MISS, MISS]]


def contrast(**weights: float) -> Floats:
    """A contrast of the columns named, such as `gain=1`."""
    found = np.zeros(COLUMNS)
    for name, weight in weights.items():
        found[_PLACES[name]] = weight
    return found


_PLACES = {"loss": LOSS, "gain": GAIN, "miss": MISS, "arm_miss": ARM_MISS}


class _Stored(msgspec.Struct, array_like=True):
    """A pair as it lies in the store."""

    champion: str
    release: str
    since_ms: int
    until_ms: int
    rows: int
    answered: int
    failed: int
    left_out: int
    asked: int
    paired: int
    silent: int
    failures: list[tuple[int, int]]
    block: bytes
    sums: bytes
    runs: list[bytes]


_DECODER = msgspec.msgpack.Decoder(_Stored)


@dataclass
class Counts:
    """Since the pair began: rows of blocks that count, answers of the arm, and its failures."""

    rows: int = 0
    answered: int = 0
    failed: int = 0
    left_out: int = 0


class Pair:
    """What is known of one pair; a function of the examples alone, however they are cut."""

    def __init__(self, champion: str, release: str, task: Task, window: int) -> None:
        """`window` is how many blocks a run of the newest ones may have."""
        self.champion, self.release = champion, release
        self._task, self._window = task, window
        self._binary = task.kind == "binary"
        self.since_ms = self.until_ms = 0
        """When the first example of both came; until when the arm is watched (0: no limit)."""
        self.counts = Counts()
        self.sums = BlockSums(COLUMNS)
        self._runs: list[BlockSums] = []  # the sums as they were when each began, oldest first
        self._block = [0.0] * COLUMNS
        self._asked = self._paired = self._silent = 0
        self._failures: list[tuple[int, int]] = []
        self._newest = Newest(NEWEST, 2, 0)

    def add(self, examples: Sequence[Example]) -> None:
        """Take in examples of one block."""
        rows = self._rows(examples)
        said = np.isfinite(rows[2])
        silent = int((said & np.isnan(rows[3])).sum())
        self.counts.failed += silent
        self._silent += silent
        paired = said & np.isfinite(rows[3])
        both = rows[:, paired]
        self._asked += int(said.sum())
        self._paired += both.shape[1]
        if not both.size:
            return
        self.since_ms = self.since_ms or examples[int(paired.argmax())].label_time
        self._newest.add(both.shape[1], labels=both[0], weights=both[1], scores=both[2:])
        # One after the other: the sums must not depend on how examples are cut into calls.
        for label, weight, champion, arm in both.T.tolist():
            loss = self._loss(label, champion)
            gain = loss - self._loss(label, arm)
            row = (1.0, loss, gain, champion - label, arm - label, label, label * label)
            for column, value in enumerate(row):
                self._block[column] += weight * value

    def close(self) -> None:
        """The block is over: it counts if nearly all of it was scored by both."""
        if self._paired and self._block[WEIGHT] > 0:
            if self._paired >= COVERED * self._asked:
                self.counts.rows += self._paired
                self._begin_run()
                self.sums.add(np.array(self._block))
            else:
                self.counts.left_out += 1
        self._failures = [*self._failures[1 - self._window :], (self._silent, self._paired)]
        self._block = [0.0] * COLUMNS
        self._asked = self._paired = self._silent = 0

    @property
    def failures(self) -> tuple[int, int]:
        """How many of the newest blocks' examples the arm could not score, and of how many."""
        silent = sum(each for each, _ in self._failures)
        return silent, silent + sum(paired for _, paired in self._failures)

    def swapped(self, until_ms: int) -> Pair:
        """The pair after the two have changed places; it goes on with how much they differ."""
        pair = Pair(self.release, self.champion, self._task, self._window)
        pair.until_ms, pair.sums = until_ms, self.sums.transformed(_SWAP)
        pair.counts.rows = self.counts.rows
        return pair

    def interval(self, wanted: Floats, alpha: float, best: float) -> Interval:
        """A mean per example over all blocks."""
        return self.sums.interval(wanted, alpha, best)

    def lately(self, wanted: Floats, alpha: float) -> Interval:
        """A mean per example; the bounds of whichever runs of the newest blocks show most.

        `alpha` is the chance of each run.
        """
        best = max(self._window / 2, 1)
        found = [self.sums.since(run, wanted, alpha, best) for run in self._runs]
        low = max((each.low for each in found), default=-math.inf)
        high = min((each.high for each in found), default=math.inf)
        return Interval(low, self.sums.mean(wanted), high)

    def _begin_run(self) -> None:
        """One may begin with the next block; with it the oldest may be longer than the window."""
        first = self.sums.blocks + 1 - self._window
        self._runs = [run for run in self._runs if run.blocks >= first]
        if self.sums.blocks % max(self._window // RUNS, 1) == 0:
            self._runs.append(self.sums.copy())

    @property
    def spread(self) -> float:
        """What a miss of the mean is measured in: the rarer label's share, or their spread."""
        weight, label, square = self.sums.total[[WEIGHT, LABEL, SQUARE]].tolist()
        mean = label / weight if weight > 0 else 0.0
        if self._task.kind == "binary":
            return min(mean, 1 - mean)
        return math.sqrt(max(square / weight - mean * mean, 0.0)) if weight > 0 else 0.0

    def measures(self) -> tuple[int, Measures, Measures]:
        """How many of the newest examples are held, and the champion's and the arm's measures."""
        places = self._newest.newest(NEWEST)
        labels, weights = self._newest.labels[places], self._newest.weights[places]
        champion, arm = (
            _measures(self._task, labels, self._newest.scores[role][places], weights)
            for role in (0, 1)
        )
        return len(places), champion, arm

    def encode(self) -> bytes:
        """As it lies in the store; the measures of the newest examples begin anew."""
        counts = self.counts
        return msgspec.msgpack.encode(
            _Stored(
                self.champion, self.release, self.since_ms, self.until_ms, counts.rows,
                counts.answered, counts.failed, counts.left_out, self._asked, self._paired,
                self._silent, self._failures,
                np.array(self._block).tobytes(), self.sums.encode(),
                [run.encode() for run in self._runs],
            )
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes, task: Task, window: int) -> Pair:
        """What `encode` gave. Raises ArtifactError for anything else."""
        try:
            found: _Stored = _DECODER.decode(data)
            pair = cls(found.champion, found.release, task, window)
            pair.since_ms, pair.until_ms = found.since_ms, found.until_ms
            pair.counts = Counts(found.rows, found.answered, found.failed, found.left_out)
            pair._asked, pair._paired, pair._silent = found.asked, found.paired, found.silent
            pair._failures = found.failures
            pair._block = np.frombuffer(found.block, np.float64).reshape(COLUMNS).tolist()
            pair.sums = BlockSums.decode(COLUMNS, found.sums)
            pair._runs = [BlockSums.decode(COLUMNS, each) for each in found.runs]
        except (msgspec.DecodeError, ValueError) as error:
            raise ArtifactError(f"state of a trial: {error}") from error
        return pair

    def _rows(self, examples: Sequence[Example]) -> Floats:
        """Label, weight, the champion's and the arm's score of each, shape (4, examples).

        Infinity stands for a score that nobody was asked for, NaN for one that failed.
        """
        rows = []
        for example in examples:
            prediction = example.prediction
            champion = said_by(prediction, self.champion)
            arm = said_by(prediction, self.release)
            self.counts.answered += prediction.release == self.release and (
                prediction.arm == CANARY
            )
            rows.append(
                (
                    example.label, example.weight,
                    math.inf if champion is None else champion, math.inf if arm is None else arm,
                )
            )  # fmt: skip
        return np.array(rows, np.float64).reshape(-1, 4).T

    def _loss(self, label: float, score: float) -> float:
        if self._binary:
            right = score if label == 1 else 1 - score
            return -math.log(max(right, _SMALLEST))
        return (label - score) ** 2


def _measures(task: Task, labels: Floats, scores: Floats, weights: NDArray[np.float64]) -> Measures:
    if task.kind == "regression":
        return Measures(mae=mae(labels, scores, weights), rmse=rmse(labels, scores, weights))
    if task.kind != "binary" or len(set(labels.tolist())) < 2:
        return Measures()
    return Measures(
        auc=auc(labels, scores, weights), log_loss=log_loss(labels, scores, weights),
        calibration_error=calibration_error(labels, scores, weights),
    )  # fmt: skip
