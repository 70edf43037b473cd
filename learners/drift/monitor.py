"""Says what has moved since a release began to answer: the loss, the scores, the features."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from learners.drift.loss import LossRise, LossWatch
from learners.drift.stability import Reference
from learners.prior import PRIOR
from learners.quality.measures import log_losses
from tidemill.drift import Drift
from tidemill.tasks import BINARY, Task
from tidemill.wire import Example, Prediction

SCORE = "score"
CHECK_MS = 10_000  # a comparison of all columns costs some milliseconds
NAMED = 5  # columns in a message
_BACK = 0.8  # share of the limit below which a column counts as back


@dataclass(frozen=True, slots=True)
class Change:
    """Something moved (`began`) or is back (`ended`); `subject` is loss, score or features."""

    subject: str
    state: Literal["began", "ended"]
    message: str


class DriftMonitor:
    """Watches the answers of the newest release; begins anew with each.

    Only examples of that release count: those of the one before may go on to come for days.
    """

    def __init__(self, settings: Drift, names: Sequence[str], task: Task = BINARY) -> None:
        self._settings, self._task = settings, task
        self._names = (*names, SCORE)
        self._watched = np.array([name not in settings.ignore for name in self._names])
        self._seen: set[str] = {PRIOR}
        self._release = ""
        self._standing: dict[str, str] = {}
        self._begin("")

    @property
    def standing(self) -> str:
        """What has moved and is not back, as the alerts said; empty when nothing has."""
        return "; ".join(self._standing.values())

    def add(self, examples: Sequence[Example], now_ms: int) -> list[Change]:
        """Take in one micro-batch in the log's order; returns what changed by it.

        `now_ms` is any clock's: it only bounds how often columns are compared.
        """
        changes = self._begin_if_new(examples)
        # A correction is no news of today's answers: it would count an old one twice.
        counted = [
            each
            for each in examples
            if each.prediction.release == self._release and each.kind != "correction"
        ]
        if counted and self._release:
            self._add_losses(counted)
            self._add_columns([example.prediction for example in counted])
            changes += self._see_loss()
            changes += self._see_columns(now_ms)
        return changes

    def _begin_if_new(self, examples: Sequence[Example]) -> list[Change]:
        new = {example.prediction.release for example in examples} - self._seen
        if not new:
            return []
        self._seen |= new
        ended = [
            Change(subject, "ended", f"release {max(new)} answers now")
            for subject in self._standing
        ]
        self._begin(max(new))
        return ended

    def _begin(self, release: str) -> None:
        self._release = release
        self._standing = {}
        self._loss = LossWatch(self._settings)
        self._reference: Reference | None = None
        self._rows: deque[Prediction] = deque(maxlen=self._settings.reference)
        self._compared_ms = 0
        self._uncompared = 0

    def _add_losses(self, examples: Sequence[Example]) -> None:
        labels, scores, weights = (
            np.fromiter(map(attrgetter(name), examples), np.float64)
            for name in ("label", "prediction.score", "weight")
        )
        binary = self._task.kind == "binary"
        losses = log_losses(labels, scores) if binary else (scores - labels) ** 2
        self._loss.add(losses, weights)

    def _add_columns(self, predictions: Sequence[Prediction]) -> None:
        self._rows.extend(predictions)
        self._uncompared += len(predictions)
        if self._reference is None and len(self._rows) == self._settings.reference:
            self._reference = Reference(_matrix(list(self._rows)))
            self._rows = deque(maxlen=self._settings.newest)

    def _see_loss(self) -> list[Change]:
        rise, standing = self._loss.rise, "loss" in self._standing
        if rise is not None and not standing:
            return [self._stand("loss", self._risen(rise))]
        if rise is None and standing:
            return [self._fall("loss", f"{self._loss_name} is back")]
        return []

    def _see_columns(self, now_ms: int) -> list[Change]:
        full = self._reference is not None and len(self._rows) == self._settings.newest
        due = now_ms - self._compared_ms >= CHECK_MS
        if not full or not due or self._uncompared < self._settings.newest // 4:
            return []
        self._compared_ms, self._uncompared = now_ms, 0
        moved = self._moved(self._settings.newest)
        own = np.arange(len(moved)) == len(moved) - 1
        return [
            *self._see(SCORE, np.where(own, moved, 0.0)),
            *self._see("features", np.where(own, 0.0, moved)),
        ]

    def _see(self, subject: str, moved: NDArray[np.float64]) -> list[Change]:
        limit, largest = self._settings.psi_limit, float(moved.max())
        if largest >= limit and subject not in self._standing:
            count = int((moved >= limit).sum())
            what = subject if subject == SCORE else f"{count} of {len(moved) - 1} features"
            text = f"{what} moved since release {self._release} began, PSI from {limit:g} on: "
            return [self._stand(subject, text + self._largest(np.where(moved >= limit, moved, 0)))]
        if largest < limit * _BACK and subject in self._standing:
            return [self._fall(subject, f"{subject} back: largest PSI {largest:.2f}")]
        return []

    def _stand(self, subject: str, message: str) -> Change:
        self._standing[subject] = message
        return Change(subject, "began", message)

    def _fall(self, subject: str, message: str) -> Change:
        del self._standing[subject]
        return Change(subject, "ended", message)

    def _risen(self, rise: LossRise) -> str:
        text = (
            f"{self._loss_name} of release {self._release} rose from {rise.before:.4f} to "
            f"{rise.after:.4f} (newest {self._loss.recent} examples), "
            f"found by {', '.join(rise.detectors)}; "
        )
        if self._reference is None or not self._rows:
            return text + "features cannot be compared yet"
        # Of no more examples than the rise was found in: older ones would hide what moved.
        return f"{text}moved most (PSI): {self._largest(self._moved(self._loss.recent))}"

    def _moved(self, newest: int) -> NDArray[np.float64]:
        assert self._reference is not None
        rows = list(islice(reversed(self._rows), newest))
        moved: NDArray[np.float64] = self._reference.moved(_matrix(rows)) * self._watched
        return moved

    def _largest(self, moved: NDArray[np.float64]) -> str:
        order = np.argsort(-moved, kind="stable")[:NAMED]
        return ", ".join(f"{self._names[i]} {moved[i]:.2f}" for i in order if moved[i] > 0)

    @property
    def _loss_name(self) -> str:
        return "log-loss" if self._task.kind == "binary" else "squared error"


def _matrix(predictions: Sequence[Prediction]) -> NDArray[np.float32]:
    """Vectors and scores, shape (predictions, features + 1)."""
    joined = b"".join(prediction.vector for prediction in predictions)
    vectors = np.frombuffer(joined, "<f4").reshape(len(predictions), -1)
    scores = np.fromiter(map(attrgetter("score"), predictions), np.float32)
    return np.column_stack([vectors, scores])
