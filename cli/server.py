"""The api process put together: the scoring service with the console mounted on it."""

from __future__ import annotations

from typing import Any

import msgspec

from api.app import create_app
from api.ports import Ports
from api.server import bind, serve_on
from api.service import ScoringService
from cli import kafka_bus
from cli.wiring import Clients, connect
from console.pages import console_app
from features.freshness import applied_offsets
from features.vectors import VectorReader
from tidemill.declaration import Project
from tidemill.settings import Settings

ANNOUNCEMENT_WAIT_MS = 50


async def serve(project: Project, settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; takes the port first, so that one in use is said at once."""
    listener = bind(host, port)
    async with connect(project, settings) as clients:
        await serve_on(scoring_app(clients), listener)


def scoring_app(clients: Clients) -> Any:
    """The api's application with the console mounted on it."""
    store, names = clients.store, clients.names
    project = clients.plan.project

    async def read_snapshot() -> bytes | None:
        return (await store.read([names.snapshot(project.learner.name)]))[0]

    async def read_worker_status() -> tuple[dict[str, Any], list[Any]]:
        status, cases = await store.read([names.status(), names.bad_cases()])
        return msgspec.json.decode(status or b"{}"), msgspec.json.decode(cases or b"[]")

    async def check_store() -> None:
        await store.read([names.status()])

    async def check_broker() -> None:
        await kafka_bus.check(clients.broker)

    ports = Ports(
        reader=VectorReader(clients.plan, names, store),
        producer=clients.producer,
        registry=clients.registry,
        announcements=lambda: kafka_bus.announcements(clients.broker, names, ANNOUNCEMENT_WAIT_MS),
        read_snapshot=read_snapshot,
        check_store=check_store,
        check_broker=check_broker,
        read_progress=lambda: applied_offsets(store, names),
        read_worker_status=read_worker_status,
    )
    app = create_app(ScoringService(clients.plan, ports, clients.settings, clients.clock))
    app.mount("/console", console_app())
    return app
