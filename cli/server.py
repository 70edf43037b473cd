"""The api process put together: the scoring service with the console mounted on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from api.app import create_app
from api.ports import PlanPorts, Ports, ProjectFile
from api.server import bind, serve_on
from api.service import ScoringService
from cli import kafka_bus
from cli.wiring import Clients, connect, names_of
from console.pages import console_app
from features.evolution.differences import define
from features.evolution.state_book import StateBook
from features.freshness import applied_offsets
from features.inspection.look import Inspector
from features.plan import FeaturePlan
from features.vectors import VectorReader
from streams.snapshots import read_missing
from tidemill.loading import load_project
from tidemill.settings import Settings

ANNOUNCEMENT_WAIT_MS = 50


async def serve(file: Path, settings: Settings, host: str, port: int) -> None:
    """Serve a project file until SIGTERM or SIGINT.

    Takes the port first, so that one in use is said at once.
    """
    project = load_project(file)
    listener = bind(host, port)
    async with connect(project, settings) as clients:
        await serve_on(scoring_app(clients, file), listener)


def scoring_app(clients: Clients, file: Path) -> Any:
    """The api's application with the console mounted on it."""
    store, names = clients.store, clients.names

    async def check_store() -> None:
        await store.read([names.status()])

    async def check_broker() -> None:
        await kafka_bus.check(clients.broker)

    async def read_jobs() -> bytes | None:
        return (await store.read([names.jobs()]))[0]

    ports = Ports(
        producer=clients.producer,
        registry=clients.registry,
        announcements=lambda: kafka_bus.announcements(clients.broker, names, ANNOUNCEMENT_WAIT_MS),
        check_store=check_store,
        check_broker=check_broker,
        of_plan=lambda plan: _of_plan(clients, plan),
        project_file=ProjectFile(lambda: load_project(file, again=True), lambda: _stamp(file)),
        read_jobs=read_jobs,
    )
    app = create_app(ScoringService(clients.plan, ports, clients.settings, clients.clock))
    app.mount("/console", console_app())
    return app


def _of_plan(clients: Clients, plan: FeaturePlan) -> PlanPorts:
    """What is read from the store for one declaration."""
    store, names = clients.store, names_of(plan, clients.settings)
    learner = plan.project.learner.name

    async def read_snapshots(release: str, number: int) -> list[bytes]:
        return await read_missing(store, names, learner, (release, number))

    async def read_worker_status() -> tuple[dict[str, Any], list[Any]]:
        status, cases = await store.read([names.status(), names.bad_cases()])
        return msgspec.json.decode(status or b"{}"), msgspec.json.decode(cases or b"[]")

    async def note_serving() -> None:
        await StateBook(store, names).serve(define(plan, clients.clock.now_ms()))

    return PlanPorts(
        reader=VectorReader(plan, names, store),
        read_snapshots=read_snapshots,
        read_progress=lambda: applied_offsets(store, names),
        read_worker_status=read_worker_status,
        note_serving=note_serving,
        inspector=Inspector(plan, names, store),
    )


def _stamp(file: Path) -> object:
    """Changes with the file; None while it is not there, as between two writes of an editor."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
