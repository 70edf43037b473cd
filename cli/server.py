"""The api process put together: the scoring service with the console mounted on it."""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvloop

from api.adopting import heap
from api.http.app import create_app
from api.http.patience import Bounds
from api.http.server import bind, serve_on
from api.measuring.tracing import Tracing
from api.ports import KeyStore, PlanPorts, Ports, ProjectFile
from api.resources.replay import ReplayProcess
from api.service import ScoringService
from cli import kafka_bus
from cli.api_processes import Place
from cli.archived_predictions import ArchivedPredictions
from cli.guarding import guard_of
from cli.openness import refuse_open
from cli.role_orders import RegistryOrders
from cli.traces import tracing_to
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
# A thread that loads a model gives way to the loop within this time; by Python's own 5 ms each of
# the answers given meanwhile would be later.
_GIVE_WAY_SECONDS = 0.0001
# Hundreds of requests under way hold fewer objects, and are part of no cycle. At Python's own 700
# each group of them would be looked through, and what it holds taken for something that stays.
GARBAGE_THRESHOLDS = (10_000, 10, 10)


def run_api(file: Path, settings: Settings, place: Place) -> None:
    """Serve a project file until SIGTERM or SIGINT, by this process alone or as one of several."""
    sys.setswitchinterval(_GIVE_WAY_SECONDS)
    heap.share_one()
    if place.shared:
        structlog.contextvars.bind_contextvars(process=place.member)
    uvloop.run(serve(file, place.settings(settings), place))


async def serve(file: Path, settings: Settings, place: Place) -> None:
    """Serve a project file until SIGTERM or SIGINT.

    Takes the port first, so that one in use is said at once.
    """
    project = load_project(file)
    admin = settings.admin_port
    refuse_open(settings, project.name, place.host, *([settings.admin_host] if admin else []))
    listener = bind(place.host, place.port, place.shared)
    admin_listener = bind(settings.admin_host, admin) if admin else None
    bounds = Bounds(settings.request_seconds, settings.head_limit_bytes)
    async with (
        connect(project, settings) as clients,
        tracing_to(settings, project.name) as tracing,
    ):
        app = scoring_app(clients, file, tracing)
        settled = partial(_settle, place)
        await serve_on(app, listener, settled, admin=admin_listener, bounds=bounds)


def _settle(place: Place) -> None:
    """What was imported and loaded stays: to look through it for cycles would be a pause."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    place.tell()


def scoring_app(clients: Clients, file: Path, tracing: Tracing | None = None) -> Any:
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
        keys=_keys(clients),
        find_archived=ArchivedPredictions(clients.settings.home, names.project).find,
        replay=_replay(clients, file),
        tracing=tracing,
    )
    service = ScoringService(clients.plan, ports, clients.settings, clients.clock)
    app = create_app(service, guard_of(clients, service))
    app.mount("/console", console_app())
    return app


def _keys(clients: Clients) -> KeyStore:
    """Idempotency keys in the store, so that every process knows them."""
    store, names = clients.store, clients.names

    async def take(key: str, blob: bytes, expires_ms: int) -> bytes | None:
        return await store.take(names.idempotency(key), blob, expires_ms)

    async def keep(key: str, blob: bytes, expires_ms: int) -> None:
        await store.write([(names.idempotency(key), blob)], [expires_ms])

    return KeyStore(take, keep)


def _of_plan(clients: Clients, plan: FeaturePlan) -> PlanPorts:
    """What depends on one declaration: what is read from the store, and orders about releases."""
    store, names = clients.store, names_of(plan, clients.settings)
    learner = plan.project.learner.name

    async def read_snapshots(release: str, number: int) -> list[bytes]:
        return await read_missing(store, names, learner, (release, number))

    async def read_challenger(challenger: str, release: str, number: int) -> list[bytes]:
        return await read_missing(store, names, challenger, (release, number))

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
        read_challenger=read_challenger,
        orders=RegistryOrders(clients.registry, plan.schema.hash, learner, clients.clock),
    )


def _stamp(file: Path) -> object:
    """Changes with the file; None while it is not there, as between two writes of an editor."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _replay(clients: Clients, file: Path) -> ReplayProcess:
    """What replays a prediction: the command, with this project file and this environment."""
    command = (sys.executable, "-m", "tidemill", "replay", str(file))
    folder = clients.settings.home / "replay"
    return ReplayProcess(command, os.environ, folder / f"{clients.plan.project.name}.lock")
