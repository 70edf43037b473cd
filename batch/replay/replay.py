"""Replays predictions: features, weights and scores from the log and the releases, bit for bit.

Many predictions take one pass over the log for each release that answered them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from batch.replay.checkpoints import Checkpoints
from batch.replay.past_learners import EVERY, PastLearners
from batch.replay.report import DAMAGED, OTHER_SCHEMA, Now, Number, Problem, Replayed, Report
from batch.replay.scores import Asked, PastScores, Range, same, unknown_offset
from batch.replay.vectors import Rebuilt, VectorReplay
from features.archive.events import Rules
from features.archive.predictions import LoggedPrediction, find_predictions
from features.plan import FeaturePlan
from learners.learner import Learner, Vectors
from tidemill.registry import Registry


@dataclass(frozen=True, slots=True)
class Newest:
    """The learner as it is now."""

    release: str
    snapshot: int
    offset: int
    learner: Learner


@dataclass(frozen=True, slots=True)
class Sources:
    """What a replay goes by.

    `rules` are the worker's. `skipped` are the ranges of examples that were left out for good, in
    the order in which that was decided. `newest` says the score of now, without it there is none.
    Without `checkpoints`, one each `every` offsets, all is learned again from the release on.
    """

    registry: Registry
    plan: FeaturePlan
    rules: Rules = Rules()
    skipped: tuple[Range, ...] = ()
    newest: Newest | None = None
    checkpoints: Checkpoints | None = None
    every: int = EVERY


def replay(sources: Sources, ids: Sequence[str]) -> Report:
    """Replay the predictions of these ids, each once; may block on the disk for long."""
    plan, wanted = sources.plan, list(dict.fromkeys(ids))
    found = find_predictions(sources.registry.home, plan.project.name, wanted)
    known = [found[each] for each in wanted if each in found]
    problems = {each.id: _unreadable(each, plan) for each in known}
    told = {each.id: each for each in _replayed(sources, [e for e in known if not problems[e.id]])}
    return Report(
        [told.get(e.id) or _told(e, problem=problems[e.id]) for e in known],
        [each for each in wanted if each not in found],
    )


def _unreadable(prediction: LoggedPrediction, plan: FeaturePlan) -> Problem | None:
    """What keeps its vector from being read by this declaration."""
    if prediction.schema != plan.schema.hash:
        message = (
            f"it was scored for the features {prediction.schema}, and this project file declares "
            f"{plan.schema.hash}: replay it with the project file of then"
        )
        return Problem(OTHER_SCHEMA, message)
    found, allowed = len(prediction.vector), 4 * len(plan.schema.names)
    if found != allowed:
        return Problem(DAMAGED, f"vector: found {found} bytes; allowed: {allowed}")
    return None


def _replayed(sources: Sources, predictions: Sequence[LoggedPrediction]) -> list[Replayed]:
    """The replays of predictions of the declared schema."""
    if not predictions:
        return []
    plan, registry = sources.plan, sources.registry
    joined = b"".join(each.vector for each in predictions)
    logged = np.frombuffer(joined, "<f4").reshape(len(predictions), -1).copy()
    rebuilt = VectorReplay(registry.home, plan, sources.rules).rebuild(predictions, logged)
    learners = PastLearners(registry, plan, sources.checkpoints, sources.every)
    scores = PastScores(registry, learners, plan.project.task, sources.skipped)
    scores.score(
        [
            Asked(each, own, known)
            for each, own, known in zip(predictions, logged, rebuilt.known, strict=True)
        ]
    )
    return [
        _replayed_one(each, scores, rebuilt, row, _now(sources.newest, logged[row], rebuilt, row))
        for row, each in enumerate(predictions)
    ]


def _replayed_one(
    prediction: LoggedPrediction, scores: PastScores, rebuilt: Rebuilt, row: int, now: Now | None
) -> Replayed:
    scored, features = scores.scored.get(prediction.id), rebuilt.features[row]
    if scored is None:
        problem = scores.problems[prediction.id]
        return _told(prediction, problem=problem, features=features, now=now)
    right = scores.is_right(prediction)
    if not right and prediction.snapshot > 0 and not prediction.learned_to:
        # A learner may begin at 0, and an api that logged no offset says 0 too.
        problem = unknown_offset(prediction, scored.weights.trained_to)
        return _told(prediction, problem=problem, features=features, now=now)
    return _told(
        prediction,
        exact=features.equal and right,
        features=features,
        weights=scored.weights,
        score=_number(prediction.score, scored.score, prediction.release),
        baseline=_number(prediction.baseline, scored.baseline, scored.baseline_of),
        from_rebuilt=scored.rebuilt if rebuilt.usable[row] else None,
        now=now,
    )


def _now(newest: Newest | None, logged: Vectors, rebuilt: Rebuilt, row: int) -> Now | None:
    if newest is None:
        return None
    usable, learner = rebuilt.usable[row], newest.learner
    settled = _score(learner, rebuilt.settled[row]) if usable else None
    return Now(newest.release, newest.snapshot, newest.offset, _score(learner, logged), settled)


def _score(learner: Learner, vector: Vectors) -> float:
    return float(learner.predict_many(vector[None].copy())[0])


def _number(logged: float, replayed: float | None, release: str) -> Number:
    equal = replayed is not None and same(logged, replayed)
    return Number(logged, replayed, equal, release)


def _told(prediction: LoggedPrediction, **said: object) -> Replayed:
    plain = Replayed(
        id=prediction.id, key=prediction.key, time=prediction.time,
        scored_ms=prediction.scored_ms, arm=prediction.arm, release=prediction.release,
        snapshot=prediction.snapshot, schema=prediction.schema, exact=False,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **said)
