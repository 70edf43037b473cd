"""The HTTP application: FastAPI for what is rare, raw routes for what is hot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

import tidemill
from api.errors import (
    RETRY_AFTER_SECONDS,
    ErrorBody,
    Problem,
    refuse_failure,
    refuse_input,
    refuse_without_store,
)
from api.hot import HotRoute, HotRoutes
from api.openapi import add_raw_routes
from api.service import ScoringService
from features.inspection.look import UNKNOWN_ENTITY
from tidemill.errors import InputError, StoreUnavailable

_JSON = "application/json"
_LOG = structlog.get_logger()


class ScoringApp(FastAPI):
    """FastAPI with raw routes that are answered before its middleware and routing."""

    hot: HotRoutes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hot path at once, leave everything else to FastAPI."""
        if scope["type"] == "http" and (route := self.hot.paths.get(scope["path"])):
            await self.hot.answer(route, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(service: ScoringService) -> ScoringApp:
    """The application of one scoring service; its lifespan runs the service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = ScoringApp(
        title=f"Tidemill: {service.project.name}", version=tidemill.__version__, lifespan=lifespan
    )
    routes = {
        "/v1/score": HotRoute("score", 200, service.score),
        "/v1/score:batch": HotRoute("score_batch", 200, service.score_batch),
        "/v1/labels": HotRoute("labels", 202, service.take_labels),
        "/v1/progress": HotRoute("progress", 200, service.progress, "GET"),
    }
    app.hot = HotRoutes(routes, service.settings.body_limit_bytes, service.measurements)
    _add_probes(app, service)
    _add_reports(app, service)
    _add_inspection(app, service)
    _add_errors(app)
    _publish(app, service)
    return app


def _add_probes(app: FastAPI, service: ScoringService) -> None:
    @app.get("/healthz", summary="Is the process alive?")
    async def healthz() -> Response:
        return _json(b'{"alive":true}')

    @app.get("/readyz", summary="Do store and broker answer, and which release scores?")
    async def readyz() -> Response:
        missing = await service.readiness()
        release = service.slot.current.release
        body = msgspec.json.encode({"ready": not missing, "missing": missing, "model": release})
        return _json(body, 503 if missing else 200)


def _add_reports(app: FastAPI, service: ScoringService) -> None:
    @app.get("/metrics", summary="Metrics for Prometheus")
    async def metrics() -> Response:
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/status", summary="What the console shows")
    async def status() -> Response:
        return _json(await service.status())

    @app.get(
        "/v1/quality",
        summary="How the answers did: sliding, decayed, by slice and by the time of prediction",
        description="Measured by the labels that came later, beside the frozen release. Buckets "
        "marked `young` still wait for labels and say little.",
        responses={
            200: {"content": {_JSON: {"schema": {"$ref": "#/components/schemas/Quality"}}}},
            404: {"description": "No worker has told of any quality yet"},
        },
    )
    async def quality() -> Response:
        if (body := await service.quality()) is not None:
            return _json(body)
        problem = Problem("unknown_quality", "worker", "nothing yet", "a worker that has begun")
        return _json(msgspec.json.encode(ErrorBody(problem)), 404)

    @app.get(
        "/v1/jobs",
        summary="The scheduler's jobs of this project: waiting, running, ended",
        description="`seen_ms` is when the scheduler told of them, null where none ever did.",
        responses={
            200: {"content": {_JSON: {"schema": {"$ref": "#/components/schemas/JobsReport"}}}}
        },
    )
    async def jobs() -> Response:
        return _json(await service.jobs())


def _add_inspection(app: FastAPI, service: ScoringService) -> None:
    @app.get(
        "/v1/features/{entity}/{id:path}",
        summary="One entity's features at a time, their age and the tiles they come from",
        description="Several key fields are joined by `|`, in the order the entity names them. "
        "`at`: milliseconds since 1970 or ISO 8601 with an offset; now without it.",
    )
    async def features(entity: str, id: str, at: str | None = None) -> Response:  # noqa: A002
        try:
            return _json(await service.look(entity, id, at))
        except InputError as error:
            refused = refuse_input(error)
            status = 404 if error.cause == UNKNOWN_ENTITY else refused.status
            return _json(refused.body, status)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        cause = {404: "unknown_route", 405: "method_not_allowed"}.get(error.status_code, "refused")
        found = f"{request.method} {request.url.path}"
        problem = Problem(cause, "path", found, "the routes in /openapi.json")
        return _json(msgspec.json.encode(ErrorBody(problem)), error.status_code, error.headers)

    @app.exception_handler(StoreUnavailable)
    async def store_gone(_: Request, error: StoreUnavailable) -> Response:
        refused = refuse_without_store(str(error))
        return _json(refused.body, refused.status, {"Retry-After": str(RETRY_AFTER_SECONDS)})

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        _LOG.error("request_failed", path=request.url.path, exc_info=error)
        return _json(refuse_failure().body, 500)


def _publish(app: FastAPI, service: ScoringService) -> None:
    """The document is made when first asked for, and again when another declaration serves."""
    generate, published = app.openapi, ""

    def openapi() -> dict[str, Any]:
        nonlocal published
        if app.openapi_schema is None or published != service.serving.schema:
            app.openapi_schema, published = None, service.serving.schema
            app.openapi_schema = add_raw_routes(generate(), service.project)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _json(body: bytes, status: int = 200, headers: Any = None) -> Response:
    return Response(body, status, headers, media_type=_JSON)
