"""The monitor says what moved since a release began, once, and when it is back."""

from __future__ import annotations

import msgspec
import numpy as np

from learners.drift.monitor import CHECK_MS, Change, DriftMonitor
from tidemill.drift import Drift
from tidemill.tasks import REGRESSION
from tidemill.wire import Example, Prediction, vector_bytes

NAMES = ("amount", "hour", "code")
SETTINGS = Drift(reference=2_000, newest=1_000)


class Stream:
    """Draws examples whose amount or labels can be moved, one clock tick each."""

    def __init__(self, monitor: DriftMonitor, seed: int = 1) -> None:
        self.monitor, self.rng = monitor, np.random.default_rng(seed)
        self.now, self.sequence = 0, 0

    def feed(
        self, rows: int, release: str = "r0001", shift: float = 0.0, flipped: float = 0.0
    ) -> list[Change]:
        """Feed so many examples in micro-batches of a hundred, ten seconds apart."""
        changes = []
        for _ in range(rows // 100):
            self.now += CHECK_MS
            made = [self.example(release, shift, flipped) for _ in range(100)]
            changes += self.monitor.add(made, self.now)
        return changes

    def example(self, release: str, shift: float, flipped: float) -> Example:
        """One example: the score follows from the unmoved part of the amount."""
        amount = self.rng.normal()
        score = float(1 / (1 + np.exp(1.2 - amount)))
        label = float((self.rng.random() < score) ^ (self.rng.random() < flipped))
        vector = np.array([amount + shift, self.rng.integers(24), 1], np.float32)
        self.sequence += 1
        answered = Prediction("", "", 0, vector_bytes(vector), "s", score, score, release, 1, 0)
        return Example(answered, label, 0, 0, 0, self.sequence)


def subjects(changes: list[Change]) -> list[tuple[str, str]]:
    """What changed and how."""
    return [(change.subject, change.state) for change in changes]


def test_nothing_is_said_of_a_stream_that_stays() -> None:
    """Neither losses nor columns move."""
    stream = Stream(DriftMonitor(SETTINGS, NAMES))
    assert [] == stream.feed(20_000)
    assert "" == stream.monitor.standing


def test_a_feature_that_moves_is_named() -> None:
    """With its index, once while it stands, and again when it is back."""
    stream = Stream(DriftMonitor(SETTINGS, NAMES))
    assert [] == stream.feed(4_000)
    (began,) = stream.feed(4_000, shift=1.0)
    assert ("features", "began") == (began.subject, began.state)
    text = "1 of 3 features moved since release r0001 began, PSI from 0.2 on: amount "
    assert began.message.startswith(text)
    assert began.message == stream.monitor.standing
    assert [("features", "ended")] == subjects(stream.feed(4_000))
    assert "" == stream.monitor.standing


def test_a_loss_that_rises_is_told_with_what_moved() -> None:
    """The alert says before, after, by which detector, and the columns that moved most."""
    stream = Stream(DriftMonitor(SETTINGS, NAMES))
    assert [] == stream.feed(10_000)
    changes = {
        change.subject: change.message for change in stream.feed(5_000, shift=1.0, flipped=0.4)
    }
    assert {"loss", "features"} == set(changes)
    assert "log-loss of release r0001 rose from 0." in changes["loss"]
    assert "(newest 512 examples), found by " in changes["loss"]
    assert "moved most (PSI): amount " in changes["loss"]


def test_before_there_is_a_reference_the_alert_says_so() -> None:
    """A loss can rise before the columns can be compared."""
    stream = Stream(DriftMonitor(Drift(reference=1_000_000), NAMES))
    stream.feed(10_000)
    (risen,) = stream.feed(3_000, flipped=0.4)
    assert risen.message.endswith("features cannot be compared yet")


def test_what_is_ignored_is_not_said() -> None:
    """Features that always move can be left out."""
    stream = Stream(DriftMonitor(Drift(reference=2_000, newest=1_000, ignore=("amount",)), NAMES))
    assert [] == stream.feed(4_000) + stream.feed(4_000, shift=1.0)


def test_scores_that_move_are_a_subject_of_their_own() -> None:
    """The last column is the score that was answered."""
    monitor = DriftMonitor(Drift(reference=2_000, newest=1_000, ignore=NAMES), NAMES)
    stream = Stream(monitor)
    stream.feed(4_000)

    def higher(release: str, shift: float, flipped: float) -> Example:
        made = Stream.example(stream, release, shift, flipped)
        return Example(
            Prediction("", "", 0, made.prediction.vector, "s", 0.9, 0.5, release, 1, 0),
            made.label, 0, 0, 0, made.sequence,
        )  # fmt: skip

    stream.example = higher  # type: ignore[method-assign]
    assert ("score", "began") in subjects(stream.feed(2_000))


def test_a_new_release_begins_anew() -> None:
    """What stood has ended; examples that the old one answered count no more."""
    stream = Stream(DriftMonitor(SETTINGS, NAMES))
    stream.feed(4_000)
    assert [("features", "began")] == subjects(stream.feed(4_000, shift=1.0))
    (ended,) = stream.feed(100, "r0002", shift=1.0)
    assert Change("features", "ended", "release r0002 answers now") == ended
    assert [] == stream.feed(4_000, "r0001", shift=3.0) + stream.feed(8_000, "r0002", shift=1.0)


def test_the_prior_is_not_watched() -> None:
    """Before the first release there is no model that could drift."""
    stream = Stream(DriftMonitor(SETTINGS, NAMES))
    assert [] == stream.feed(4_000, "prior") + stream.feed(4_000, "prior", shift=2.0)


def test_corrections_are_no_news() -> None:
    """They say something of answers that were counted when they were new."""
    stream = Stream(DriftMonitor(SETTINGS, NAMES))
    stream.feed(4_000)
    made = [stream.example("r0001", 3.0, 1.0) for _ in range(3_000)]
    corrections = [msgspec.structs.replace(each, kind="correction") for each in made]
    assert [] == stream.monitor.add(corrections, stream.now + CHECK_MS)
    assert [] == stream.feed(4_000)


def test_columns_are_compared_now_and_then() -> None:
    """However many examples come in ten seconds, the comparison is made once."""
    monitor = DriftMonitor(SETTINGS, NAMES)
    stream = Stream(monitor)
    stream.feed(4_000)
    compared = stream.now + CHECK_MS
    assert [] == monitor.add([stream.example("r0001", 0.0, 0.0) for _ in range(300)], compared)
    moved = [stream.example("r0001", 2.0, 0.0) for _ in range(3_000)]
    assert [] == monitor.add(moved, compared + CHECK_MS - 1)
    assert [("features", "began")] == subjects(monitor.add(moved[:1], compared + CHECK_MS))


def test_numbers_are_watched_by_their_squared_error() -> None:
    """A regression's loss has its own name."""
    stream = Stream(DriftMonitor(SETTINGS, NAMES, REGRESSION))
    stream.feed(10_000)
    changes = {change.subject: change.message for change in stream.feed(4_000, flipped=0.4)}
    assert "squared error of release r0001 rose from 0." in changes["loss"]
