"""Score all waiting requests together: one store read, one model call, no timer."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from api.adopting.model import Lent, RecordedVectors
from api.http.trace_context import trace_headers
from api.measuring.measurements import GroupTimes, Measurements
from api.road.answers import Answer, Explanation, new_prediction_ids
from api.road.explaining import EXPLANATION, explain
from api.road.panel import FEATURES, Group, Panel, Source, Verdicts
from api.road.prediction_log import PredictionLog
from api.road.wishes import Wishes
from features.decoding import RequestDecoder
from features.plan import FeaturePlan
from features.vectors import VectorReader, Vectors
from tidemill.clock import Clock
from tidemill.errors import StoreUnavailable
from tidemill.wire import Prediction, vector_bytes

ROWS_AT_ONCE = 64
_STORE_REST_SECONDS = 0.5
_LOG = structlog.get_logger()
_ENCODER = msgspec.json.Encoder()
Explained = asyncio.Future[list[Explanation | None]]


class _Waiting(msgspec.Struct):
    """Requests of one call that wait for their scores, and what else the call asks for."""

    requests: Sequence[Any]
    future: asyncio.Future[list[Answer]]
    wishes: Wishes | None


class _Scored(msgspec.Struct, frozen=True):
    """Answers and records of the same requests, and what they come from.

    `explained` is what is explained already: all of it in parts, or nothing.
    """

    answers: list[Answer]
    predictions: list[Prediction]
    sources: list[Source]
    vectors: Vectors
    explained: Sequence[Explained] = ()


@dataclass(frozen=True, slots=True)
class ScorerParts:
    """What a Scorer works with."""

    decoder: RequestDecoder
    reader: VectorReader
    panel: Panel
    log: PredictionLog
    measurements: Measurements
    clock: Clock
    recorded: RecordedVectors
    lent: Lent


class Scorer:
    """Collects requests while a group is being scored, then scores those as the next group."""

    def __init__(self, parts: ScorerParts, plan: FeaturePlan) -> None:
        self._decoder, self._reader, self._panel = parts.decoder, parts.reader, parts.panel
        self._log, self._measurements, self._clock = parts.log, parts.measurements, parts.clock
        self._recorded, self._lent = parts.recorded, parts.lent
        project = plan.project
        self._schema, self._features = plan.schema.hash, plan.schema.names
        self._entities = tuple(entity.name for entity in project.entities)
        self._note_ages = parts.measurements.ages.of(self._entities)
        self._threshold = project.serving.threshold if project.task.kind == "binary" else None
        # Of its own: however many explanations are asked for, models are loaded beside them.
        self._explainers = ThreadPoolExecutor(1, "explain")
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        # Not that of the request which happens to begin: its trace is not that of the others.
        self._context = copy_context()
        self._store_rests_until = 0.0

    @property
    def depth(self) -> int:
        """Requests that wait for the group under way."""
        return sum(len(waiting.requests) for waiting in self._waiting)

    async def score(self, requests: Sequence[Any], wishes: Wishes | None = None) -> list[Answer]:
        """The answers in the order of the requests.

        Raises Refused (503) with a prediction queue that is full, for explanations half full, and
        InputError for one that the champion cannot give; then none is scored. Whatever else is
        raised, none is logged.
        """
        explained = wishes is not None and wishes.explain
        if explained:
            self._panel.check_explained()
        self._log.reserve(len(requests), explained)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Answer]] = loop.create_future()
        self._waiting.append(_Waiting(requests, future, wishes))
        if self._task is None:
            self._task = loop.create_task(self._drain(), context=self._context)
        return await future

    async def _drain(self) -> None:
        """Score group after group until nobody waits."""
        try:
            while self._waiting:
                group = self._take()
                try:
                    await self._score_group(group)
                except Exception as error:  # unforeseen, when all was scored: nobody waits for ever
                    _LOG.exception("group_failed", exc_info=error)
                    for waiting in group:
                        if not waiting.future.done():
                            self._refuse(waiting, error)
        finally:
            self._task = None

    def _take(self) -> list[_Waiting]:
        """The longest waiting calls, as many as fit in one group; a larger one is by itself."""
        group = [self._waiting.popleft()]
        rows = len(group[0].requests)
        while self._waiting and rows + len(self._waiting[0].requests) <= ROWS_AT_ONCE:
            group.append(self._waiting.popleft())
            rows += len(group[-1].requests)
        return group

    async def _score_group(self, group: list[_Waiting]) -> None:
        wishes = any([waiting.wishes for waiting in group])
        try:
            if len(group[0].requests) <= ROWS_AT_ONCE:
                scored = await self._score_rows(group, wishes)
            else:
                scored = await self._score_in_parts(group[0], wishes)
        except Exception as error:
            if len(group) > 1:  # One call must not fail for what is wrong with another.
                for waiting in group:
                    await self._score_group([waiting])
                return
            self._refuse(group[0], error)
            return
        self._note_ages(scored.vectors.ages_ms)
        if wishes:
            return self._deliver_each(group, scored)
        start = 0
        for waiting in group:
            end = start + len(waiting.requests)
            if not waiting.future.done():
                waiting.future.set_result(scored.answers[start:end])
            start = end
        self._keep(scored.predictions)

    async def _score_in_parts(self, call: _Waiting, wishes: bool) -> _Scored:
        """Score a call that is too large for one group; what fails in a part fails all of it."""
        starts = range(0, len(call.requests), ROWS_AT_ONCE)
        pieces = [call.requests[start : start + ROWS_AT_ONCE] for start in starts]
        parts, explained = list[_Scored](), list[Explained]()
        for piece in pieces:
            part = await self._score_rows([_Waiting(piece, call.future, call.wishes)], wishes)
            parts.append(part)
            if call.wishes is not None and call.wishes.explain:
                # At once: before the next part is read, what answered this one may be written to.
                explained.append(self._explained(part.sources, part.vectors.matrix))
        return _joined(parts, explained)

    async def _score_rows(self, group: Sequence[_Waiting], wishes: bool) -> _Scored:
        """One read and one call of each model for all the requests of a group."""
        requests = [request for waiting in group for request in waiting.requests]
        began = perf_counter()
        vectors, degraded = await self._read(requests)
        read = perf_counter()
        stale: Sequence[int] = ()
        if wishes:
            vectors, stale = self._without_old(group, requests, vectors, bool(degraded))
        scored = self._scored(requests, vectors, degraded, stale)
        if (groups := self._measurements.groups) is not None:
            ids = [prediction.id for prediction in scored.predictions]
            groups.append(GroupTimes(ids, (began, read, read, perf_counter())))
        return scored

    def _keep(self, predictions: Sequence[Prediction]) -> None:
        self._log.put(predictions)
        self._measurements.predictions += len(predictions)

    def _refuse(self, waiting: _Waiting, error: BaseException) -> None:
        """Give the places back and let the caller know."""
        self._log.release(len(waiting.requests))
        if not waiting.future.done():
            waiting.future.set_exception(error)

    async def _read(self, requests: Sequence[Any]) -> tuple[Vectors, tuple[str, ...]]:
        """The vectors and what they lack; a store that failed is left alone for half a second."""
        started = perf_counter()
        if started < self._store_rests_until:
            return self._reader.without_store(requests), (FEATURES,)
        try:
            vectors = await self._reader.read(requests)
        except StoreUnavailable as error:
            self._store_rests_until = perf_counter() + _STORE_REST_SECONDS
            _LOG.warning("store_unavailable", error=str(error), requests=len(requests))
            return self._reader.without_store(requests), (FEATURES,)
        self._measurements.stage_seconds["features"].add(perf_counter() - started)
        return vectors, ()

    def _without_old(
        self, group: Sequence[_Waiting], requests: Sequence[Any], vectors: Vectors, unknown: bool
    ) -> tuple[Vectors, Sequence[int]]:
        """Vectors without features older than their callers tolerate, and whose those are.

        With `unknown` nobody knows how old any are, and none that counts is there.
        """
        asked = [waiting.wishes.max_staleness_ms if waiting.wishes else None for waiting in group]
        if not any(asked):  # as where callers have sent no more than a trace
            return vectors, ()
        most = np.array([math.inf if each is None else each for each in asked])
        limits = np.repeat(most, [len(waiting.requests) for waiting in group])
        if unknown:
            return vectors, np.flatnonzero(np.isfinite(limits)).tolist()
        old = vectors.ages_ms > limits[:, np.newaxis]  # an age that is not known is not old
        if not old.any():
            return vectors, ()
        return self._reader.forget(requests, vectors, old), np.flatnonzero(old.any(1)).tolist()

    def _scored(
        self,
        requests: Sequence[Any],
        vectors: Vectors,
        degraded: tuple[str, ...],
        stale: Sequence[int],
    ) -> _Scored:
        now_ms = self._clock.now_ms()
        ids = new_prediction_ids(len(requests), now_ms)
        verdicts = self._panel.judge(Group(requests, ids, vectors.matrix, degraded, stale))
        self._recorded.add(vectors.matrix)
        self._measurements.group_rows.add(len(requests))
        threshold, entities = self._threshold, self._entities
        answers = [
            # NaN, an entity never seen, is null in JSON.
            Answer(id_, score, None if threshold is None else int(score >= threshold), interval,
                   source.version, dict(zip(entities, age, strict=True)), lacking)
            for id_, score, interval, source, age, lacking in zip(
                ids, verdicts.scores, verdicts.intervals, verdicts.sources,
                vectors.ages_ms.tolist(), verdicts.degraded, strict=True,
            )
        ]  # fmt: skip
        records = self._predictions(requests, ids, verdicts, vectors, now_ms)
        return _Scored(answers, records, verdicts.sources, vectors)

    def _predictions(
        self,
        requests: Sequence[Any],
        ids: Sequence[str],
        verdicts: Verdicts,
        vectors: Vectors,
        now_ms: int,
    ) -> list[Prediction]:
        """The records for the log, with the vectors and the models the scores come from."""
        data, width = vector_bytes(vectors.matrix), 4 * vectors.matrix.shape[1]
        join_key, encode = self._decoder.join_key, _ENCODER.encode
        schema, versions = self._schema, [source.version for source in verdicts.sources]
        return [
            Prediction(id_, join_key(request, id_), request.time,
                       data[i * width : (i + 1) * width], schema, verdicts.scores[i],
                       verdicts.baselines[i], version.release, version.snapshot, now_ms,
                       encode(request), version.offset, version.arm, verdicts.arms[i])
            for i, (id_, request, version) in enumerate(zip(ids, requests, versions, strict=True))
        ]  # fmt: skip

    def _deliver_each(self, group: Sequence[_Waiting], scored: _Scored) -> None:
        """Answer call by call what not all have asked for alike."""
        start, kept = 0, list[Prediction]()
        for waiting in group:
            part = slice(start, start + len(waiting.requests))
            start = part.stop
            wishes = waiting.wishes
            if wishes is not None and (headers := trace_headers(wishes.traceparent)):
                self._log.carry({each.id: headers for each in scored.predictions[part]})
            if wishes is not None and wishes.explain:
                self._explain(waiting, scored, part)
                continue
            if not waiting.future.done():
                waiting.future.set_result(scored.answers[part])
            kept += scored.predictions[part]
        self._keep(kept)

    def _explain(self, waiting: _Waiting, scored: _Scored, part: slice) -> None:
        """Answer a call once a thread has explained its scores; the next group does not wait."""
        answers, predictions = scored.answers[part], scored.predictions[part]
        begun = scored.explained or (
            self._explained(scored.sources[part], scored.vectors.matrix[part]),
        )

        def told(done: asyncio.Future[list[list[Explanation | None]]]) -> None:
            found = [each for some in done.result() for each in some]
            if missing := found.count(None):
                self._measurements.degraded[EXPLANATION] += missing
            if not waiting.future.done():
                pairs = zip(answers, found, strict=True)
                waiting.future.set_result([_with(*pair) for pair in pairs])
            self._keep(predictions)

        asyncio.gather(*begun).add_done_callback(told)

    def _explained(self, sources: Sequence[Source], matrix: NDArray[np.float32]) -> Explained:
        """What a thread, which has these models from now on, finds to explain; never an error."""
        work = partial(explain, sources, matrix, self._features)
        try:
            return self._lent.in_thread([each.model for each in sources], work, self._explainers)
        except RuntimeError:  # the process is ending
            nothing: Explained = asyncio.get_running_loop().create_future()
            nothing.set_result([None] * len(sources))
            return nothing


def _with(answer: Answer, found: Explanation | None) -> Answer:
    """The answer with its explanation; without one it says so."""
    if found is None:
        return msgspec.structs.replace(answer, degraded=(*answer.degraded, EXPLANATION))
    return msgspec.structs.replace(answer, explanation=found)


def _joined(parts: Sequence[_Scored], explained: Sequence[Explained]) -> _Scored:
    """What was scored of one call, part by part."""
    matrix = np.concatenate([part.vectors.matrix for part in parts])
    ages = np.concatenate([part.vectors.ages_ms for part in parts])
    return _Scored(
        [answer for part in parts for answer in part.answers],
        [prediction for part in parts for prediction in part.predictions],
        [source for part in parts for source in part.sources],
        Vectors(matrix, ages),
        explained,
    )
