"""Everything one api process does, put together from its ports; HTTP is a thin layer over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import Any

import msgspec
import structlog

from api.adopting.adoption import Adoption
from api.adopting.arm_limits import ArmLimits, take_place_away
from api.adopting.cut_over import CutOver, Exchange
from api.adopting.giving_way import loading_thread
from api.adopting.model import Lent, ModelSlot, ServedModel
from api.adopting.watch import LOOK_SECONDS, ModelWatch, Watched
from api.http.call import Call
from api.measuring.measurements import Measurements
from api.measuring.metrics import ApiCollector, Gauges, registry_of
from api.ports import Ports
from api.resources.labels import LabelInbox
from api.resources.status import (
    SCORING_ROUTES,
    api_status,
    encode_status,
    features_status,
    model_status,
    scheduled_jobs,
    worker_quality,
    worker_status,
)
from api.road.answers import BatchAnswer
from api.road.bad_cases import RulesBySchema
from api.road.prediction_log import PredictionLog
from api.road.shadows import Shadows
from api.road.wishes import wishes_of
from api.serving import Serving, Shared, build_serving
from features.inspection.look import moment
from features.plan import FeaturePlan
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.errors import InputError, StoreUnavailable, TidemillError
from tidemill.settings import Settings
from tidemill.wire import Announcement

DRAIN_SECONDS = 20.0
PROBE_SECONDS = INSPECTION_SECONDS = 1.0
TICK_SECONDS = 1.0
REST_SECONDS = 0.1
"""Between two looks at the challengers, however often their snapshots are announced."""
_LOG = structlog.get_logger()


class ScoringService:
    """Scores, takes labels, adopts models and reports; `running` holds its background tasks."""

    def __init__(self, plan: FeaturePlan, ports: Ports, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock, self.ports = settings, clock, ports
        self.measurements = Measurements()
        self.tracing = ports.tracing
        if self.tracing is not None:
            self.measurements.groups = self.tracing.groups
        self._rules, self._news = RulesBySchema(), asyncio.Event()
        self.lent = Lent()
        shadows = Shadows(lambda: self.serving.arms, self.lent, self.measurements)
        self.log = PredictionLog(
            ports.producer, self._rules, settings.prediction_queue, self.measurements, shadows
        )
        self._shared = Shared(
            ports, self.log, self.measurements, clock, settings.clock_skew_ms, self.lent,
            loading_thread(),
        )  # fmt: skip
        self.serving = build_serving(plan, self._shared)
        self._adopt(self.serving)
        self._labels = LabelInbox(
            ports.producer,
            ports.keys,
            clock,
            settings.clock_skew_ms,
            lambda: self.project.label.kind,
            settings.batch_limit,
        )
        self.cut_over = CutOver(
            ports, Exchange(lambda: self.serving, self._build, self._adopt), clock
        )  # fmt: skip
        self.registry = registry_of(
            ApiCollector(
                self.measurements,
                Gauges(
                    models=self._models,
                    scoring_queue=lambda: self.serving.scorer.depth,
                    prediction_queue=lambda: self.log.depth,
                    prediction_limit=settings.prediction_queue,
                ),
            )
        )
        self._encode = msgspec.json.Encoder().encode
        self.secured: Callable[[], bool] = lambda: False
        stages = self.measurements.stage_seconds
        self._decoded, self._encoded = stages["decode"].add, stages["encode"].add

    @property
    def project(self) -> Project:
        """The declaration being served."""
        return self.serving.project

    @property
    def slot(self) -> ModelSlot:
        """The model being served."""
        return self.serving.slot

    @property
    def adoption(self) -> Adoption:
        """What adopts models of the schema being served."""
        return self.serving.adoption

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Adopt, log and tick inside the block; at its end the last prediction is sent.

        The newest model is adopted first, so that the prior answers only where there is none.
        """
        await self.adoption.adopt_newest()
        await self.serving.arms.look()
        watch = ModelWatch(Watched(self.ports.announcements, self._note, self._look))
        sending = asyncio.create_task(self.log.run(), name="prediction log")
        others = [
            asyncio.create_task(watch.run(), name="adoption"),
            asyncio.create_task(self._follow_challengers(), name="challengers"),
            asyncio.create_task(self._tick(), name="ticks"),
            asyncio.create_task(self._keep_limits(), name="limits"),
        ]
        for task in (sending, *others):
            task.add_done_callback(_report_end)
        try:
            yield
        finally:
            for task in others:
                task.cancel()
            self.log.close()
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await sending
                _LOG.info("prediction_log_drained")
            except TimeoutError:
                _LOG.error("predictions_not_sent", lost=self.log.depth, seconds=DRAIN_SECONDS)
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*others)

    async def _look(self) -> bool:
        """The newest model of what serves, and whether the newest release asks for another."""
        seen = await self.adoption.adopt_newest()
        await self.cut_over.look()
        return seen

    def _note(self, announcement: Announcement) -> None:
        """Pass on what was announced; the champion is looked at anyway."""
        self.adoption.note(announcement)
        self.serving.arms.note(announcement)
        if announcement.kind == "release" or announcement.learner != self.project.learner.name:
            self._news.set()

    async def _follow_challengers(self) -> None:
        """Look at the challengers on their own: nothing of theirs may hold up a champion."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
            self._news.clear()
            await self.serving.arms.look()
            await asyncio.sleep(REST_SECONDS)

    def _models(self) -> list[tuple[str, ServedModel]]:
        beside = [(arm.role, model) for arm, model in self.serving.arms.models()]
        return [("champion", self.slot.current), *beside]

    def _build(self, plan: FeaturePlan) -> Serving:
        return build_serving(plan, self._shared)

    def _adopt(self, serving: Serving) -> None:
        """Serve this from the next request on; those under way end with the one they began with."""
        self._rules.add(serving.schema, serving.rules)
        self._limits = ArmLimits(serving.project.trial, self.measurements, self.clock)
        self.serving = serving
        self._news.set()  # its challengers are looked for

    async def score(self, call: Call) -> bytes:
        """Answer one request; raises InputError or Refused."""
        started, serving = perf_counter(), self.serving
        request, wishes = serving.decoder.decode(call.body), wishes_of(call)
        self._decoded(perf_counter() - started)
        answers = await serving.scorer.score((request,), wishes)
        started = perf_counter()
        body = self._encode(answers[0])
        self._encoded(perf_counter() - started)
        return body

    async def score_batch(self, call: Call) -> bytes:
        """Answer `{"requests": [...]}` as a whole or not at all; raises InputError or Refused."""
        started, serving = perf_counter(), self.serving
        requests, wishes = serving.decoder.decode_batch(call.body), wishes_of(call)
        limit = self.settings.batch_limit
        if len(requests) > limit:
            found, allowed = f"{len(requests)} requests", f"at most {limit}"
            raise InputError("too_many_requests", "requests", found, allowed)
        call.held = len(requests)
        self._decoded(perf_counter() - started)
        answers = BatchAnswer(await serving.scorer.score(requests, wishes))
        started = perf_counter()
        body = self._encode(answers)
        self._encoded(perf_counter() - started)
        return body

    async def take_labels(self, call: Call) -> bytes:
        """Take one label or a list; raises InputError, Refused or StoreUnavailable."""
        return await self._labels.take(call)

    async def readiness(self) -> dict[str, str]:
        """What does not answer, with the reason; empty when store and broker do.

        Probes have no key: where keys are declared nobody learns addresses from them.
        """
        found = await asyncio.gather(
            _probe(self.ports.check_store()), _probe(self.ports.check_broker())
        )
        reasons = zip(("store", "broker"), found, strict=True)
        hidden = "does not answer" if self.secured() else ""
        return {name: hidden or reason for name, reason in reasons if reason}

    async def status(self) -> bytes:
        """The console's JSON."""
        serving = self.serving
        worker, bad_cases = await worker_status(serving.ports)
        parts: dict[str, Any] = {
            "project": self.project.name,
            "now_ms": self.clock.now_ms(),
            "features": features_status(serving.plan, self.cut_over.waiting),
            "model": model_status(serving.slot.current, self.measurements)
            | {"challengers": serving.arms.described()},
            "api": api_status(self.measurements, self.log.depth),
            "worker": worker,
            "bad_cases": bad_cases,
        }
        return encode_status(parts)

    async def quality(self) -> bytes | None:
        """The running quality as JSON, None before there is any; raises StoreUnavailable."""
        found = await worker_quality(self.serving.ports)
        return None if found is None else self._encode(found)

    async def jobs(self) -> bytes:
        """The scheduler's jobs as JSON, none where none runs; raises StoreUnavailable."""
        return self._encode(await scheduled_jobs(self.ports))

    async def look(self, entity: str, id_text: str, at: str | None) -> bytes:
        """One entity's features as JSON; raises InputError or StoreUnavailable."""
        time = moment(at, self.clock.now_ms())
        try:
            async with asyncio.timeout(INSPECTION_SECONDS):
                view = await self.serving.ports.inspector.look(entity, [id_text], time)
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {INSPECTION_SECONDS:g} s") from None
        return self._encode(view)

    async def progress(self, _: Call | None = None) -> bytes:
        """How far each source partition has been applied; raises StoreUnavailable."""
        applied = await self.serving.ports.read_progress()
        return self._encode({"events": {str(source): n for source, n in applied.items()}})

    async def _tick(self) -> None:
        while True:
            self.measurements.tick(self.clock.now_ms(), SCORING_ROUTES[0])
            await asyncio.sleep(TICK_SECONDS)

    async def _keep_limits(self) -> None:
        """Beside the ticks, which must not wait for a broker: until one comes, memory grows."""
        while True:
            await self._limit()
            await asyncio.sleep(TICK_SECONDS)

    async def _limit(self) -> None:
        """Take the place of a model away that is beyond the declared limits."""
        serving = self.serving
        canaries = (arm.release for _, arm in serving.arms.canaries)
        found = self._limits.judge((serving.slot.current.release, *canaries))
        if found is not None:
            self._limits.begin()
            place = (serving.schema, self.project.learner.name)
            await take_place_away(self.ports, self.clock, place, found)


async def _probe(answer: Awaitable[None]) -> str | None:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await answer
    except TimeoutError:
        return f"no answer within {PROBE_SECONDS:g} s"
    except TidemillError as error:
        return str(error)
    return None


def _report_end(task: asyncio.Task[None]) -> None:
    """A background task that ends by an error would otherwise be silent."""
    if not task.cancelled() and task.exception() is not None:
        _LOG.critical("task_failed", task=task.get_name(), exc_info=task.exception())
