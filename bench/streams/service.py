"""Plays a stream to the service: a release, a learner started from it, labels when they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from batch.trainers.families import new_trainer
from batch.trainers.trainer import TrainingRows
from bench.streams.stream import Stream, steps
from learners import families
from learners.learner import Frozen, Learner
from learners.linear.frozen import FrozenLinear
from learners.trees import FrozenTrees
from tidemill.learner_kinds import LearnerKind
from tidemill.tasks import BINARY
from tidemill.trainer_kinds import LightGBM, LinearModel

Scores = NDArray[np.float64]
BLOCK = 512  # rows of a micro-batch where labels come at once


@dataclass
class Releases:
    """The releases of a stream, one at its start and one at each retrain; trained when asked for.

    `window_rows` bounds the newest rows that a release is trained on; None takes all history.
    """

    stream: Stream
    settings: LightGBM | LinearModel
    window_rows: int | None = None
    _texts: dict[int, bytes] = field(default_factory=dict)

    def moments(self) -> list[int]:
        """When each release is there."""
        return [self.stream.start_ms, *self.stream.retrains_ms]

    def rows(self, moment_ms: int) -> NDArray[np.int64]:
        """What was known by then, as far as the window goes back."""
        known = self.stream.known(moment_ms)
        return known if self.window_rows is None else known[-self.window_rows :]

    def text(self, moment_ms: int) -> bytes:
        """The bytes of the release trained on what was known at a moment."""
        if moment_ms not in self._texts:
            rows, stream = self.rows(moment_ms), self.stream
            known = TrainingRows.of(stream.vectors[rows], stream.labels[rows])
            # One thread: streams are served side by side, and OpenMP's threads wait by spinning.
            trainer = new_trainer(self.settings, stream.schema, BINARY, threads=1)
            self._texts[moment_ms] = trainer.train(known).data
        return self._texts[moment_ms]

    def frozen(self, moment_ms: int) -> Frozen:
        """The same as the service loads it."""
        parse = FrozenLinear.parse if isinstance(self.settings, LinearModel) else FrozenTrees.parse
        return parse(self.text(moment_ms))


def never_retrained(releases: Releases) -> Scores:
    """What the first release says of all scored rows, never learning."""
    stream = releases.stream
    return releases.frozen(stream.start_ms).predict_many(stream.vectors[stream.scored])


def retrained(releases: Releases) -> Scores:
    """What each row's newest release says."""

    def predictor(moment_ms: int) -> Callable[[NDArray[np.float32]], Scores]:
        return releases.frozen(moment_ms).predict_many

    return _by_segment(releases, predictor)


def refitted(releases: Releases, decay: float = 0.9) -> Scores:
    """LightGBM's own `refit`: the first release's trees, leaf values moved to newer rows."""
    stream = releases.stream
    booster = lightgbm.Booster(model_str=releases.text(stream.start_ms).decode())
    last = stream.start_ms

    def predictor(moment_ms: int) -> Callable[[NDArray[np.float32]], Scores]:
        nonlocal booster, last
        if moment_ms > last:
            rows = stream.known(moment_ms, last)
            booster = booster.refit(stream.vectors[rows], stream.labels[rows], decay_rate=decay)
            last = moment_ms
        now: Any = booster
        return lambda vectors: np.asarray(now.predict(vectors))

    return _by_segment(releases, predictor)


def _by_segment(
    releases: Releases, predictor: Callable[[int], Callable[[NDArray[np.float32]], Scores]]
) -> Scores:
    stream, moments = releases.stream, releases.moments()
    cuts = [*np.searchsorted(stream.times, moments).tolist(), len(stream)]
    parts = []
    for moment, first, stop in zip(moments, cuts[:-1], cuts[1:], strict=True):
        parts.append(predictor(moment)(stream.vectors[first:stop]))
    return np.concatenate(parts)


@dataclass(frozen=True)
class Service:
    """How a stream is served: what learns, and whether releases follow the first.

    `replay_rows` is how far the offset lies back that a release was trained to: the rows after it
    are learned one by one before the new learner answers, as a catch-up does.
    """

    learner: LearnerKind
    retrain: bool = True
    replay_rows: int = 0


def serve(service: Service, releases: Releases, step_ms: int | None = None) -> Scores:
    """The scores of all rows that count: each step's requests are scored, then labels learned."""
    stream = releases.stream
    moments = releases.moments() if service.retrain else [stream.start_ms]
    ends = [*moments[1:], int(stream.times[-1]) + 1]
    scores = np.full(len(stream), np.nan)
    for moment, end in zip(moments, ends, strict=True):
        learner = start(service, releases, moment)
        if stream.immediate:
            _serve_at_once(learner, stream, moment, end, scores)
        else:
            _serve_delayed(learner, stream, (moment, end), step_ms or stream.step_ms, scores)
    return scores[stream.scored]


def start(service: Service, releases: Releases, moment_ms: int) -> Learner:
    """The learner at a moment: from the release trained up to the replay's start, caught up."""
    stream, release = releases.stream, _release(service, releases, moment_ms)
    learner = families.warm_start(service.learner, release, stream.schema)
    if service.replay_rows:
        rows = stream.known(moment_ms)[-service.replay_rows :]
        learner.learn_many(stream.vectors[rows], stream.labels[rows])
    return learner


def _release(service: Service, releases: Releases, moment_ms: int) -> Frozen:
    if not service.replay_rows:
        return releases.frozen(moment_ms)
    known = releases.stream.known(moment_ms)
    return releases.frozen(int(releases.stream.label_times[known[-service.replay_rows]]))


def _serve_at_once(
    learner: Learner, stream: Stream, begin_ms: int, end_ms: int, scores: Scores
) -> None:
    """Where labels come before the next request, learning says what it predicted just before."""
    first, stop = np.searchsorted(stream.times, (begin_ms, end_ms)).tolist()
    for low in range(first, stop, BLOCK):
        rows = slice(low, min(low + BLOCK, stop))
        scores[rows] = learner.learn_many(stream.vectors[rows], stream.labels[rows])


def _serve_delayed(
    learner: Learner, stream: Stream, span_ms: tuple[int, int], step_ms: int, scores: Scores
) -> None:
    for step in steps(stream, step_ms, *span_ms):
        if len(step.asked):
            scores[step.asked] = learner.predict_many(stream.vectors[step.asked])
        if len(step.known):
            learner.learn_many(stream.vectors[step.known], stream.labels[step.known])


def last_label(stream: Stream) -> Scores:
    """The share of 1 among rows that followed the same label as the newest one known now."""
    counts = np.ones((2, 2))
    newest, scores = 0, np.empty(len(stream))
    for step in steps(stream, stream.step_ms):
        scores[step.asked] = counts[newest, 1] / counts[newest].sum()
        for row in step.known:
            label = int(stream.labels[row])
            counts[newest, label] += 1
            newest = label
    return scores[stream.scored]
