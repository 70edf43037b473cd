"""Which handler answers which path: the hot routes, and the rare ones behind FastAPI."""

from __future__ import annotations

import msgspec

from api.http.call import Call
from api.http.hot import Handler, HotRoute
from api.http.problems import PROBLEMS_PATH, problem_types
from api.resources.events import EventInbox
from api.resources.infer import Inference, InferRoutes
from api.resources.models import ModelRoutes
from api.resources.predictions import PredictionFinder
from api.resources.replay import ReplayRoute
from api.service import ScoringService
from tidemill.asyncapi import asyncapi

MODEL = "/v2/models/{model}"


def hot_routes(service: ScoringService) -> dict[str, HotRoute]:
    """The routes that carry traffic, by path."""
    events = EventInbox(
        service.ports.producer, lambda: service.project, service.clock,
        service.settings.clock_skew_ms, service.settings.batch_limit,
    )  # fmt: skip
    infer = _infer_routes(service)
    inference = HotRoute("infer", 200, infer.infer)
    return {
        "/v1/score": HotRoute("score", 200, service.score),
        "/v1/score:batch": HotRoute("score_batch", 200, service.score_batch),
        "/v1/labels": HotRoute("labels", 202, service.take_labels),
        "/v1/events": HotRoute("events", 202, events.take),
        "/v1/progress": HotRoute("progress", 200, service.progress, "GET"),
        f"{MODEL}/infer": inference,
        f"{_versioned(service)}/infer": inference,
    }


def rare_routes(service: ScoringService) -> dict[str, HotRoute]:
    """The others that are not FastAPI's own, by path."""
    ports = service.ports
    predictions = PredictionFinder(
        service.log.recent.find, ports.find_archived,
        lambda schema: _features(service, schema),
    )  # fmt: skip
    replay = ReplayRoute(ports.replay)
    models = ModelRoutes(
        lambda: service.serving.ports.orders,
        lambda: ports.registry.champion(service.serving.schema), ports.producer, service.clock,
    )  # fmt: skip
    order = "/v1/models/{release}"
    return {
        PROBLEMS_PATH: HotRoute("problems", 200, _problems, "GET"),
        "/v1/asyncapi.json": HotRoute("asyncapi", 200, _asyncapi(service), "GET"),
        "/v1/predictions/{id}": HotRoute("prediction", 200, predictions.look, "GET"),
        "/v1/predictions/{id}/replay": HotRoute("replay", 200, replay.look, "GET"),
        "/v1/models": HotRoute("models", 200, models.listing, "GET"),
        f"{order}:promote": HotRoute("promote", 200, models.promote),
        f"{order}:rollback": HotRoute("rollback", 200, models.roll_back),
        f"{order}:challenge": HotRoute("challenge", 200, models.challenge),
        f"{order}:retire": HotRoute("retire", 200, models.retire),
        order: HotRoute("model", 200, models.show, "GET"),
        **_inference(service),
    }


def _inference(service: ScoringService) -> dict[str, HotRoute]:
    """What the protocol has beside inference itself."""
    routes = _infer_routes(service)
    handlers = {
        "/v2": routes.server,
        "/v2/health/live": routes.live,
        "/v2/health/ready": routes.ready,
        f"{MODEL}/ready": routes.model_ready,
        f"{_versioned(service)}/ready": routes.model_ready,
        MODEL: routes.model,
        _versioned(service): routes.model,
    }
    return {path: HotRoute("inference", 200, handle, "GET") for path, handle in handlers.items()}


def _infer_routes(service: ScoringService) -> InferRoutes:
    return InferRoutes(
        Inference(
            lambda: service.project,
            lambda: service.slot.current.release,
            service.score_batch,
            service.readiness,
            service.settings.batch_limit,
        )  # fmt: skip
    )


def _versioned(service: ScoringService) -> str:
    """A hot path has one part in braces, and a service one model: the project."""
    return f"/v2/models/{service.project.name}/versions/{{version}}"


def _features(service: ScoringService, schema: str) -> tuple[str, ...]:
    """The names of the features being served, nothing for another schema."""
    serving = service.serving
    return serving.plan.schema.names if schema == serving.schema else ()


async def _problems(_: Call) -> bytes:
    return msgspec.json.encode(problem_types())


def _asyncapi(service: ScoringService) -> Handler:
    async def answer(_: Call) -> bytes:
        return msgspec.json.encode(asyncapi(service.project, service.settings.partitions))

    return answer
