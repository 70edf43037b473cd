"""Behind the answers: what the models say that did not answer, put into the records."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import structlog
from msgspec.structs import force_setattr

from api.adopting.arms import Arms
from api.adopting.model import Lent, ServedModel, Vectors, ask
from api.measuring.measurements import Measurements
from tidemill.wire import ArmScore, Prediction, vectors

PATIENCE_SECONDS = 1.0
"""How long a group of predictions waits for its shadows; without them it goes to the broker."""

_STEP_SECONDS = 0.02
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Found:
    """What one model says of some of the predictions, NaN where it failed."""

    model: ServedModel
    rows: list[int]
    scores: list[float]
    seconds: float
    error: Exception | None


class Shadows:
    """Scores predictions by every challenger that has not yet, in a thread, a group at a time.

    Shadows that are too slow for the traffic are left out, and counted, before anything waits for
    them: while one group is still being scored, others pass by.
    """

    def __init__(self, arms: Callable[[], Arms], lent: Lent, measurements: Measurements) -> None:
        """`arms` gives those beside the champion that answers now."""
        self._arms, self._lent, self._measurements = arms, lent, measurements
        self._under_way: asyncio.Future[list[_Found]] | None = None

    def wanted(self) -> bool:
        """True while there is a challenger."""
        return bool(self._arms().challengers)

    async def add(self, predictions: Sequence[Prediction], crowded: Callable[[], bool]) -> None:
        """Put the challengers' scores into the records; none where it would take too long.

        While it is `crowded`, the predictions' queue being about to fill, nothing is waited for.
        """
        arms = self._arms()
        models = [model for _, model in arms.models()]
        own = [each for each in predictions if each.schema == arms.schema]
        if not models or not own:
            return
        if crowded() or (self._under_way is not None and not self._under_way.done()):
            return self._drop(len(own))
        started = perf_counter()
        heads = [model.head for model in models]
        future = self._lent.in_thread(heads, partial(_score, models, own))
        self._under_way = future
        until = started + PATIENCE_SECONDS
        while not future.done() and perf_counter() < until and not crowded():
            await asyncio.wait({future}, timeout=_STEP_SECONDS)
        if not future.done():
            waited = round(perf_counter() - started, 3)
            _LOG.warning("shadows_too_slow", predictions=len(own), waited_seconds=waited)
            return self._drop(len(own))
        self._measurements.stage_seconds["shadow"].add(perf_counter() - started)
        answering = {arm.release for _, arm in arms.canaries}
        for found in future.result():
            self._write(found, own)
            # What callers wait for is not to be judged by these larger groups.
            if found.rows and found.model.release not in answering:
                self._measurements.arm_seconds[found.model.release].add(found.seconds)

    def _write(self, found: _Found, predictions: Sequence[Prediction]) -> None:
        model, failed = found.model, list[str]()
        for row, score in zip(found.rows, found.scores, strict=True):
            if not math.isfinite(score):
                score = math.nan
                failed.append(predictions[row].id)
            arm = ArmScore(model.release, model.snapshot, model.offset, score)
            # The record is still being made: nobody has been sent it.
            force_setattr(predictions[row], "arms", [*predictions[row].arms, arm])
        if failed:
            self._measurements.arm_failures[model.release] += len(failed)
            _LOG.warning(
                "shadow_failed", release=model.release, snapshot=model.snapshot,
                prediction_id=failed[0], predictions=len(failed), error=repr(found.error),
            )  # fmt: skip

    def _drop(self, count: int) -> None:
        self._measurements.drops["shadow"] += count


def _score(models: Sequence[ServedModel], predictions: Sequence[Prediction]) -> list[_Found]:
    """Runs in a thread; reads nothing but these models, which are not written to meanwhile."""
    matrix = vectors(list(predictions))
    return [_of_model(model, predictions, matrix) for model in models]


def _of_model(model: ServedModel, predictions: Sequence[Prediction], matrix: Vectors) -> _Found:
    rows = [row for row, each in enumerate(predictions) if not _has(each, model.release)]
    if not rows:
        return _Found(model, rows, [], 0.0, None)
    started = perf_counter()
    said = ask(model.head, matrix if len(rows) == len(predictions) else matrix[rows])
    return _Found(model, rows, said.scores, perf_counter() - started, said.error)


def _has(prediction: Prediction, release: str) -> bool:
    """True where a release has already said something of a prediction."""
    return prediction.release == release or any(arm.release == release for arm in prediction.arms)
