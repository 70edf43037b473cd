"""The HTTP application: FastAPI for what is rare, raw routes for what is hot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

import tidemill
from api.document.openapi import document
from api.document.page import HEADERS, page
from api.door.guard import CALLER, Guard
from api.http.call import Call
from api.http.errors import (
    RETRY_AFTER_SECONDS,
    Problem,
    Refused,
    as_problem,
    refuse_failure,
    refuse_input,
    refuse_missing,
    refused_by,
)
from api.http.hot import HotRoute, HotRoutes
from api.http.routes import hot_routes, rare_routes
from api.service import ScoringService
from tidemill.errors import InputError, TidemillError

_JSON = "application/json"
_LOG = structlog.get_logger()


class ScoringApp(FastAPI):
    """FastAPI with raw routes that are answered before its middleware and routing."""

    hot: HotRoutes
    guard: Guard | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hot path at once, leave everything else to FastAPI."""
        if scope["type"] == "http" and (route := self.hot.find(scope["path"])):
            await self.hot.answer(route, scope, receive, send)
        elif self.guard is not None:
            await self.guard.pass_on(super().__call__, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(service: ScoringService, guard: Guard | None = None) -> ScoringApp:
    """The application of one scoring service; its lifespan runs the service.

    `guard` says who may ask for what; without one everybody may.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if guard is not None:
                await stack.enter_async_context(guard.running())
            await stack.enter_async_context(service.running())
            yield

    app = ScoringApp(
        title=f"Tidemill: {service.project.name}", version=tidemill.__version__, lifespan=lifespan,
        docs_url=None, redoc_url=None,  # those load scripts from elsewhere
    )  # fmt: skip
    app.guard = guard
    if guard is not None:
        service.secured = lambda: not guard.open
    routes = hot_routes(service)
    if service.tracing is not None:
        routes = {path: service.tracing.traced(route) for path, route in routes.items()}
    app.hot = HotRoutes(
        routes, service.settings.body_limit_bytes, service.measurements,
        guard.admit if guard else None, guard.charge if guard else None,
    )  # fmt: skip
    _add_probes(app, service)
    _add_reports(app, service)
    _add_rare(app, rare_routes(service))
    _add_errors(app)
    _publish(app, service)
    return app


def _add_probes(app: FastAPI, service: ScoringService) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return _json(b'{"alive":true}')

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        missing = await service.readiness()
        release = service.slot.current.release
        body = msgspec.json.encode({"ready": not missing, "missing": missing, "model": release})
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if missing else None
        return _json(body, 503 if missing else 200, headers)


def _add_reports(app: FastAPI, service: ScoringService) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/status", include_in_schema=False)
    async def status() -> Response:
        return _json(await service.status())

    @app.get("/v1/quality", include_in_schema=False)
    async def quality() -> Response:
        if (body := await service.quality()) is not None:
            return _json(body)
        raise refuse_missing("unknown_quality", "worker", "nothing yet", "a worker that has begun")

    @app.get("/v1/jobs", include_in_schema=False)
    async def jobs() -> Response:
        return _json(await service.jobs())

    @app.get("/v1/features/{entity}/{id:path}", include_in_schema=False)
    async def features(entity: str, id: str, at: str | None = None) -> Response:  # noqa: A002
        return _json(await service.look(entity, id, at))


def _add_rare(app: FastAPI, routes: Mapping[str, HotRoute]) -> None:
    """Routes with a handler like a hot one's, behind FastAPI's routing."""
    for path, route in routes.items():
        app.add_api_route(
            path, _endpoint(route), methods=[route.method], include_in_schema=False,
            name=route.name,
        )  # fmt: skip


def _endpoint(route: HotRoute) -> Any:
    async def endpoint(request: Request) -> Response:
        try:
            call = Call(request.scope, [], await request.body())
        except ClientDisconnect:
            return Response(status_code=400)  # nobody hears it
        call.caller = request.scope.get(CALLER, "")
        call.traceparent = call.header(b"traceparent")
        try:
            body = await route.handle(call)
        except TidemillError as error:
            return _refusal(refused_by(error), request)
        headers = {name.decode(): value.decode() for name, value in call.answer_headers}
        return _json(body, route.status, headers)

    return endpoint


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        cause = _CAUSES.get(error.status_code, "refused")
        found = f"{request.method} {request.url.path}"
        problem = Problem(cause, "path", found, _ALLOWED.get(cause, "the routes in /openapi.json"))
        headers = [(n.lower().encode(), v.encode()) for n, v in (error.headers or {}).items()]
        return _refusal(Refused(error.status_code, problem, tuple(headers)), request)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        found = repr(first.get("input"))[:80]
        return _refusal(
            refuse_input(InputError("invalid_value", field, found, first["msg"])), request
        )

    @app.exception_handler(TidemillError)
    async def known(request: Request, error: TidemillError) -> Response:
        return _refusal(refused_by(error), request)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        _LOG.error("request_failed", path=request.url.path, exc_info=error)
        return _refusal(refuse_failure(), request)


_CAUSES = {404: "unknown_route", 405: "method_not_allowed", 413: "body_too_large"}
_ALLOWED = {"body_too_large": "a body within TIDEMILL_BODY_LIMIT_BYTES"}


def _refusal(refused: Refused, request: Request) -> Response:
    kind, body = as_problem(refused, request.url.path)
    headers = {name.decode(): value.decode() for name, value in refused.headers}
    if refused.retry_after:
        headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    return Response(body, refused.status, headers, media_type=kind.decode())


def _publish(app: ScoringApp, service: ScoringService) -> None:
    """The document is made when first asked for, and again when another declaration serves."""
    published: tuple[str, bool] | None = None
    shown: tuple[dict[str, Any], bytes] | None = None

    def openapi() -> dict[str, Any]:
        nonlocal published
        secured = app.guard is not None and not app.guard.open
        if app.openapi_schema is None or published != (service.serving.schema, secured):
            published = service.serving.schema, secured
            app.openapi_schema = document(service.project, secured)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        nonlocal shown
        if shown is None or shown[0] is not openapi():
            shown = openapi(), page(openapi())
        return Response(shown[1], headers=HEADERS, media_type="text/html")


def _json(body: bytes, status: int = 200, headers: Any = None) -> Response:
    return Response(body, status, headers, media_type=_JSON)
