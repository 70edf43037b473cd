"""Score all waiting requests together: one store read, one model call, no timer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import msgspec
import structlog

from api.answers import Answer, ModelVersion, new_prediction_ids
from api.measurements import Measurements
from api.model import ModelSlot, ServedModel
from api.prediction_log import PredictionLog
from features.decoding import RequestDecoder
from features.vectors import VectorReader, Vectors
from tidemill.clock import Clock
from tidemill.errors import StoreUnavailable
from tidemill.wire import Prediction, vector_bytes

ROWS_AT_ONCE = 64
_STORE_REST_SECONDS = 0.5
_LOG = structlog.get_logger()
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Requests of one call that wait for their scores."""

    requests: Sequence[Any]
    future: asyncio.Future[list[Answer]]


@dataclass(frozen=True, slots=True)
class ScorerParts:
    """What a Scorer works with."""

    decoder: RequestDecoder
    reader: VectorReader
    slot: ModelSlot
    log: PredictionLog
    measurements: Measurements
    clock: Clock


class Scorer:
    """Collects requests while a group is being scored, then scores those as the next group."""

    def __init__(self, parts: ScorerParts, entities: Sequence[str]) -> None:
        self._decoder, self._reader, self._slot = parts.decoder, parts.reader, parts.slot
        self._log, self._measurements, self._clock = parts.log, parts.measurements, parts.clock
        self._entities = tuple(entities)
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._store_rests_until = 0.0

    async def score(self, requests: Sequence[Any]) -> list[Answer]:
        """The answers in the order of the requests.

        Raises Refused (503) with a full prediction queue; then none is scored.
        """
        self._log.reserve(len(requests))
        if len(requests) <= ROWS_AT_ONCE:
            return await self._enter(requests)
        starts = range(0, len(requests), ROWS_AT_ONCE)
        parts = [self._enter(requests[start : start + ROWS_AT_ONCE]) for start in starts]
        return [answer for part in await asyncio.gather(*parts) for answer in part]

    def _enter(self, requests: Sequence[Any]) -> asyncio.Future[list[Answer]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Answer]] = loop.create_future()
        self._waiting.append(_Waiting(requests, future))
        if self._task is None:
            self._task = loop.create_task(self._drain())
        return future

    async def _drain(self) -> None:
        """Score group after group until nobody waits."""
        try:
            while self._waiting:
                await self._score_group(self._take())
        finally:
            self._task = None

    def _take(self) -> list[_Waiting]:
        """The longest waiting calls, as many as fit in one group."""
        group = [self._waiting.popleft()]
        rows = len(group[0].requests)
        while self._waiting and rows + len(self._waiting[0].requests) <= ROWS_AT_ONCE:
            group.append(self._waiting.popleft())
            rows += len(group[-1].requests)
        return group

    async def _score_group(self, group: list[_Waiting]) -> None:
        requests = [request for waiting in group for request in waiting.requests]
        try:
            vectors, degraded = await self._read(requests)
            answers, predictions = self._predict(requests, vectors, degraded)
        except Exception as error:
            if len(group) > 1:  # One call must not fail for what is wrong with another.
                for waiting in group:
                    await self._score_group([waiting])
                return
            self._log.release(len(requests))
            if not group[0].future.done():
                group[0].future.set_exception(error)
            return
        start = 0
        for waiting in group:
            end = start + len(waiting.requests)
            if not waiting.future.done():
                waiting.future.set_result(answers[start:end])
            start = end
        self._log.put(predictions)
        self._measurements.predictions += len(predictions)

    async def _read(self, requests: Sequence[Any]) -> tuple[Vectors, tuple[str, ...]]:
        """The vectors and what they lack; a store that failed is left alone for half a second."""
        started = perf_counter()
        if started < self._store_rests_until:
            return self._reader.without_store(requests), ("features",)
        try:
            vectors = await self._reader.read(requests)
        except StoreUnavailable as error:
            self._store_rests_until = perf_counter() + _STORE_REST_SECONDS
            _LOG.warning("store_unavailable", error=str(error), requests=len(requests))
            return self._reader.without_store(requests), ("features",)
        self._measurements.stage_seconds["features"].add(perf_counter() - started)
        return vectors, ()

    def _predict(
        self, requests: Sequence[Any], vectors: Vectors, degraded: tuple[str, ...]
    ) -> tuple[list[Answer], list[Prediction]]:
        model = self._slot.current
        if model.is_prior:
            degraded = (*degraded, "model")
        started = perf_counter()
        scores, baselines = model.head.predict_both(vectors.matrix)
        self._measurements.stage_seconds["model"].add(perf_counter() - started)
        self._slot.recent = vectors.matrix
        ids, pairs = new_prediction_ids(len(requests)), (scores.tolist(), baselines.tolist())
        version = ModelVersion(model.release, model.snapshot)
        ages = vectors.ages_ms.tolist()
        answers = [
            # NaN, an entity never seen, is null in JSON.
            Answer(id_, score, version, dict(zip(self._entities, age, strict=True)), degraded)
            for id_, score, age in zip(ids, pairs[0], ages, strict=True)
        ]
        return answers, self._predictions(requests, ids, pairs, (model, vectors))

    def _predictions(
        self,
        requests: Sequence[Any],
        ids: Sequence[str],
        pairs: tuple[list[float], list[float]],
        used: tuple[ServedModel, Vectors],
    ) -> list[Prediction]:
        """The records for the log: scores, baselines, and the vectors and model they come from."""
        model, vectors = used
        data, width = vector_bytes(vectors.matrix), 4 * vectors.matrix.shape[1]
        now_ms, join_key, encode = self._clock.now_ms(), self._decoder.join_key, _ENCODER.encode
        return [
            Prediction(ids[i], join_key(request, ids[i]), request.time,
                       data[i * width : (i + 1) * width], model.schema, pairs[0][i], pairs[1][i],
                       model.release, model.snapshot, now_ms, encode(request))
            for i, request in enumerate(requests)
        ]  # fmt: skip
